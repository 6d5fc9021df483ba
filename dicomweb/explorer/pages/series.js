// One series in the viewer; beside it the other series of its study, and on demand the attributes of what is shown.

import { replaceQuery, setTitle } from "../app.js";
import { ApiError, metadata, search } from "../api.js";
import { banner } from "../components/banner.js";
import { keys } from "../components/keys.js";
import { seriesCard } from "../components/studylist.js";
import { el, icon, replace } from "../dom.js";
import { addressOf, liesOverImages, viewers } from "../installed.js";
import { instancePage, seriesPage, seriesSubject, studyPage } from "../subjects.js";
import { all, patientName, text } from "../words.js";
import { pictures } from "../viewer/stack.js";
import { Viewer } from "../viewer/viewer.js";

export async function open(view, { params: { study, series }, query, signal }) {
  const others = search(`studies/${encodeURIComponent(study)}/series`, { limit: 1000 }, { signal });
  others.catch(() => {});
  const datasets = await metadata({ study, series }, { signal });
  if (!datasets?.length) throw new ApiError("There is no such series here, or no longer.", 404);
  const list = pictures(datasets, study, series);
  const wanted = list.findIndex((one) => one.instance === query.get("instance") && (!query.get("frame") || String(one.frame) === query.get("frame")));
  const row = datasets[0];
  const side = el("aside.side", { hidden: true, "aria-label": "Attributes" });
  const strip = el("nav.strip", { "aria-label": "Series of this study" });
  const tagsButton = el("button.quiet", { type: "button", title: "Attributes (T)", "aria-expanded": "false", onclick: toggleTags }, icon("tags"), "Attributes");
  const instanceLink = el("a.button.quiet", { title: "This object by itself" }, icon("file"), "Object");
  const overlayLinks = el("span.overlays");
  if (liesOverImages(text(row, "00080060"))) {
    viewers().then((there) => replace(overlayLinks, there.map((one) =>
      el("a.button.quiet", { href: addressOf(one, [{ study }]), target: "_blank", rel: "noopener" }, icon("layers"), `Over its images in ${one.title}`))));
  }
  let addressed;
  let tags = null;

  const viewer = new Viewer({
    pictures: list,
    start: wanted >= 0 ? wanted : list.length > 1 && query.get("at") === "middle" ? Math.floor(list.length / 2) : 0,
    signal,
    buttons: [overlayLinks, instanceLink, tagsButton],
    onshow: (index, picture) => {
      instanceLink.href = `#/${instancePage(study, series, picture.instance)}`;
      tags?.show(picture.dataset);
      clearTimeout(addressed);
      addressed = setTimeout(() => {
        if (signal.aborted) return;
        replaceQuery(index || wanted >= 0 ? { instance: picture.instance, ...(picture.frames > 1 ? { frame: picture.frame } : {}) } : {});
      }, 300);
    },
  });

  async function toggleTags() {
    side.hidden = !side.hidden;
    tagsButton.setAttribute("aria-expanded", String(!side.hidden));
    if (side.hidden || tags) return;
    const { TagTree } = await import("../components/tags.js");
    tags = new TagTree(viewer.picture.dataset);
    replace(side, tags.element);
  }

  replace(view,
    banner(row, { study, series }, {
      subject: seriesSubject(row, study), words: { study: text(row, "00081030") },
      done: (what) => (what?.gone ? (location.hash = `#/${studyPage(study)}`) : location.reload()),
    }),
    el("div.viewer-page", {}, strip, viewer.element, side),
  );
  view.classList.add("filled");
  let around = [];
  others.then(({ rows }) => {
    around = rows.map((one) => text(one, "0020000E"));
    replace(strip, rows.map((one) => seriesCard(one, study, text(one, "0020000E") === series)));
    strip.hidden = rows.length < 2;
    strip.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }).catch(() => (strip.hidden = true));
  const beside = (by) => () => {
    const next = around[around.indexOf(series) + by];
    if (next) location.hash = `#/${seriesPage(study, next)}`;
  };
  keys(signal, { ...viewer.keys, t: toggleTags, "[": beside(-1), "]": beside(1) });
  setTitle([patientName(row), text(row, "0008103E") || all(row, "00080060")[0]].filter(Boolean).join(" · "));
  return { changed: () => {}, close: () => viewer.pause() };
}
