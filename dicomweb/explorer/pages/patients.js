// Patients of the archive, told apart by ID and issuer: the same ID of two hospitals is two people.

import { href, replaceQuery } from "../app.js";
import { keys } from "../components/keys.js";
import { List } from "../components/list.js";
import { actionMenu } from "../components/menu.js";
import { nothing } from "../components/notice.js";
import { choice, dateRange, inside, nameKey, pagesOf, textField } from "../components/search.js";
import { el, icon, replace } from "../dom.js";
import { patientOf, patientPage, patientSubject } from "../subjects.js";
import { count, date, number, patientName, sex, text } from "../words.js";

const KEYS = {
  name: nameKey,
  id: (value, form) => ({ PatientID: inside(form(value)) }),
  issuer: (value, form) => ({ IssuerOfPatientID: inside(form(value)) }),
  birth: (value) => ({ PatientBirthDate: dateRange(value) }),
  sex: (value) => ({ PatientSex: value }),
  order: (value) => ({ orderby: value }),
};

export async function open(view, { query, signal }) {
  const state = {};
  const fields = {};
  const read = (from) => {
    for (const name of Object.keys(KEYS)) state[name] = from.get(name) ?? "";
  };
  read(query);

  function change(name, value) {
    if (state[name] === value.trim()) return;
    state[name] = value.trim();
    replaceQuery(Object.fromEntries(Object.entries(state).filter(([, one]) => one)));
    list.sorted = state.order;
    list.load();
  }
  const field = (name, label, placeholder) => (fields[name] = textField({ label, value: state[name], placeholder, told: (value) => change(name, value) }));
  fields.sex = choice({ label: "Sex", value: state.sex, options: [["", "All"], ["F", "female"], ["M", "male"], ["O", "other"]], told: (value) => change("sex", value) });
  const birth = textField({ label: "Birth date", value: state.birth, placeholder: "YYYY-MM-DD", told: (value) => {
    const plain = value.replace(/[^\d]/g, "");
    const range = { 8: plain, 6: `${plain}01-${plain}31`, 4: `${plain}0101-${plain}1231` }[plain.length];
    if (range || !plain) change("birth", range ?? "");
  } });
  fields.birth = birth;

  const counter = el("span.counter", { role: "status", "aria-live": "polite" });
  const searched = () => Object.entries(state).some(([name, value]) => value && name !== "order");
  const clear = el("button.quiet", { type: "button", hidden: true, onclick: reset }, icon("close", 14), "Clear the search");
  function reset() {
    read(new URLSearchParams());
    for (const one of Object.values(fields)) one.value = "";
    replaceQuery({});
    list.sorted = "";
    list.load();
  }

  const list = new List({
    label: "Patients",
    sorted: state.order,
    sort: (order) => change("order", order),
    columns: [
      { name: "name", label: "Patient", width: "minmax(10rem, 2.500fr)", sort: "PatientName", filter: field("name", "Patient name", "Name"), cell: (row) => el("a.name", { href: patientPage(patientOf(row)), tabindex: -1 }, patientName(row) || el("span.faint", {}, "no name")) },
      { name: "id", label: "ID", width: "minmax(7rem, 1.500fr)", sort: "PatientID", filter: field("id", "Patient ID", "ID"), cell: (row) => el("span.mono", {}, text(row, "00100020")) },
      { name: "issuer", label: "Issuer", width: "minmax(5rem, 1fr)", sort: "IssuerOfPatientID", narrow: true, filter: field("issuer", "Issuer of the patient ID", "Issuer"), cell: (row) => text(row, "00100021") },
      { name: "birth", label: "Born", width: "8rem", sort: "PatientBirthDate", filter: birth, cell: (row) => el("span.digits", {}, date(text(row, "00100030"))) },
      { name: "sex", label: "Sex", width: "6rem", narrow: true, filter: fields.sex, cell: (row) => sex(text(row, "00100040")) || text(row, "00100040") },
      ...[["Studies", "00201200"], ["Series", "00201202"], ["Images", "00201204"]].map(([label, tag]) => ({ name: label, label, width: "5.500rem", narrow: label !== "Studies", right: true, cell: (row) => text(row, tag) && number(Number(text(row, tag))) })),
      { name: "actions", label: "", width: "36px", tight: true, cell: (row) => actionMenu(() => [patientSubject(row)], () => list.refresh(), { label: "Actions with this patient" }) },
    ],
    key: (row) => `${text(row, "00100020")}\n${text(row, "00100021")}`,
    open: (row) => (location.hash = patientPage(patientOf(row))),
    fetchPage: pagesOf("patients", KEYS, state, ["id", "issuer"]),
    counted: ({ total, atLeast }) => {
      counter.textContent = `${atLeast ? "more than " : ""}${count(total, "patient")}`;
      clear.hidden = !searched();
    },
    empty: () => (searched() ? nothing("No patient matches", el("button", { type: "button", onclick: reset }, "Clear the search")) : nothing("No patients yet", el("a", { href: href("studies") }, "How images get here"))),
  });
  replace(view, el("h1.hidden-words", {}, "Patients"), el("div.list-bar", {}, counter, clear), list.element);
  view.classList.add("filled");
  signal.addEventListener("abort", () => list.close());
  keys(signal, { "/": () => fields.name.focus(), ArrowDown: () => list.focus(list.active) });
  list.load();
  return {
    title: "Patients",
    changed(next) {
      read(next);
      for (const [name, one] of Object.entries(fields)) if (document.activeElement !== one) one.value = state[name];
      list.sorted = state.order;
      list.load();
    },
  };
}
