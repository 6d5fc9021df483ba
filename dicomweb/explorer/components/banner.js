// Whose images these are, above every page of a study: a patient is never only a number.

import { el, icon } from "../dom.js";
import { patientOf, patientPage, seriesPage, studyPage } from "../subjects.js";
import { age, date, sex, text } from "../words.js";
import { actionMenu } from "./menu.js";

// row: data set with the patient's attributes; of: UIDs down to the level of the page; subject: of the menu of actions;
// words: of the last steps ({ study, series, instance }); more: further nodes before the menu.
export function banner(row, of, { subject, done, words = {}, more = [] }) {
  const patient = patientOf(row);
  const facts = [
    patient.id && el("span.mono", {}, patient.id),
    patient.issuer && `issued by ${patient.issuer}`,
    patient.birth && `born ${date(patient.birth)}`,
    age(patient.birth, text(row, "00080020")),
    sex(text(row, "00100040")),
  ].filter(Boolean);
  const steps = [el("a", { href: "#/studies" }, "Studies")];
  if (of.series) steps.push(el("a", { href: `#/${studyPage(of.study)}` }, words.study || "Study"));
  if (of.instance) steps.push(el("a", { href: `#/${seriesPage(of.study, of.series)}` }, words.series || "Series"));
  return el("div.banner", {},
    el("nav.crumbs", { "aria-label": "Where this is" }, steps.map((step, at) => [at ? icon("right", 12) : null, step])),
    el("h1", {}, el("a", { href: patientPage(patient) }, patient.name || patient.id || "Patient without name")),
    el("span.who", {}, facts.map((fact) => el("span", {}, fact))),
    el("div.grow"),
    more,
    actionMenu(() => [subject], done, { label: `Actions with this ${of.instance ? "instance" : of.series ? "series" : "study"}`, text: "Actions" }),
  );
}
