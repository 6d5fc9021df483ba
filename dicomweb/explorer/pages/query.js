// A search at a node, in the columns of the list of studies; series on demand; what is chosen is retrieved.

import { aborted, ApiError, getJson, Newest, search, sendJson } from "../api.js";
import { href, replaceQuery } from "../app.js";
import { chooseNode } from "../components/choose-node.js";
import { jobCard } from "../components/jobs.js";
import { failure, nothing } from "../components/notice.js";
import { toast } from "../components/toast.js";
import { el, icon, replace } from "../dom.js";
import { studyPage } from "../subjects.js";
import { all, count, date, daysAgo, first, number, patientName, text } from "../words.js";

const PAGE = 100;
const FIELDS = [
  ["PatientName", "Patient", "Family^Given; * stands for anything"],
  ["PatientID", "Patient ID", ""],
  ["AccessionNumber", "Accession", ""],
  ["StudyDate", "Date", "YYYYMMDD, or a range of two"],
  ["ModalitiesInStudy", "Modality", "CT, MR, …"],
  ["StudyDescription", "Description", "* stands for anything"],
];
const PRESETS = [["Any date", ""], ["Today", 0], ["Yesterday", 1], ["Last 7 days", 7], ["Last 30 days", 30], ["Last year", 365]];
const COLUMNS = ["Patient", "ID", "Birth date", "Date", "Modalities", "Description", "Accession", "Series", "Instances"];
const STUDY = "0020000D", SERIES = "0020000E";

