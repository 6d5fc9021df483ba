// The header of all pages: navigation, look-up, light and dark.

import { sendJson } from "../api.js";
import { el, icon } from "../dom.js";
import { linked, may, mayShare, session } from "../session.js";
import { studyPage } from "../subjects.js";
import { showTheme, theme, turnTheme } from "../theme.js";
import { indicator } from "./indicator.js";

const THEMES = { auto: "as the system", light: "light", dark: "dark" };
let links = [];

export function drawTop(place, pages) {
  if (linked) {
    drawLinked(place);
    return;
  }
  links = pages.map((page) => el("a", { href: `#/${page.pattern}`, data: { page: page.pattern }, hidden: page.right === "share" }, icon(page.icon), el("span", {}, page.nav)));
  const account = el("a.button.quiet.iconic", { href: "sign-in", hidden: true }, icon("patients"));
  session.then((told) => {
    pages.forEach((page, at) => (links[at].hidden = page.right === "share" ? !mayShare() : Boolean(page.right) && !may(page.right)));
    account.hidden = !told?.name;
    account.title = `Signed in as ${told?.name}`;
    account.setAttribute("aria-label", account.title);
  });
  place.append(
    el("a.brand", { href: "#/studies", "aria-label": "Roentgate: studies" }, el("img", { src: "explorer/icon.svg", alt: "", width: 26, height: 26 }), el("span", {}, "Roentgate")),
    el("nav", { "aria-label": "Pages" }, links),
    el("div.grow"),
    lookUpBox(),
    ...indicator(),
    account,
    themeButton(),
  );
}

// Below a link there is one study, and nothing to go to.
function drawLinked(place) {
  const home = el("a.brand", { href: "#/studies", "aria-label": "Roentgate: the shared study" }, el("img", { src: "explorer/icon.svg", alt: "", width: 26, height: 26 }), el("span", {}, "Shared images"));
  session.then((told) => told?.study && (home.href = `#/${studyPage(told.study)}`));
  const leave = async () => {
    await sendJson("DELETE", "session");
    location.assign("sign-in");
  };
  place.append(home, el("div.grow"), el("button.quiet", { type: "button", onclick: leave }, icon("close", 16), "Close"), themeButton());
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
  const button = el("button.quiet.iconic", { type: "button", onclick: turn });
  function show() {
    showTheme();
    button.replaceChildren(icon({ auto: "auto", light: "sun", dark: "moon" }[theme()]));
    button.title = `Appearance: ${THEMES[theme()]}`;
    button.setAttribute("aria-label", button.title);
  }
  function turn() {
    turnTheme();
    show();
  }
  show();
  return button;
}
