// Studies of the archive, newest first: where everybody begins.

import { el } from "../dom.js";
import { keys } from "../components/keys.js";
import { nothing } from "../components/notice.js";
import { studyList } from "../components/studylist.js";

export async function open(view, { query, signal }) {
  const shown = studyList(view, { query, signal, above: el("h1.hidden-words", {}, "Studies"), empty: welcome });
  keys(signal, { "/": () => shown.fields.name.focus(), ArrowDown: () => shown.list.focus(shown.list.active) });
  return { title: "Studies", changed: shown.changed };
}

const welcome = () => nothing("The archive is empty",
  "Drop a folder, DICOM files or a ZIP anywhere on this page and they are stored.",
  el("p.faint", {}, "Modalities send by DIMSE, programs by STOW-RS; what arrives shows up here."),
);
