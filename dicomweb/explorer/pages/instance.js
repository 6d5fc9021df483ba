// One instance: what it shows, and all that it says.

import { ApiError, metadata } from "../api.js";
import { fitting } from "../actions.js";
import { banner } from "../components/banner.js";
import { keys } from "../components/keys.js";
import { actionElement } from "../components/menu.js";
import { TagTree } from "../components/tags.js";
import { el, replace } from "../dom.js";
import { instanceSubject, seriesPage } from "../subjects.js";
import { patientName, text } from "../words.js";
import { pictures } from "../viewer/stack.js";
import { Viewer } from "../viewer/viewer.js";

export async function open(view, { params: { study, series, instance }, signal }) {
  const [dataset] = (await metadata({ study, series, instance }, { signal })) ?? [];
  if (!dataset) throw new ApiError("There is no such object here, or no longer.", 404);
  const list = pictures([dataset], study, series);
  const subject = { ...instanceSubject(dataset, study, series), pictured: ["grey", "drawn"].includes(list[0].kind) };
  const done = (what) => (what?.gone ? (location.hash = `#/${seriesPage(study, series)}`) : location.reload());
  const viewer = new Viewer({ pictures: list, signal });
  const tags = new TagTree(dataset);
  const offered = fitting([subject]).filter((action) => action.href);
  replace(view,
    banner(dataset, { study, series, instance }, { subject, done, words: { study: text(dataset, "00081030"), series: text(dataset, "0008103E") } }),
    el("div.downloads", {}, offered.map((action) => actionElement(action, [subject], done))),
    el("div.viewer-page.half", {}, viewer.element, el("section.side", { "aria-label": "Attributes" }, tags.element)),
  );
  view.classList.add("filled");
  keys(signal, { ...viewer.keys, "/": () => tags.focus() });
  return { title: [patientName(dataset), subject.label].filter(Boolean).join(" · "), close: () => viewer.pause() };
}
