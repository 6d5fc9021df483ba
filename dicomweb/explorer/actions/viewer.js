// "Open in OHIF", and so on for every viewer that is installed (GET /viewer). None is offered where none is.

import { register } from "../actions.js";
import { getJson, ROOT } from "../api.js";

// The address that shows studies, or a study beginning with one of its series or instances.
export function addressOf(viewer, subjects) {
  const studies = subjects.map(({ study }) => encodeURIComponent(study)).join(",");
  const address = new URL(viewer.study.replace("{study}", studies), ROOT);
  const [{ series, instance }] = subjects;
  if (series) address.searchParams.set("initialSeriesInstanceUID", series);
  if (instance) address.searchParams.set("initialSOPInstanceUID", instance);
  return address.href;
}

// The viewers that are installed; asked for once.
let asked = null;
export const viewers = () => (asked ??= getJson("viewer").then((answer) => answer.viewers, () => []));

for (const viewer of await viewers()) {
  register({
    name: `viewer-${viewer.name}`,
    label: `Open in ${viewer.title}`,
    icon: "eye",
    levels: ["study", "series", "instance"],
    many: true,
    order: 10,
    shown: (subjects) => subjects.length === 1 || (subjects.length <= 8 && subjects[0].level === "study"),
    target: "_blank",
    href: (subjects) => addressOf(viewer, subjects),
  });
}
