// The header of all pages: navigation, look-up, light and dark.

import { el, icon } from "../dom.js";
import { indicator } from "./indicator.js";

const THEMES = { auto: "As the system", light: "Light", dark: "Dark" };
let links = [];

export function drawTop(place, pages) {
  links = pages.map((page) => el("a", { href: `#/${page.pattern}`, data: { page: page.pattern } }, icon(page.icon), el("span", {}, page.nav)));
  place.append(
    el("a.brand", { href: "#/studies", "aria-label": "Roentgate: studies" }, el("img", { src: "explorer/icon.svg", alt: "", width: 26, height: 26 }), el("span", {}, "Roentgate")),
    el("nav", { "aria-label": "Pages" }, links),
    el("div.grow"),
    lookUpBox(),
    ...indicator(),
    themeButton(),
  );
}

// Mark the entry of the page that is open; a page below one (studies/…), and that of one patient, counts to it.
export function markCurrent(pattern) {
  const top = pattern.split("/")[0];
  for (const link of links) {
    if ([top, `${top}s`].includes(link.dataset.page)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// Any identifier leads to its page: Enter asks, and what is found decides where to go (pages/lookup.js).
function lookUpBox() {
  const field = el("input", { type: "search", placeholder: "Look up an ID or UID", "aria-label": "Look up a patient ID, accession number or UID", autocomplete: "off", spellcheck: "false", maxlength: 256 });
  return el("form.lookup", { role: "search", onsubmit: (event) => {
    event.preventDefault();
    const asked = field.value.trim();
    if (!asked) return;
    location.hash = `#/lookup?${new URLSearchParams({ q: asked })}`;
    field.value = "";
    field.blur();
  } }, icon("search", 16), field);
}

function themeButton() {
  const stored = () => localStorage.getItem("roentgate.theme") ?? "auto";
  const button = el("button.quiet.iconic", { type: "button", onclick: turn });
  function show() {
    const theme = stored();
    document.documentElement.dataset.theme = theme;
    button.replaceChildren(icon({ auto: "auto", light: "sun", dark: "moon" }[theme]));
    button.title = `Appearance: ${THEMES[theme].toLowerCase()}`;
    button.setAttribute("aria-label", button.title);
  }
  function turn() {
    const order = Object.keys(THEMES);
    localStorage.setItem("roentgate.theme", order[(order.indexOf(stored()) + 1) % order.length]);
    show();
  }
  show();
  return button;
}
