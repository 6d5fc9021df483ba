// The shell: reads the address, opens the page that it names, draws the navigation.
//
// The address bar holds everything in the fragment: `#/studies?PatientName=DOE*`. So one address of the server serves
// the page below any prefix, searches never reach the logs of proxies, and back and forward work by themselves.
//
// A PAGE is a module in pages/, listed in PAGES below and loaded when it is first opened:
//
//   export async function open(view, { params, query, signal }) {
//     view   an empty element to fill (made with `el` of dom.js; the page may add classes to it)
//     params the variables of its pattern, decoded: "studies/:study" gives { study }
//     query  URLSearchParams: what follows the question mark
//     signal AbortSignal, aborted when the page is left: hand it to every request and addEventListener
//     return { title, changed, close }, all optional:
//       title            text for the browser's tab; may also be set later with setTitle(text)
//       changed(query)   the query changed while the page stays (back, forward, replaceQuery): update in place;
//                        without it the page is opened anew
//       close()          the page is left
//   }
//
// An ApiError that `open` throws is shown in the place of the page. A page moves on with `go("jobs/7")`, links with
// `href("studies", { PatientID: "1" })`, and keeps its state in the address with `replaceQuery` (no new entry in the
// history). `nav` makes an entry of the navigation. Keys: `keys(signal, { "ArrowDown": fn, … })` of
// components/keys.js. Dialogs: components/dialog.js. Messages: toast(text) of components/toast.js. What can be done
// with studies and the like is registered in actions.js; modules in actions/ are listed in ACTIONS below.

import { aborted, ApiError } from "./api.js";
import { drawTop, markCurrent } from "./components/top.js";
import { failure } from "./components/notice.js";
import { el } from "./dom.js";

const PAGES = [
  { pattern: "studies", nav: "Studies", icon: "studies", load: () => import("./pages/studies.js") },
  { pattern: "studies/:study", load: () => import("./pages/study.js") },
  { pattern: "studies/:study/series/:series", load: () => import("./pages/series.js") },
  { pattern: "studies/:study/series/:series/instances/:instance", load: () => import("./pages/instance.js") },
  { pattern: "patients", nav: "Patients", icon: "patients", load: () => import("./pages/patients.js") },
  { pattern: "patient", load: () => import("./pages/patient.js") },
  { pattern: "lookup", load: () => import("./pages/lookup.js") },
  { pattern: "upload", nav: "Upload", icon: "upload", right: "write", load: () => import("./pages/upload.js") },
  { pattern: "nodes", nav: "Nodes", icon: "nodes", load: () => import("./pages/nodes.js") },
  { pattern: "nodes/:node", load: () => import("./pages/query.js") },
  { pattern: "jobs", nav: "Jobs", icon: "jobs", load: () => import("./pages/jobs.js") },
  { pattern: "jobs/:job", load: () => import("./pages/jobs.js") },
  { pattern: "links", nav: "Links", icon: "link", right: "share", load: () => import("./pages/links.js") },
  { pattern: "status", nav: "Status", icon: "status", load: () => import("./pages/status.js") },
];

const ACTIONS = [
  () => import("./actions/download.js"),
  () => import("./actions/drop.js"),
  () => import("./actions/send.js"),
  () => import("./actions/share.js"),
  () => import("./actions/delete.js"),
  () => import("./actions/viewer.js"),
];

const view = document.getElementById("view");
let current = null; // { page, path, opened, controller }

export function href(path, query) {
  const text = query ? new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined)).toString() : "";
  return `#/${path}${text ? `?${text}` : ""}`;
}

export function go(path, query) {
  location.hash = href(path, query);
}

// Change the query of the page that is open, without a new entry in the history; the page is not told.
export function replaceQuery(query) {
  history.replaceState(history.state, "", href(read().path, query));
}

export function setTitle(text) {
  document.title = text ? `${text} · Roentgate` : "Roentgate";
}

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { path: path || "studies", query: new URLSearchParams(query) };
}

// The page whose pattern this path has, with its variables; null for none.
function find(path) {
  const parts = path.split("/");
  for (const page of PAGES) {
    const names = page.pattern.split("/");
    if (names.length !== parts.length) continue;
    const params = {};
    if (names.every((name, at) => (name.startsWith(":") ? (params[name.slice(1)] = decode(parts[at])) !== "" : name === parts[at]))) return { page, params };
  }
  return null;
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function follow() {
  const { path, query } = read();
  if (current?.path === path && current.opened?.changed) {
    current.opened.changed(query);
    return;
  }
  current?.controller.abort();
  current?.opened?.close?.();
  const controller = new AbortController();
  const mine = (current = { path, controller, opened: null });
  const found = find(path);
  markCurrent(found?.page.pattern ?? "");
  const place = el("div.page");
  view.replaceChildren(place);
  view.classList.add("loading");
  window.scrollTo(0, 0);
  try {
    if (!found) throw new ApiError(`There is no page “${path}” here.`, 404);
    const module = await found.page.load();
    if (mine !== current) return;
    setTitle(found.page.nav);
    const opened = await module.open(place, { params: found.params, query, signal: controller.signal });
    if (mine !== current) {
      opened?.close?.();
      return;
    }
    mine.opened = opened ?? {};
    if (mine.opened.title) setTitle(mine.opened.title);
  } catch (error) {
    if (aborted(error) || mine !== current) return;
    if (!(error instanceof ApiError)) console.error(error);
    place.replaceChildren(failure(error, follow));
  } finally {
    if (mine === current) view.classList.remove("loading");
  }
}

drawTop(document.getElementById("top"), PAGES.filter((page) => page.nav));
for (const load of ACTIONS) load();
window.addEventListener("hashchange", follow);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  view.focus();
});
follow();
