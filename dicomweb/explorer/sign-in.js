// The page on which people sign in, by a key or at the issuer of tokens, and out. What they show is kept by the browser
// where no script can read it; this page forgets it at once.

import { ROOT, getJson, sendJson } from "./api.js";
import { el, replace } from "./dom.js";

const place = document.getElementById("sign-in");
const told = el("p", { role: "alert" });

async function draw() {
  const session = await getJson("session");
  if (!session.asked) return replace(place, el("p", {}, "Nobody has to sign in here."), back());
  if (session.name) return replace(place, signedIn(session), told);
  return replace(place, byKey(), session.issuer ? atIssuer() : null, told);
}

function signedIn({ name, roles }) {
  return [
    el("p", {}, `Signed in as ${name}. Rights: ${roles.join(", ") || "none"}.`),
    el("p", {}, back(), " ", el("button", { type: "button", onclick: () => attempt(() => sendJson("DELETE", "session")) }, "Sign out")),
  ];
}

function byKey() {
  const key = el("input", { type: "password", autocomplete: "current-password", required: true, autofocus: true, id: "key" });
  const send = (event) => {
    event.preventDefault();
    attempt(async () => {
      await sendJson("POST", "session", { key: key.value });
      location.assign(ROOT);
    });
  };
  return el("form", { onsubmit: send }, el("p", {}, el("label", { for: "key" }, "API key "), key, " ", el("button.primary", { type: "submit" }, "Sign in")));
}

const atIssuer = () => el("p", {}, el("a.button", { href: new URL("session/login", ROOT).href }, "Sign in with your organisation"));

const back = () => el("a.button", { href: ROOT }, "To the images");

async function attempt(what) {
  replace(told);
  try {
    await what();
    await draw();
  } catch (error) {
    replace(told, error.message);
  }
}

attempt(async () => {});