export async function open(view, { params, query, signal }) {
  const { node } = params;
  const settings = (await getJson("aets", { signal })).aets.find((one) => one.name === node);
  if (!settings) throw new ApiError(`No node ${node} can be called.`, 404);
  const base = `aets/${encodeURIComponent(node)}`;
  const newest = new Newest();
  signal.addEventListener("abort", () => newest.stop());
  const chosen = new Map(); // key of a study or series to its resource
  const inputs = new Map();
  const place = el("div.results", { "aria-live": "polite" });
  const cards = el("div.jobs");
  const go = el("button.primary", { type: "submit" }, icon("search", 16), "Search");
  const stop = el("button", { type: "button", hidden: true, onclick: () => newest.stop() }, icon("close", 15), "Stop");
  const bring = el("button.primary", { type: "button", disabled: true, onclick: () => retrieve("") }, icon("download", 16), "Retrieve");
  const elsewhere = el("button", { type: "button", disabled: true, onclick: toAnother }, icon("send", 16), "Retrieve to another node…");
  const marked = el("span.quiet", { "aria-live": "polite" });

  const form = el("form.query", { role: "search", "aria-label": `Search at ${node}`, onsubmit: (event) => (event.preventDefault(), run()) },
    FIELDS.map(([name, label, hint]) => {
      const input = el("input", { name, value: query.get(name) ?? "", placeholder: hint, autocomplete: "off", spellcheck: "false", type: "text" });
      inputs.set(name, input);
      return el("label.field", {}, el("span", {}, label), input,
        name === "StudyDate" && el("select", { "aria-label": "Date preset", onchange: (event) => (input.value = preset(event.target.value)) }, PRESETS.map(([words, value]) => el("option", { value }, words))));
    }),
    el("div.row.buttons", {}, go, stop),
  );
  replace(view,
    el("div.row", {}, el("a.back", { href: "#/nodes" }, icon("left", 14), "Nodes"), el("h1", {}, `Search at ${node}`),
      el("span.badge.plain", {}, settings.kind === "dicomweb" ? "DICOMweb" : "DIMSE"), settings.aet && settings.aet !== node && el("span.quiet", {}, settings.aet)),
    form, cards,
    el("div.row.tools", { role: "toolbar", "aria-label": "What is chosen" }, bring, elsewhere, marked),
    place,
  );

  function mark() {
    bring.disabled = elsewhere.disabled = !chosen.size;
    marked.textContent = chosen.size ? `${number(chosen.size)} chosen` : "";
  }

  async function run() {
    const keys = Object.fromEntries([...inputs].map(([name, input]) => [name, input.value.trim()]).filter(([, value]) => value));
    replaceQuery(keys);
    chosen.clear();
    mark();
    const mine = newest.next();
    replace(place, el("p.quiet", { role: "status" }, `Asking ${node}…`));
    stop.hidden = false;
    go.disabled = true;
    try {
      const asked = { ...keys, ...(keys.PatientName && !keys.PatientName.includes("*") ? { PatientName: `${keys.PatientName}*` } : {}), ...(keys.StudyDescription && !keys.StudyDescription.includes("*") ? { StudyDescription: `*${keys.StudyDescription}*` } : {}) };
      await fill(asked, mine);
    } catch (error) {
      if (signal.aborted) return;
      replace(place, aborted(error) ? nothing("Stopped", "The search was stopped.") : failure(error, run));
    } finally {
      stop.hidden = true;
      go.disabled = false;
    }
  }

  async function fill(keys, mine) {
    const body = el("tbody");
    const summary = el("p.quiet", { role: "status" });
    const more = el("button", { type: "button", hidden: true }, "More");
    const whole = el("input", { type: "checkbox", "aria-label": "Choose all that is shown", onchange: () => body.querySelectorAll("tr.study input").forEach((box) => box.checked !== whole.checked && box.click()) });
    let offset = 0;
    async function page() {
      const { rows, warning } = await search("studies", { ...keys, limit: PAGE, offset }, { signal: mine, base });
      const here = await known(rows, mine);
      offset += rows.length;
      body.append(...rows.flatMap((row) => study(row, here)));
      more.hidden = rows.length < PAGE;
      summary.textContent = `${offset ? count(offset, "study") : ""}${more.hidden ? "" : " so far"}`;
      if (warning) summary.append(" ", el("span.badge.warn", { title: warning }, /"((?:[^"\\]|\\.)*)"/.exec(warning)?.[1] ?? warning));
    }
    more.addEventListener("click", async () => {
      more.disabled = true;
      try {
        await page();
      } catch (error) {
        if (!aborted(error)) toast(error.message, { kind: "error" });
      }
      more.disabled = false;
    });
    await page();
    if (!offset) {
      replace(place, nothing("Nothing found", `${node} has no study that matches.`));
      return;
    }
    replace(place, summary, el("div.scroll", {}, el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, whole), el("th", {}, el("span.hidden-words", {}, "Series")), COLUMNS.map((words) => el("th", { scope: "col" }, words)), el("th", { scope: "col" }, "Here"))),
      body)), more);
  }

  // Which of these studies the archive has: UID to the number of its instances here.
  async function known(rows, mine) {
    const uids = rows.map((row) => text(row, STUDY)).filter(Boolean);
    if (!uids.length) return new Map();
    try {
      const found = await search("studies", { StudyInstanceUID: uids.join(","), limit: PAGE }, { signal: mine });
      return new Map(found.rows.map((row) => [text(row, STUDY), Number(first(row, "00201208") ?? 0)]));
    } catch (error) {
      if (aborted(error)) throw error;
      return new Map();
    }
  }

  function box(key, resource, label) {
    return el("input", {
      type: "checkbox", "aria-label": `Choose ${label}`, checked: chosen.has(key),
      onchange: (event) => {
        if (event.target.checked) chosen.set(key, resource);
        else chosen.delete(key);
        mark();
      },
    });
  }

  function study(row, here) {
    const uid = text(row, STUDY);
    const label = patientName(row) || text(row, "00100020") || uid;
    const below = el("tr.below", { hidden: true }, el("td", { colspan: COLUMNS.length + 3 }));
    const turn = el("button.quiet.iconic", {
      type: "button", "aria-expanded": "false", "aria-label": `Series of ${label}`,
      onclick: () => {
        below.hidden = !below.hidden;
        turn.setAttribute("aria-expanded", String(!below.hidden));
        turn.replaceChildren(icon(below.hidden ? "right" : "down", 14));
        if (!below.hidden && !below.dataset.asked) series(uid, below);
      },
    }, icon("right", 14));
    const has = here.get(uid);
    const values = [
      patientName(row), text(row, "00100020"), date(text(row, "00100030")), date(text(row, "00080020")), all(row, "00080061").join(" "),
      text(row, "00081030"), text(row, "00080050"), text(row, "00201206"), text(row, "00201208"),
    ];
    return [
      el("tr.study", { data: { study: uid } }, el("td", {}, box(uid, { study: uid }, `the study of ${label}`)), el("td", {}, turn), values.map((value) => el("td", {}, value)),
        el("td", {}, has && el("a", { href: href(studyPage(uid)) }, `Open (${number(has)})`))),
      below,
    ];
  }

  async function series(uid, below) {
    const cell = below.firstElementChild;
    below.dataset.asked = "yes";
    replace(cell, el("span.quiet", {}, "Asking for its series…"));
    try {
      const { rows } = await search(`studies/${encodeURIComponent(uid)}/series`, { limit: 1000 }, { signal, base });
      replace(cell, rows.length ? el("table.inner", { "aria-label": "Series" }, el("tbody", {}, rows.map((row) => {
        const one = text(row, SERIES);
        const words = [text(row, "00200011"), text(row, "00080060"), text(row, "0008103E"), first(row, "00201209") !== undefined ? count(Number(first(row, "00201209")), "instance") : ""];
        return el("tr", {}, el("td", {}, box(`${uid}/${one}`, { study: uid, series: one }, `series ${words.filter(Boolean).join(" ")}`)), words.map((value) => el("td", {}, value)));
      }))) : el("span.quiet", {}, "It tells of no series."));
    } catch (error) {
      delete below.dataset.asked;
      if (!aborted(error)) replace(cell, el("span.wrong", {}, error.message));
    }
  }

  async function toAnother() {
    const destination = await chooseNode({ title: "Retrieve to another node", words: `${node} sends what is chosen to:`, yes: "Retrieve", except: node });
    if (destination) await retrieve(destination);
  }

  async function retrieve(destination) {
    // Of a study that is chosen as a whole, its series need not be named again.
    const resources = [...chosen.values()].filter((one) => !one.series || !chosen.has(one.study));
    try {
      const job = await sendJson("POST", `${base}/retrieve`, { resources, ...(destination ? { destination } : {}) });
      cards.prepend(jobCard(job, { signal, over: (now) => now.state === "done" && !destination && arrived(resources) }));
      chosen.clear();
      mark();
      for (const one of place.querySelectorAll("input[type=checkbox]")) one.checked = false;
    } catch (error) {
      toast(error.message, { kind: "error" });
    }
  }

  function arrived(resources) {
    const studies = [...new Set(resources.map((one) => one.study))];
    for (const uid of studies) {
      const cell = [...place.querySelectorAll("tr.study")].find((row) => row.dataset.study === uid)?.lastElementChild;
      if (cell && !cell.children.length) cell.append(el("a", { href: href(studyPage(uid)) }, "Open"));
    }
    const only = studies.length === 1;
    return el("a.button.primary", { href: only ? href(studyPage(studies[0])) : "#/studies" }, only ? "Open the study" : "Open the list of studies");
  }

  if ([...inputs.values()].some((input) => input.value)) run();
  else replace(place, nothing("What are you looking for?", "Fill in what you know and search. With nothing filled in, the node is asked for all that it has."));
  return { title: `Search at ${node}`, close: () => newest.stop() };
}

function preset(value) {
  if (value === "") return "";
  return Number(value) < 2 ? daysAgo(value) : `${daysAgo(value)}-${daysAgo(0)}`;
}
