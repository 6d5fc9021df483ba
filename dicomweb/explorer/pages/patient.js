// One patient: who it is, and all studies. Found by ID and issuer; without an issuer, those of that ID that have none.

import { ApiError, search } from "../api.js";
import { actionMenu } from "../components/menu.js";
import { nothing } from "../components/notice.js";
import { studyList } from "../components/studylist.js";
import { el } from "../dom.js";
import { patientSubject } from "../subjects.js";
import { date, patientName, sex, text } from "../words.js";

export async function open(view, { query, signal }) {
  const id = query.get("PatientID") ?? "";
  const issuer = query.get("IssuerOfPatientID") ?? "";
  const keys = { PatientID: exact(id), IssuerOfPatientID: exact(issuer), emptyvaluematching: "true" };
  const { rows } = await search("patients", { ...keys, limit: 1 }, { signal });
  if (!rows.length) throw new ApiError("There is no such patient here, or no longer.", 404);
  const patient = rows[0];
  const facts = [text(patient, "00100020") && `ID ${text(patient, "00100020")}`, issuer && `issued by ${issuer}`, date(text(patient, "00100030")) && `born ${date(text(patient, "00100030"))}`, sex(text(patient, "00100040"))];
  const above = el("div.banner", {},
    el("nav.crumbs", { "aria-label": "Where this is" }, el("a", { href: "#/patients" }, "Patients")),
    el("h1", {}, patientName(patient) || "Patient without name"),
    el("span.who", {}, facts.filter(Boolean).map((one) => el("span", {}, one))),
    el("div.grow"),
    actionMenu(() => [patientSubject(patient)], (what) => (what?.gone ? (location.hash = "#/patients") : shown.list.refresh()), { label: "Actions with this patient", text: "Patient" }),
  );
  const shown = studyList(view, {
    query, signal, above, fixed: keys, without: ["name", "id", "birth"],
    empty: () => nothing("No studies of this patient"),
  });
  return { title: patientName(patient) || id, changed: shown.changed };
}

// A value as it is, whatever signs are in it; `""` is the empty one (PS3.18 8.3.4.5).
const exact = (value) => (value ? value.replace(/[*?]/g, "?") : '""');
