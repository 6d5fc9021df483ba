// Keeps people signed in who did so at the issuer, as long as a page of ours is open: tokens end within minutes. All
// pages of a browser have the same token, and one of them has it renewed for all. Viewers load this, too.

const EARLY = 60; // seconds before the end, where that is not before half of the time
const AGAIN = 30_000;
const LONGEST = 2 ** 31 - 1;

const session = async (root) => (await fetch(new URL("session", root), { credentials: "same-origin" })).json();

const alone = (work) => (navigator.locks ? navigator.locks.request("roentgate-renewal", work) : work());

// Have the token renewed, unless another page did while it was good for `left` seconds; whether somebody is signed in
// afterwards.
export const renew = (root, left = 0) => alone(async () => {
  const { name, seconds, renewable } = await session(root);
  if (name && (seconds === null || seconds > left + 1)) return true;
  return renewable ? (await fetch(new URL("session/renewal", root), { method: "POST", credentials: "same-origin" })).ok : Boolean(name);
});

export function keepSignedIn(root) {
  let timer = 0;
  async function plan() {
    clearTimeout(timer);
    try {
      const { name, seconds, renewable } = await session(root);
      if (!renewable || (name && seconds === null)) return;
      const left = name ? Math.max(seconds, 0) : 0;
      const wait = Math.min(left / 2, EARLY);
      timer = setTimeout(() => renew(root, wait).then((good) => good && plan(), later), Math.min((left - wait) * 1000, LONGEST));
    } catch {
      later();
    }
  }
  function later() {
    clearTimeout(timer);
    timer = setTimeout(plan, AGAIN);
  }
  document.addEventListener("visibilitychange", () => document.hidden || plan());
  plan();
}
