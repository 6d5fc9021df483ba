// In the header: the upload that is under way, and the jobs that run; nothing where nothing runs.

import { getJson } from "../api.js";
import { el, icon, replace } from "../dom.js";
import { upload } from "../upload/engine.js";
import { count } from "../words.js";

const SOON = 3000, LATER = 30000;

export function indicator() {
  const sending = el("a.indicator", { href: "#/upload", hidden: true });
  const working = el("a.indicator", { href: "#/jobs", hidden: true });
  let timer = 0;

  upload.addEventListener("change", () => {
    sending.hidden = !upload.running;
    if (!upload.running) return;
    const percent = upload.foundBytes ? Math.floor((100 * upload.bytes) / upload.foundBytes) : 0;
    replace(sending, icon("upload", 15), `${percent} %`);
    sending.setAttribute("aria-label", `Upload under way, ${percent} percent`);
  });

  async function look() {
    clearTimeout(timer);
    let open = [];
    if (!document.hidden) {
      try {
        open = (await getJson("jobs?state=waiting,running&limit=1000")).jobs;
      } catch {
        open = [];
      }
      working.hidden = !open.length;
      replace(working, icon("jobs", 15), String(open.length));
      working.setAttribute("aria-label", `${count(open.length, "job")} under way`);
      working.title = working.getAttribute("aria-label");
    }
    clearTimeout(timer);
    timer = setTimeout(look, open.length ? SOON : LATER);
  }

  window.addEventListener("jobs-changed", look);
  document.addEventListener("visibilitychange", () => document.hidden || look());
  look();
  return [sending, working];
}
