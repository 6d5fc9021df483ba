// Viewers that are installed beside the archive (GET /viewer), and the addresses that show something in them.

import { getJson, ROOT } from "./api.js";

// What there is; asked for once, empty where nobody answers.
let asked = null;
export const viewers = () => (asked ??= getJson("viewer").then((answer) => answer.viewers, () => []));

// The address that shows studies, or a study beginning with one of its series or instances.
export function addressOf(viewer, subjects) {
  const studies = subjects.map(({ study }) => encodeURIComponent(study)).join(",");
  const address = new URL(viewer.study.replace("{study}", studies), ROOT);
  const [{ series, instance }] = subjects;
  if (series) address.searchParams.set("initialSeriesInstanceUID", series);
  if (instance) address.searchParams.set("initialSOPInstanceUID", instance);
  return address.href;
}

// What lies over images of other series, which only such a viewer shows together.
export const liesOverImages = (modality) => ["SEG", "RTDOSE", "RTSTRUCT"].includes(modality);
