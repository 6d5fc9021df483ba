// The server as its clients see it: DICOMweb, and beside it /jobs, /nodes, /aets, /refusals, /status and /lookup.
// All addresses are relative to the page, so that it works below any prefix.

import { renew } from "./renewing.js";

export const ROOT = new URL("./", document.baseURI.split("#")[0]).href;
const DICOMWEB = `${ROOT}dicom-web`;

// Type of the problem that the passphrase of a link is missing or wrong.
export const PASSPHRASE = "urn:roentgate:passphrase";
// What anybody is told, whether he is signed in or not.
const PUBLIC = ["session", "viewer"];

// A request that failed: `message` can be shown as it is; `status` is 0 where nobody answered.
export class ApiError extends Error {
  constructor(message, status = 0, problem = null) {
    super(message);
    this.status = status;
    this.problem = problem;
  }
}

// True of the error that an aborted request ends in: nothing to tell anybody.
export const aborted = (error) => error?.name === "AbortError";

let worked = false, lost = false;

// Nobody knows who we are any more. Whoever has just come signs in at once; who is in the middle of something is told.
async function signInAgain() {
  if (lost) return;
  lost = true;
  const address = new URL(`sign-in#${location.hash}`, ROOT).href;
  if (!worked) return location.assign(address);
  const { signInAgain: tell } = await import("./components/again.js");
  await tell(address);
  lost = false;
}

// Fetch an address relative to the root; throws ApiError for every status that is not 2xx (RFC 9457 read).
export async function call(path, options = {}, again = true) {
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), { credentials: "same-origin", ...options });
  } catch (error) {
    if (aborted(error)) throw error;
    throw new ApiError("The server does not answer. Is it still running, and the network up?");
  }
  if (answer.ok) {
    worked ||= !PUBLIC.includes(path);
    return answer;
  }
  if (answer.status === 401 && path !== "session") {
    if (again && (await renew(ROOT).catch(() => false))) return call(path, options, false);
    signInAgain();
  }
  const problem = await answer.json().catch(() => null);
  throw new ApiError(problem?.detail || problem?.title || `The server answered with status ${answer.status}.`, answer.status, problem);
}

// GET as JSON; null for 204.
export async function getJson(path, { signal, accept = "application/json" } = {}) {
  const answer = await call(path, { signal, headers: { accept } });
  return answer.status === 204 ? null : answer.json();
}

// Send JSON (POST, PUT, DELETE); the answer's JSON, or null without a body.
export async function sendJson(method, path, body, { signal } = {}) {
  const headers = { accept: "application/json", ...(body === undefined ? {} : { "content-type": "application/json" }) };
  const answer = await call(path, { method, headers, signal, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

// The DICOMweb address of a study, series, instance or frame.
export function resource({ study, series, instance, frame } = {}) {
  let path = DICOMWEB;
  if (study) path += `/studies/${encodeURIComponent(study)}`;
  if (series) path += `/series/${encodeURIComponent(series)}`;
  if (instance) path += `/instances/${encodeURIComponent(instance)}`;
  if (frame) path += `/frames/${frame}`;
  return path;
}

// Search (QIDO-RS, PS3.18 10.6). `path` is below /dicom-web or below `base` (such as "aets/PACS"), `keys` an object or
// URLSearchParams; values that are empty are left out.
// Returns { rows, next, remaining, atLeast, warning }: data sets in DICOM JSON; the address of the next page or null; how
// many more there are, or at least are.
export async function search(path, keys = {}, { signal, base = "dicom-web" } = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of keys instanceof URLSearchParams ? keys : Object.entries(keys)) {
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) query.append(key, one);
  }
  const text = query.toString();
  return page(`${base}/${path}${text ? `?${text}` : ""}`, signal);
}

// The next page of a search: `next` of the page before.
export const more = (next, { signal } = {}) => page(next, signal);

async function page(path, signal) {
  const answer = await call(path, { signal, headers: { accept: "application/dicom+json" } });
  const rows = answer.status === 204 ? [] : await answer.json();
  const link = /<([^>]*)>\s*;[^,]*rel="?next"?/.exec(answer.headers.get("link") ?? "");
  const warning = answer.headers.get("warning") ?? "";
  const counted = /There are (at least )?(\d+) additional results/.exec(warning);
  return {
    rows,
    next: link ? `${path.split("?")[0]}${new URL(link[1], answer.url).search}` : null,
    remaining: counted ? Number(counted[2]) : 0,
    atLeast: Boolean(counted?.[1]),
    warning,
  };
}

// Metadata (WADO-RS): data sets of all instances below the resource.
export const metadata = (of, options) => getJson(`${resource(of)}/metadata`, { accept: "application/dicom+json", ...options });

// What an identifier names: GET /lookup?q=.
export const lookUp = (identifier, options) => getJson(`lookup?q=${encodeURIComponent(identifier)}`, options);

// Calls of which only the newest counts: each `next()` aborts the signal that the one before gave.
export class Newest {
  #controller = null;
  next() {
    this.stop();
    this.#controller = new AbortController();
    return this.#controller.signal;
  }
  // The signal given last; null before the first.
  get signal() {
    return this.#controller?.signal ?? null;
  }
  stop() {
    this.#controller?.abort();
  }
}
