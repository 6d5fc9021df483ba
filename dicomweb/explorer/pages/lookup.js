// Where a pasted identifier leads: straight to the page if it names one thing, else a choice.

import { lookUp } from "../api.js";
import { nothing } from "../components/notice.js";
import { el, replace } from "../dom.js";
import { instancePage, patientPage, seriesPage, studyPage } from "../subjects.js";

const LEVELS = { patient: "Patient", study: "Study", series: "Series", instance: "Instance" };
const MATCHED = { PatientID: "patient ID", AccessionNumber: "accession number", StudyInstanceUID: "study UID", SeriesInstanceUID: "series UID", SOPInstanceUID: "instance UID" };

export async function open(view, { query, signal }) {
  const asked = query.get("q") ?? "";
  const { results } = await lookUp(asked, { signal });
  if (results.length === 1) {
    location.replace(address(results[0]));
    return {};
  }
  replace(view,
    el("h1", {}, "Look-up: ", el("span.mono", {}, asked)),
    results.length
      ? el("ul.hits", {}, results.map((one) => el("li", {}, el("a", { href: address(one) }, el("span.modality", {}, LEVELS[one.level]), one.label), " ", el("span.faint", {}, `by ${MATCHED[one.matched] ?? one.matched}`))))
      : nothing("Nothing has this identifier", "Patient IDs, accession numbers and UIDs are compared whole. For parts of them and for names, use the fields above the lists.", el("a", { href: "#/studies" }, "To the studies")),
  );
  return { title: `Look-up: ${asked}` };
}

function address(found) {
  const { StudyInstanceUID: study, SeriesInstanceUID: series, SOPInstanceUID: instance, PatientID: id, IssuerOfPatientID: issuer } = found;
  if (found.level === "instance") return `#/${instancePage(study, series, instance)}`;
  if (found.level === "series") return `#/${seriesPage(study, series)}`;
  if (found.level === "study") return `#/${studyPage(study)}`;
  return patientPage({ id, issuer });
}
