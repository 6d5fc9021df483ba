// Upload: choose or drop files, watch them go, read what became of them.

import { search } from "../api.js";
import { bar } from "../components/bar.js";
import { el, icon, replace } from "../dom.js";
import { studyPage, studySubject } from "../subjects.js";
import { upload } from "../upload/engine.js";
import { chosen } from "../upload/sources.js";
import { count, duration, number, size, text } from "../words.js";

const SHOWN = 100;
const NAMED = 50;

export async function open(view, { signal }) {
  const files = el("input", { type: "file", multiple: true, hidden: true, id: "choose-files", onchange: pick });
  const folder = el("input", { type: "file", webkitdirectory: true, hidden: true, id: "choose-folder", onchange: pick });
  const filled = bar("Upload");
  const line = el("p.quiet");
  const said = el("p.hidden-words", { role: "status" });
  const stop = el("button", { type: "button", onclick: () => upload.stop() }, icon("close", 15), "Stop");
  const retry = el("button", { type: "button", onclick: () => upload.retry() }, icon("retry", 15), "Try failed ones again");
  const under = el("section.card", { "aria-label": "Progress", hidden: true }, el("div.row", {}, el("strong.state"), el("span.grow"), retry, stop), filled, line);
  const lists = { failed: list("Not stored", "bad"), junk: list("Not sent, since they are no DICOM objects", ""), odd: list("Stored, but odd", "") };
  const studies = el("section.card", { "aria-label": "Stored studies", hidden: true });

  function pick(event) {
    const { target } = event;
    if (target.files.length) upload.add(chosen(target.files));
    target.value = "";
  }

  const zone = el("section.zone", { "aria-label": "Choose files" },
    icon("upload", 40),
    el("h1", {}, "Store DICOM files"),
    el("p", {}, "Drop files, folders or ZIP archives anywhere on this page, or"),
    el("div.row", {},
      el("button.primary", { type: "button", onclick: () => files.click() }, icon("file", 16), "Choose files or ZIPs"),
      el("button", { type: "button", onclick: () => folder.click() }, icon("folder", 16), "Choose a folder"),
    ),
    files, folder,
    el("p.quiet", {}, "They are stored as they are. What is no DICOM is passed over and named."),
  );
  let told = "";
  let named = false;
  function show() {
    const idle = upload.state === "idle";
    under.hidden = idle;
    if (idle) return;
    const state = { running: upload.looking ? "Looking for files, and storing" : "Storing", done: "Done", stopped: "Stopped" }[upload.state];
    under.querySelector(".state").textContent = state;
    stop.hidden = !upload.running;
    retry.hidden = upload.running || !upload.failed.some((one) => one.file);
    const share = upload.found ? Math.max(upload.over / upload.found, upload.foundBytes ? upload.bytes / upload.foundBytes : 0) : 0;
    filled.show(upload.state === "done" ? 1 : Math.min(share, upload.running ? 0.999 : 1), upload.state === "done" ? (!upload.failed.length ? "good" : upload.stored ? "mixed" : "bad") : "");
    const parts = [`${number(upload.stored)} of ${count(upload.found, "file")} stored`, `${size(upload.bytes)} of ${size(upload.foundBytes)}`];
    if (upload.failed.length) parts.push(`${number(upload.failed.length)} failed`);
    if (upload.junk.length) parts.push(`${number(upload.junk.length)} passed over`);
    if (upload.rate > 0) parts.push(`${size(upload.rate)}/s`);
    if (upload.running && upload.rate > 0 && !upload.looking) parts.push(`about ${duration((upload.foundBytes - upload.bytes) / upload.rate)} left`);
    if (!upload.running) parts.push(`in ${duration(Math.max(0, upload.ended - upload.begun) / 1000)}`);
    line.textContent = parts.join(" · ");
    for (const [name, shown] of Object.entries(lists)) shown.show(upload[name]);
    if (state !== told) said.textContent = `${state}. ${upload.running ? "" : line.textContent}`;
    told = state;
    if (upload.running) named = false;
    else if (!named) {
      named = true;
      nameStudies();
    }
    studies.hidden = !upload.studies.size;
  }

  async function nameStudies() {
    const uids = [...upload.studies.keys()];
    if (!uids.length) return;
    let rows = [];
    try {
      rows = (await search("studies", { StudyInstanceUID: uids.slice(0, NAMED).join(","), limit: NAMED }, { signal })).rows;
    } catch {
      rows = []; // they are named by their UIDs then
    }
    const known = new Map(rows.map((row) => [text(row, "0020000D"), row]));
    replace(studies,
      el("h2", {}, uids.length === 1 ? "The study" : count(uids.length, "study")),
      el("ul.links", {}, uids.slice(0, NAMED).map((uid) => {
        const row = known.get(uid);
        const words = row ? studySubject(row).label : uid;
        return el("li", {}, el("a", { href: `#/${studyPage(uid)}` }, icon("studies", 16), words), el("span.quiet", {}, count(upload.studies.get(uid), "instance")));
      })),
      uids.length > NAMED && el("p", {}, el("a", { href: "#/studies" }, `and ${number(uids.length - NAMED)} more, in the list of studies`)),
    );
  }

  upload.addEventListener("change", show, { signal });
  replace(view, zone, said, under, studies, Object.values(lists).map((one) => one.element));
  view.classList.add("narrow");
  show();
  return { title: "Upload" };
}

// A list of files with reasons, of which only so many lines are ever on the page.
function list(heading, kind) {
  const lines = el("ul.outcomes");
  const title = el("h2");
  const more = el("button.quiet", { type: "button", hidden: true });
  const element = el(`section.card.${kind || "plain"}`, { "aria-label": heading, hidden: true }, title, lines, more);
  let drawn = 0, most = SHOWN, items = [];
  more.addEventListener("click", () => {
    most += SHOWN;
    draw();
  });
  function draw() {
    if (items.length < drawn) {
      lines.replaceChildren();
      drawn = 0;
      most = SHOWN;
    }
    for (; drawn < Math.min(items.length, most); drawn += 1) {
      lines.append(el("li", {}, el("span.path", {}, items[drawn].path), el("span.why", {}, items[drawn].reason)));
    }
    more.hidden = items.length <= drawn;
    more.textContent = `Show more (${number(items.length - drawn)})`;
    title.textContent = `${heading}: ${number(items.length)}`;
    element.hidden = !items.length;
  }
  return {
    element,
    show(now) {
      items = now;
      draw();
    },
  };
}
