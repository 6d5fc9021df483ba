// A bar that fills, and says how far it is to screen readers.

import { el } from "../dom.js";

export function bar(label) {
  const inner = el("div");
  const made = el("div.bar", { role: "progressbar", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100" }, inner);
  // share: 0 to 1, null where nobody knows; kind: "", "good", "mixed", "bad".
  made.show = (share, kind = "") => {
    made.className = `bar ${kind} ${share === null ? "unknown" : ""}`;
    inner.style.setProperty("width", share === null ? "30%" : `${(100 * Math.min(share, 1)).toFixed(1)}%`);
    if (share === null) made.removeAttribute("aria-valuenow");
    else made.setAttribute("aria-valuenow", String(Math.round(100 * share)));
  };
  made.show(0);
  return made;
}
