// A link to a study, for somebody who has no key.

import { register } from "../actions.js";
import { mayShare } from "../session.js";

register({ name: "share", label: "Share…", icon: "link", levels: ["study"], right: "share", order: 22, shown: mayShare, run: share });

async function share([subject]) {
  const [{ sendJson, ROOT }, { dialog }, { el, icon }, { moment }] = await Promise.all([
    import("../api.js"), import("../components/dialog.js"), import("../dom.js"), import("../words.js"),
  ]);
  const right = el("select", {}, el("option", { value: "view" }, "Look at the images"), el("option", { value: "download" }, "Look and download"));
  const days = el("input", { type: "number", min: 1, max: 3660, value: 7, required: true });
  const passphrase = el("input", { type: "text", autocomplete: "off", spellcheck: "false", maxlength: 256 });
  const openings = el("input", { type: "number", min: 1, placeholder: "as often as anybody likes" });
  const field = (words, input, help) => el("label.field", {}, el("span", {}, words), input, help && el("small", {}, help));
  let made = null;
  const yes = await dialog({
    title: "Share this study",
    body: [
      el("p", {}, subject.label),
      field("Whoever has the link may", right),
      field("For how many days", days),
      field("Passphrase, if you want one", passphrase, "Say it on another way than the link, on the phone for example. Ten wrong ones close the link."),
      field("How often it may be opened", openings),
    ],
    buttons: [{ label: "Cancel" }, {
      label: "Make the link", value: true, kind: "primary",
      check: async () => {
        const wanted = { study: subject.study, right: right.value, days: Number(days.value) };
        if (passphrase.value) wanted.passphrase = passphrase.value;
        if (openings.value) wanted.openings = Number(openings.value);
        made = await sendJson("POST", "shares", wanted);
      },
    }],
  });
  if (!yes) return;
  const shown = (words, address) => {
    const text = el("input.mono", { type: "text", readonly: true, value: new URL(address, ROOT).href, "aria-label": words, onfocus: () => text.select() });
    const button = el("button", { type: "button", onclick: () => copy(text, button) }, icon("copy", 16), "Copy");
    return el("div.field", {}, el("span", {}, words), el("div.copied", {}, text, button));
  };
  await dialog({
    title: "The link",
    wide: true,
    body: [
      shown("Link", made.url),
      made.dicomweb && el("details", {}, el("summary", {}, "For viewers that are programs"), shown("DICOMweb address", made.dicomweb)),
      el("p.quiet", {}, `It is shown this once, and is good until ${moment(made.expires * 1000)}. `, el("a", { href: "#/links", onclick: (event) => event.target.closest("dialog").close() }, "All links")),
    ],
    buttons: [{ label: "Close", kind: "primary" }],
  });
}

async function copy(text, button) {
  text.select();
  try {
    await navigator.clipboard.writeText(text.value);
  } catch {
    if (!document.execCommand("copy")) return;
  }
  button.lastChild.textContent = "Copied";
}
