// What a page says instead of its content: an error, or that there is nothing.

import { el, icon } from "../dom.js";

// An error with a button that tries again.
export function failure(error, again) {
  return el("div.notice", { role: "alert" },
    icon("warning", 28),
    el("h1", {}, error.status === 404 ? "Not found" : error.status === 410 ? "Deleted" : "That did not work"),
    el("p", {}, error.message),
    again && el("button", { type: "button", onclick: again }, "Try again"),
  );
}

export function nothing(title, ...words) {
  return el("div.notice", {}, el("h2", {}, title), words.map((one) => (one instanceof Node ? one : el("p", {}, one))));
}
