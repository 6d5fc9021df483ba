// Somebody whose sign-in has ended while he looks at something: he signs in again when he likes, and comes back.

import { dialog } from "./dialog.js";
import { linked } from "../session.js";
import { el } from "../dom.js";

export async function signInAgain(address) {
  const words = linked
    ? "This link is open no longer. It may have ended, or has to be opened again from where you got it."
    : "Your sign-in has ended. Sign in again to go on; you come back to this page.";
  const again = await dialog({
    title: linked ? "The link is closed" : "You are signed out",
    body: el("p", {}, words, " What is shown stays until then."),
    buttons: [{ label: "Not now" }, { label: linked ? "Open the link again" : "Sign in again", value: true, kind: "primary" }],
  });
  if (again) location.assign(address);
}
