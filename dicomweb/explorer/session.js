// Who looks at the page, and what he may do: asked for once, when the page is loaded.

import { getJson, ROOT } from "./api.js";
import { keepSignedIn } from "./renewing.js";

// Whether the page stands below a link to one study (`s/{link}/`), and shows that alone.
export const linked = /\/s\/[^/]+\/$/.test(new URL(ROOT).pathname);

let known = null;

// { asked, name, roles, study, shares, … }, see GET /session; null where nobody answers.
export const session = getJson("session").then((told) => (known = told), () => null);
session.then((told) => told?.renewable && keepSignedIn(ROOT));

// Whether somebody has a right, as far as is known by now; where nobody is asked, everybody has all.
export function may(right) {
  if (!known?.name) return !linked;
  const { roles } = known;
  return roles.includes("admin") || roles.includes(right) || (right === "view" && roles.includes("read"));
}

// Whether he may make links.
export const mayShare = () => Boolean(known?.shares) && may("share");
