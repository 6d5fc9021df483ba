// Dialogs: the browser's own <dialog>, so that focus, Escape and the screen reader are right.
//
//   const answer = await dialog({ title: "Delete", body: [nodes…], buttons: [{ label: "Cancel" }, { label: "Delete", value: true, kind: "danger" }] });
//
// resolves with the value of the button, or undefined when closed. `body` may be a function of close(value). A button's
// `check` may refuse: it returns a message (shown in the dialog), or throws one; a promise is waited for.

import { el, icon } from "../dom.js";

let counter = 0;

export function dialog({ title, body, buttons = [{ label: "Close" }], wide = false }) {
  return new Promise((resolve) => {
    let answer;
    const id = `dialog-${++counter}`;
    const close = (value) => {
      answer = value;
      made.close();
    };
    const message = el("p.wrong", { role: "alert", hidden: true });
    const row = buttons.map((one, at) => el(`button${one.kind ? `.${one.kind}` : ""}`, { type: at === buttons.length - 1 ? "submit" : "button", onclick: (event) => press(event, one) }, one.label));
    const made = el(`dialog${wide ? ".wide" : ""}`, { "aria-labelledby": id },
      el("form", { method: "dialog", onsubmit: (event) => event.preventDefault() },
        el("header", {}, el("h2", { id }, title), el("button.quiet.iconic", { type: "button", "aria-label": "Close", onclick: () => close() }, icon("close"))),
        el("div.body", {}, typeof body === "function" ? body(close) : body, message),
        el("footer", {}, row),
      ),
    );
    async function press(event, one) {
      event.preventDefault();
      if (one.check) {
        row.forEach((button) => (button.disabled = true));
        try {
          message.textContent = (await one.check()) || "";
        } catch (error) {
          message.textContent = error.message;
        }
        row.forEach((button) => (button.disabled = false));
        message.hidden = !message.textContent;
        if (message.textContent) return;
      }
      close(one.value);
    }
    made.addEventListener("close", () => {
      made.remove();
      resolve(answer);
    });
    made.addEventListener("click", (event) => {
      if (event.target === made) close();
    });
    document.body.append(made);
    made.showModal();
  });
}

// A question with yes and no; `danger` makes yes red.
export const confirm = (title, words, { yes = "Yes", no = "Cancel", danger = false } = {}) =>
  dialog({ title, body: el("p", {}, words), buttons: [{ label: no, value: false }, { label: yes, value: true, kind: danger ? "danger" : "primary" }] });
