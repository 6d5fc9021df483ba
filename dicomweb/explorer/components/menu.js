// A button with a menu of actions below it (arrow keys, Home, End, Escape; WAI-ARIA menu button).

import { fitting } from "../actions.js";
import { el, icon } from "../dom.js";
import { toast } from "./toast.js";

// The menu of what can be done with subjects (actions.js).
// `subjects` is a function, asked when the menu opens; `done` is told what actions tell.
export function actionMenu(subjects, done = () => {}, { label = "Actions", text = "" } = {}) {
  const button = el("button.quiet", { type: "button", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": text ? null : label, title: text ? null : label, onclick: toggle }, icon("more"), text && el("span", {}, text));
  const holder = el("span.menu-holder", {}, button);
  let list = null; // made when it is first opened: a list of studies has many that never are
  function make() {
    list = el("div.menu", { role: "menu", "aria-label": label, popover: "auto" });
    list.addEventListener("toggle", (event) => {
      button.setAttribute("aria-expanded", String(event.newState === "open"));
      if (event.newState === "open") list.firstElementChild?.focus();
    });
    list.addEventListener("keydown", (event) => {
      const items = [...list.children];
      const at = items.indexOf(document.activeElement);
      const next = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      items[next % items.length].focus();
    });
    holder.append(list);
  }
  function toggle() {
    if (!list) make();
    const chosen = subjects();
    list.replaceChildren(...fitting(chosen).map((action) => item(action, chosen)));
    list.togglePopover();
    const box = button.getBoundingClientRect();
    list.style.top = `${Math.max(4, Math.min(box.bottom + 4, innerHeight - list.offsetHeight - 8))}px`;
    list.style.left = `${Math.max(8, Math.min(box.left, innerWidth - list.offsetWidth - 8))}px`;
  }
  function item(action, chosen) {
    return actionElement(action, chosen, done, { role: "menuitem", before: () => list.hidePopover() });
  }
  return holder;
}

// One action as a link or a button.
export function actionElement(action, subjects, done, { role = null, before = () => {} } = {}) {
  const parts = [icon(action.icon ?? "more"), el("span", {}, action.label)];
  const name = action.danger ? ".danger" : "";
  if (action.href) {
    const download = typeof action.download === "function" ? action.download(subjects) : action.download;
    return el(`a${name}`, { role, href: action.href(subjects), download, target: action.target, onclick: before }, parts);
  }
  return el(`button${name}`, {
    type: "button", role,
    onclick: async () => {
      before();
      try {
        await action.run(subjects, done);
      } catch (error) {
        toast(error.message, { kind: "error" });
      }
    },
  }, parts);
}
