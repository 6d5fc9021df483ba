// What can be done with patients, studies, series and instances. Modules in actions/ register; menus on the pages and the
// bar above a selection show what fits.
//
//   register({
//     name: "send",                      // unique
//     label: "Send to a node…",
//     icon: "send",                      // of icons.js
//     levels: ["patient", "study", "series", "instance"],
//     many: true,                        // takes several subjects of one level at once; default false
//     right: "view",                     // who may not has it left out
//     danger: false,                     // red, and last in the menu
//     order: 20,                         // place in the menu; default 50
//     shown: (subjects) => true,         // optional: false leaves it out
//     href: (subjects) => "…",           // a link instead of `run`; with `download: "name"` (or a function) it saves
//     run: async (subjects, done) => …,  // import the dialog here, so that it loads when it is wanted;
//   });                                  // done({ gone: true }) tells the page that the subjects are deleted, done() that they changed
//
// A subject is { level, study, series, instance, patient: { id, issuer, name }, label, row }: UIDs down to its level,
// `label` a short text for titles of dialogs, `row` the QIDO-RS result that it came from (may be absent).

import { may } from "./session.js";

const known = new Map();

export function register(action) {
  known.set(action.name, { order: 50, many: false, danger: false, right: "view", ...action });
}

// The actions that these subjects, all of one level, can take; in the order of the menu.
export function fitting(subjects) {
  if (!subjects.length) return [];
  return [...known.values()]
    .filter((action) => action.levels.includes(subjects[0].level))
    .filter((action) => subjects.length === 1 || action.many)
    .filter((action) => may(action.right))
    .filter((action) => !action.shown || action.shown(subjects))
    .sort((a, b) => a.danger - b.danger || a.order - b.order);
}
