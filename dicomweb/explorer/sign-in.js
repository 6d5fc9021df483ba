// The page on which people sign in, by a key or at the issuer of tokens, and out; below a link, the page that opens the
// link. What they show is kept by the browser where no script can read it; this page forgets it at once.
//
// What follows # in its address is where somebody wanted to go, relative to the root; below a link, its secret.

import { PASSPHRASE, ROOT, getJson, sendJson } from "./api.js";
import { el, replace } from "./dom.js";
import { linked } from "./session.js";
import { showTheme } from "./theme.js";

const RETURN = "roentgate.return";

const place = document.getElementById("sign-in");
const told = el("p", { role: "alert" });
const asked = location.hash.slice(1);
const secret = linked && !asked.startsWith("#") ? asked : "";
if (secret) history.replaceState(null, "", location.pathname);

// Where somebody goes on: what he asked for, if it is of this server.
function onward(to) {
  try {
    const { href } = new URL(to, ROOT);
    return href.startsWith(ROOT) ? href : ROOT;
  } catch {
    return ROOT;
  }
}

async function draw() {
  const session = await getJson("session");
  if (linked) return session.study ? goToStudy(session) : replace(place, secret ? opening() : unopened(), told);
  if (!session.asked) return replace(place, el("p", {}, "Nobody has to sign in here."), back());
  const returned = sessionStorage.getItem(RETURN);
  sessionStorage.removeItem(RETURN);
  if (session.name && returned !== null) return location.replace(onward(returned));
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
      location.assign(onward(asked));
    });
  };
  return el("form", { onsubmit: send }, el("p", {}, el("label", { for: "key" }, "API key "), key, " ", el("button.primary", { type: "submit" }, "Sign in")));
}

function atIssuer() {
  const leave = () => sessionStorage.setItem(RETURN, asked);
  return el("p", {}, el("a.button", { href: new URL("session/login", ROOT).href, onclick: leave }, "Sign in with your organisation"));
}

const back = () => el("a.button", { href: onward(asked) }, "To the images");

// -- links ---------------------------------------------------------------------------------------------------
const goToStudy = ({ study }) => location.replace(`${ROOT}#/studies/${encodeURIComponent(study)}`);

function unopened() {
  return el("p", {}, "This link has to be opened from where you got it. If that does not help, it has ended, or was closed.");
}

function opening() {
  const passphrase = el("input", { type: "password", autocomplete: "off", id: "passphrase", disabled: true });
  const wanted = el("p", { hidden: true }, el("label", { for: "passphrase" }, "Passphrase "), passphrase);
  const send = (event) => {
    event.preventDefault();
    attempt(async () => {
      try {
        await sendJson("POST", "session", { key: secret, ...(passphrase.disabled ? {} : { passphrase: passphrase.value }) });
      } catch (error) {
        const first = passphrase.disabled;
        if (error.problem?.type !== PASSPHRASE) throw error;
        wanted.hidden = passphrase.disabled = false;
        passphrase.value = "";
        passphrase.focus();
        if (!first) throw error;
      }
      return passphrase.disabled || passphrase.value !== "";
    });
  };
  return el("form", { onsubmit: send },
    el("p", {}, "Somebody shares images with you. They are for you alone."), wanted,
    el("p", {}, el("button.primary", { type: "submit", autofocus: true }, "Open")));
}

// Try something; draw the page anew unless it says false.
async function attempt(what) {
  replace(told);
  try {
    if ((await what()) !== false) await draw();
  } catch (error) {
    replace(told, error.message);
  }
}

showTheme();
if (linked) document.querySelector("h1").textContent = document.title = "Shared images";
attempt(async () => {});
