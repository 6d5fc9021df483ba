// The list of studies with a search field per column: of the archive, or of one patient.

import { href, replaceQuery } from "../app.js";
import { search } from "../api.js";
import { fitting } from "../actions.js";
import { el, icon, replace } from "../dom.js";
import { seriesPage, studyPage, studySubject } from "../subjects.js";
import { all, count, date, number, patientName, sex, text, time } from "../words.js";
import { List } from "./list.js";
import { actionElement, actionMenu } from "./menu.js";
import { nothing } from "./notice.js";
import { choice, dateField, dateRange, inside, modalityOptions, nameKey, pagesOf, textField } from "./search.js";
import { thumb } from "./thumbnail.js";

// Names in the address, and how they become keys of the search.
const KEYS = {
  name: nameKey,
  id: (value, form) => ({ PatientID: inside(form(value)) }),
  date: (value) => ({ StudyDate: dateRange(value) }),
  modality: (value) => ({ ModalitiesInStudy: value }),
  description: (value, form) => ({ StudyDescription: inside(form(value)) }),
  accession: (value, form) => ({ AccessionNumber: inside(form(value)) }),
  order: (value) => ({ orderby: value }),
};

const PANEL = 112;

// view: the page; query: of the address; fixed: keys that always hold, such as { PatientID, IssuerOfPatientID };
// columns: names of those to leave out; above: what stands over the list; signal: of the page.
export function studyList(view, { query, signal, fixed = {}, without = [], above = null, empty }) {
  const state = {};
  const fields = {};
  let searching = 0;

  function read(from) {
    for (const name of Object.keys(KEYS)) state[name] = from.get(name) ?? "";
  }
  read(query);

  function change(name, value) {
    if (state[name] === value.trim() && name !== "date") return;
    state[name] = name === "date" ? value : value.trim();
    const kept = Object.fromEntries(Object.entries(state).filter(([, one]) => one));
    const others = Object.fromEntries([...new URLSearchParams(location.hash.split("?")[1] ?? "")].filter(([one]) => !(one in KEYS)));
    replaceQuery({ ...others, ...kept });
    list.sorted = state.order;
    list.load();
  }

  const field = (name, label, placeholder) => (fields[name] = textField({ label, value: state[name], placeholder, told: (value) => change(name, value) }));
  fields.date = dateField({ label: "Study date", value: state.date, told: (value) => change("date", value) });
  fields.modality = choice({ label: "Modality", value: state.modality, options: modalityOptions, told: (value) => change("modality", value) });

  const columns = [
    { name: "picture", label: "", width: "38px", narrow: true, cell: (row) => thumb({ study: text(row, "0020000D") }, 28, all(row, "00080061")[0]) },
    { name: "name", label: "Patient", width: "minmax(9rem, 2.2fr)", sort: "PatientName", cell: (row) => nameCell(row), filter: () => field("name", "Patient name", "Name") },
    { name: "id", label: "ID", width: "minmax(6rem, 1.2fr)", sort: "PatientID", cell: (row) => el("span.mono", {}, text(row, "00100020")), filter: () => field("id", "Patient ID", "ID") },
    { name: "birth", label: "Born", width: "8rem", sort: "PatientBirthDate", narrow: true, cell: (row) => el("span.digits", {}, date(text(row, "00100030")), sexMark(row)) },
    { name: "date", label: "Study date", width: "10rem", sort: "StudyDate", cell: (row) => el("span.digits", {}, date(text(row, "00080020")), el("span.faint", {}, time(text(row, "00080030")))), filter: () => fields.date },
    { name: "modality", label: "Modality", width: "8.5rem", cell: (row) => all(row, "00080061").map((one) => el("span.modality", {}, one)), filter: () => fields.modality },
    { name: "description", label: "Description", width: "minmax(8rem, 2fr)", sort: "StudyDescription", cell: (row) => text(row, "00081030"), filter: () => field("description", "Study description", "Description") },
    { name: "accession", label: "Accession", width: "minmax(7.5rem, 1fr)", sort: "AccessionNumber", narrow: true, cell: (row) => el("span.mono", {}, text(row, "00080050")), filter: () => field("accession", "Accession number", "Accession") },
    { name: "series", label: "Series", width: "4.4rem", narrow: true, right: true, cell: (row) => text(row, "00201206") },
    { name: "images", label: "Images", width: "4.8rem", narrow: true, right: true, cell: (row) => text(row, "00201208") && number(Number(text(row, "00201208"))) },
    { name: "actions", label: "", width: "36px", tight: true, cell: (row) => actionMenu(() => [studySubject(row)], done, { label: "Actions with this study" }) },
  ].filter((one) => !without.includes(one.name)).map((one) => ({ ...one, filter: one.filter?.() ?? null }));

  const counter = el("span.counter", { role: "status", "aria-live": "polite" });
  const chosen = el("div.chosen", { hidden: true });
  const clear = el("button.quiet", { type: "button", hidden: true, onclick: reset }, icon("close", 14), "Clear the search");

  function done() {
    list.refresh();
  }

  function reset() {
    for (const name of Object.keys(KEYS)) state[name] = "";
    show();
    const others = [...new URLSearchParams(location.hash.split("?")[1] ?? "")].filter(([one]) => !(one in KEYS));
    replaceQuery(Object.fromEntries(others));
    list.load();
    fields.name?.focus();
  }

  function show() {
    for (const [name, one] of Object.entries(fields)) {
      if (name === "date") one.show(state.date);
      else if (document.activeElement !== one) one.value = state[name];
    }
    list.sorted = state.order;
  }

  const searched = () => Object.entries(state).some(([name, value]) => value && name !== "order");

  const fetchPage = pagesOf("studies", KEYS, state, ["id", "description", "accession"], fixed);
  const list = new List({
    label: "Studies",
    columns,
    sorted: state.order,
    sort: (order) => change("order", order),
    key: (row) => text(row, "0020000D"),
    open: (row) => (location.hash = href(studyPage(text(row, "0020000D")))),
    fetchPage: async (offset, ...others) => {
      const begun = performance.now();
      const found = await fetchPage(offset, ...others);
      if (!offset) searching = performance.now() - begun;
      return found;
    },
    expand: async (row, aborting) => {
      const study = text(row, "0020000D");
      const { rows } = await search(`studies/${encodeURIComponent(study)}/series`, {}, { signal: aborting });
      return { height: PANEL, nodes: el("div.series-strip", {}, rows.map((one) => seriesCard(one, study))) };
    },
    selected: (rows) => showChosen(rows),
    counted: ({ total, atLeast }) => {
      counter.textContent = `${atLeast ? "more than " : ""}${count(total, "study")}`;
      counter.title = `Answered in ${Math.round(searching)} ms`;
      clear.hidden = !searched();
    },
    empty: () => (searched() ? nothing("No study matches", el("button", { type: "button", onclick: reset }, "Clear the search")) : empty()),
  });

  function showChosen(rows) {
    chosen.hidden = rows.length === 0;
    if (!rows.length) return;
    const subjects = rows.map(studySubject);
    replace(chosen, el("strong", {}, `${count(rows.length, "study")} selected`),
      fitting(subjects).map((action) => actionElement(action, subjects, done)),
      el("button.quiet", { type: "button", onclick: () => list.clearSelection() }, "Clear the selection"));
  }

  replace(view, above, el("div.list-bar", {}, counter, clear, el("div.grow"), chosen), list.element);
  view.classList.add("filled");
  signal.addEventListener("abort", () => list.close());
  list.load();

  return {
    list,
    fields,
    changed(next) {
      read(next);
      show();
      list.load();
    },
  };
}

function nameCell(row) {
  const name = patientName(row);
  return el("a.name", { href: href(studyPage(text(row, "0020000D"))), tabindex: -1, title: name }, name || el("span.faint", {}, "no name"));
}

function sexMark(row) {
  const letter = text(row, "00100040");
  return letter ? el("span.faint", { title: sex(letter) || letter }, letter) : null;
}

// A series as a card with its picture.
export function seriesCard(row, study, current = false) {
  const series = text(row, "0020000E");
  const images = Number(text(row, "00201209") || 0);
  const label = text(row, "0008103E") || `Series ${text(row, "00200011")}`;
  return el("a.series-card", { href: href(seriesPage(study, series)), "aria-current": current ? "true" : null, title: label },
    thumb({ study, series }, 72, text(row, "00080060")),
    el("span.series-words", {},
      el("span.series-head", {}, el("span.modality", {}, text(row, "00080060")), el("span.faint", {}, text(row, "00200011"))),
      el("span.series-label", {}, label),
      el("span.faint", {}, count(images, "object")),
    ),
  );
}
