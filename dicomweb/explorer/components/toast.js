// Short messages at the edge of the page, read out by screen readers.

import { el, icon } from "../dom.js";

const place = document.getElementById("toasts");

// kind: "done" (goes by itself) or "error" (stays until closed).
export function toast(text, { kind = "done" } = {}) {
  const close = () => made.remove();
  const made = el(`div.toast.${kind}`, kind === "error" ? { role: "alert" } : {},
    icon({ done: "check", error: "warning" }[kind]),
    el("span", {}, text),
    el("button.quiet.iconic", { type: "button", "aria-label": "Close this message", onclick: close }, icon("close", 14)),
  );
  place.append(made);
  if (kind !== "error") setTimeout(close, 7000);
}
