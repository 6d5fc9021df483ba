// One study: patient and study in words, and its series as cards.

import { ApiError, search } from "../api.js";
import { banner } from "../components/banner.js";
import { keys } from "../components/keys.js";
import { seriesCard } from "../components/studylist.js";
import { el, replace } from "../dom.js";
import { seriesPage, studySubject } from "../subjects.js";
import { all, count, date, name, patientName, text, time } from "../words.js";

export async function open(view, { params: { study }, signal }) {
  const path = `studies/${encodeURIComponent(study)}/series`;
  const [found, series] = await Promise.all([
    search("studies", { StudyInstanceUID: study, includefield: "00080080,00321060,00101010,00081080" }, { signal }),
    search(path, { limit: 1000, includefield: "00180015,00181030" }, { signal }),
  ]);
  const row = found.rows[0];
  if (!row) throw new ApiError("There is no such study here, or no longer.", 404);
  const facts = [
    ["Date", [date(text(row, "00080020")), time(text(row, "00080030"))].filter(Boolean).join(" ")],
    ["Accession", text(row, "00080050")],
    ["Study ID", text(row, "00200010")],
    ["Referring physician", name(all(row, "00080090")[0])],
    ["Institution", text(row, "00080080")],
    ["Study UID", study],
  ].filter(([, value]) => value);
  replace(view,
    banner(row, { study }, { subject: studySubject(row), done: (what) => (what?.gone ? (location.hash = "#/studies") : location.reload()) }),
    el("section.study-head", {},
      el("h2", {}, text(row, "00081030") || "Study without description"),
      el("dl.pairs", {}, facts.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value)))),
    ),
    el("h2.section", {}, count(series.rows.length, "series")),
    el("div.series-cards", {}, series.rows.map((one) => seriesCard(one, study))),
  );
  keys(signal, { Enter: () => series.rows[0] && (location.hash = `#/${seriesPage(study, text(series.rows[0], "0020000E"))}`) && undefined });
  return { title: patientName(row) || text(row, "00081030") };
}
