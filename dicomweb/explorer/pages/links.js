// Links to studies: which there are, how often they were opened, and an end to them.

import { getJson, search, sendJson } from "../api.js";
import { confirm } from "../components/dialog.js";
import { nothing } from "../components/notice.js";
import { toast } from "../components/toast.js";
import { el, icon, replace } from "../dom.js";
import { session } from "../session.js";
import { studyPage, studySubject } from "../subjects.js";
import { moment, text } from "../words.js";

const NAMED = 100;

export async function open(view, { signal }) {
  const told = await session;
  if (!told?.shares) {
    replace(view, el("h1", {}, "Links"), nothing("There are no links here", told?.asked
      ? "They are switched off by the setting shares."
      : "Nobody is asked who he is here: a link to one study would lead to all of them. The setting access has people asked."));
    return { title: "Links" };
  }
  const body = el("tbody");
  const place = el("div");

  async function look() {
    const { shares } = await getJson("shares", { signal });
    const studies = [...new Set(shares.map(({ study }) => study))].slice(0, NAMED);
    const found = studies.length ? (await search("studies", { StudyInstanceUID: studies.join(","), limit: NAMED }, { signal })).rows : [];
    const names = new Map(found.map((row) => [text(row, "0020000D"), studySubject(row).label]));
    const several = (share) => share.owner && shares.filter(({ owner }) => owner === share.owner).length > 1;
    replace(body, shares.map((share) => line(share, names.get(share.study), several(share))));
    replace(place, shares.length
      ? el("div.scroll", {}, el("table", {}, el("thead", {}, el("tr", {}, ["Study", "Right", "Made by", "Ends", "Opened", "State", ""].map((head) => el("th", { scope: "col" }, head || el("span.hidden-words", {}, "Actions"))))), body))
      : nothing("No links yet", "“Share…” in the menu of a study makes one."));
  }

  async function revoke(question, address, done) {
    if (!(await confirm(question, "It opens nothing any more, for those who have opened it either.", { yes: "Revoke", danger: true }))) return;
    try {
      await sendJson("DELETE", address);
      toast(done);
      await look();
    } catch (error) {
      toast(error.message, { kind: "error" });
    }
  }

  function line(share, name, several) {
    const ended = share.expires * 1000 <= Date.now();
    const one = () => revoke("Revoke this link?", `shares/${share.id}`, "The link is revoked");
    const all = () => revoke(`Revoke every link that ${share.by} made?`, `shares?owner=${encodeURIComponent(share.owner)}`, "The links are revoked");
    return el("tr", { data: { share: share.id } },
      el("td", {}, name ? el("a", { href: `#/${studyPage(share.study)}` }, name) : el("span.mono", {}, share.study)),
      el("td", {}, share.right === "download" ? "Download" : "View", share.passphrase && el("span.faint", {}, ", passphrase")),
      el("td", { title: share.owner }, share.by),
      el("td", {}, moment(share.expires * 1000)),
      el("td", {}, share.openings === null ? String(share.opened) : `${share.opened} of ${share.openings}`),
      el("td", {}, el(`span.badge.${share.open ? "good" : "plain"}`, {}, share.open ? "Open" : ended ? "Ended" : "Closed")),
      el("td.tools", {}, el("button", { type: "button", "aria-label": `Revoke the link to ${name || share.study}`, onclick: one }, icon("trash", 15), "Revoke"),
        several && el("button", { type: "button", "aria-label": `Revoke every link that ${share.by} made`, onclick: all }, "All of them")),
    );
  }

  replace(view, el("h1", {}, "Links"), place);
  await look();
  return { title: "Links" };
}
