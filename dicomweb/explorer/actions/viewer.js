// "Open in OHIF", and so on for every viewer that is installed. None is offered where none is.

import { register } from "../actions.js";
import { addressOf, viewers } from "../installed.js";

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
