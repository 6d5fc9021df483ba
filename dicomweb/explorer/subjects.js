// Patients, studies, series and instances as subjects of actions (actions.js), made from results of searches.

import { resource } from "./api.js";
import { date, patientName, text } from "./words.js";

export const patientOf = (row) => ({ id: text(row, "00100020"), issuer: text(row, "00100021"), birth: text(row, "00100030"), name: patientName(row) });

export function patientSubject(row) {
  const patient = patientOf(row);
  return { level: "patient", patient, label: patient.name || patient.id || "Patient without name", row };
}

export function studySubject(row) {
  const patient = patientOf(row);
  const label = [patient.name || patient.id || "without name", text(row, "00081030"), date(text(row, "00080020"))].filter(Boolean).join(" · ");
  return { level: "study", study: text(row, "0020000D"), patient, label, row };
}

export function seriesSubject(row, study = text(row, "0020000D")) {
  const label = [text(row, "00080060"), text(row, "0008103E") || `series ${text(row, "00200011")}`].filter(Boolean).join(" · ");
  return { level: "series", study, series: text(row, "0020000E"), patient: patientOf(row), label, row };
}

export function instanceSubject(row, study = text(row, "0020000D"), series = text(row, "0020000E")) {
  const number = text(row, "00200013");
  return { level: "instance", study, series, instance: text(row, "00080018"), patient: patientOf(row), label: number ? `image ${number}` : "instance", row };
}

// Pages of the explorer.
export const studyPage = (study) => `studies/${encodeURIComponent(study)}`;
export const seriesPage = (study, series) => `${studyPage(study)}/series/${encodeURIComponent(series)}`;
export const instancePage = (study, series, instance) => `${seriesPage(study, series)}/instances/${encodeURIComponent(instance)}`;
// Empty parts cannot stand in a path: a patient without ID is found by the query.
export const patientPage = ({ id, issuer }) => `#/patient?${new URLSearchParams({ PatientID: id, ...(issuer ? { IssuerOfPatientID: issuer } : {}) })}`;

export const thumbnail = (of, pixels) => `${resource(of)}/thumbnail?viewport=${pixels},${pixels}`;
