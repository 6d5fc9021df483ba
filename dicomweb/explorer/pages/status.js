// How the server is: what it holds, room, health, jobs, the bridge, what was refused and what was deleted.

import { getJson, sendJson } from "../api.js";
import { bar } from "../components/bar.js";
import { confirm } from "../components/dialog.js";
import { toast } from "../components/toast.js";
import { el, icon, replace } from "../dom.js";
import { count, duration, moment, number, size } from "../words.js";

const AGAIN = 5000;
const PAGE = 50;

export async function open(view, { signal }) {
  const top = el("div.cards"), counts = el("div.tiles");
  const refused = paged("refusals", "Refused lately", refusal, "last", signal);
  const deleted = paged("deletions", "Deleted lately", deletion, "time", signal);
  const clear = el("button", { type: "button", onclick: forget }, icon("trash", 15), "Forget all");
  refused.head.append(el("span.grow"), clear);
  let timer = 0;

  async function look() {
    const told = await getJson("status", { signal });
    replace(counts, tiles(told));
    replace(top, health(told), storage(told), bridge(told), versions(told));
    plan();
  }
  function plan() {
    clearTimeout(timer);
    if (!signal.aborted) timer = setTimeout(() => (document.hidden ? plan() : look().catch(plan)), AGAIN);
  }
  async function forget() {
    if (!(await confirm("Forget all refusals?", "The list begins anew. Nothing else changes.", { yes: "Forget" }))) return;
    try {
      await sendJson("DELETE", "refusals");
      toast("Forgotten");
      await refused.load();
    } catch (error) {
      toast(error.message, { kind: "error" });
    }
  }
  replace(view, el("h1", {}, "Status"), counts, top, refused.element, deleted.element);
  signal.addEventListener("abort", () => clearTimeout(timer));
  await Promise.all([look(), refused.load(), deleted.load()]);
  return { title: "Status" };
}

function tiles({ counts, counted }) {
  if (!counts) return el("p.quiet", {}, "What is held is being counted…");
  const all = [[counts.patients, "Patients"], [counts.studies, "Studies"], [counts.series, "Series"], [counts.instances, "Instances"]];
  return [
    all.map(([value, words]) => el("div.tile", {}, el("strong", {}, number(value)), el("span", {}, words))),
    el("div.tile", {}, el("strong", {}, size(counts.bytes)), el("span", {}, "Stored")),
    el("p.quiet.asof", {}, `Counted ${moment(counted * 1000)}`),
  ];
}

const card = (heading, ...inside) => el("section.card", { "aria-label": heading }, el("h2", {}, heading), inside);
const facts = (...pairs) => el("dl.facts", {}, pairs.filter(Boolean).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
const badge = (good, words) => el(`span.badge.${good ? "good" : "bad"}`, {}, words);

function health({ health: told, jobs, uptime, version, started }) {
  const words = !told.ready ? `No answer from ${told.failing.join(" and ")}` : told.full.length ? `No room in ${told.full.join(" and ")}` : told.problem ? "Nothing can be stored" : "All well";
  return card("Health",
    facts(
      ["State", badge(told.ready && told.writes, words)],
      told.problem && ["Why", `${told.problem[0].toUpperCase()}${told.problem.slice(1)}.`],
      ["Running for", el("span", { title: moment(started * 1000) }, duration(uptime))],
      ["Version", version],
      ["Jobs", jobs ? el("a", { href: "#/jobs?state=waiting,running" }, `${number(jobs.running)} running, ${number(jobs.waiting)} waiting`) : "unknown"],
    ),
  );
}

function storage({ storage: told, index, counts }) {
  const kinds = { file: "Files", s3: "S3", memory: "Memory" };
  const used = bar("Disk in use");
  if (told.total) used.show(1 - told.free / told.total, told.free / told.total < 0.1 ? "bad" : "");
  return card("Storage",
    facts(
      ["Objects", kinds[told.kind] ?? told.kind], ["Index", { sqlite: "SQLite", postgresql: "PostgreSQL", postgres: "PostgreSQL" }[index.kind] ?? index.kind],
      told.total && ["Disk", `${size(told.free)} free of ${size(told.total)}${told.floor ? `, of which ${size(told.floor)} stay free` : ""}`],
      told.limit && ["Quota", told.used === null ? size(told.limit) : `${size(told.used)} of ${size(told.limit)} used`],
    ),
    told.total && used,
    counts && (counts.other_versions > 0 || counts.garbage > 0) && facts(
      counts.other_versions > 0 && ["Other versions", `${number(counts.other_versions)} kept beside the current ones`],
      counts.garbage > 0 && ["To be removed", count(counts.garbage, "object")],
    ),
    counts && modalities(counts.modalities),
  );
}

function modalities(told) {
  const all = Object.entries(told).sort((a, b) => b[1] - a[1]);
  return all.length > 0 && el("p.quiet", {}, all.map(([name, series]) => `${name || "no modality"} ${number(series)}`).join(" · "), " series");
}

function bridge({ bridge: told }) {
  const { spool } = told;
  return card("DIMSE bridge",
    facts(
      ["State", badge(told.answers, told.answers ? "Running" : told.configured ? "No answer" : "None")],
      told.problem && ["Why", told.problem],
      told.seen && ["Last heard of", moment(told.seen * 1000)],
      told.aet && ["AE title", told.port ? `${told.aet}, port ${told.port}${told.tls_port ? `, with TLS ${told.tls_port}` : ""}` : told.aet],
      told.associations !== undefined && ["Associations", number(told.associations)],
      told.answers && ["Spool", spool ? `${count(spool.waiting, "object")} waiting, ${size(spool.bytes)} of ${size(spool.limit_bytes)}` : "off"],
      spool?.oldest && ["Waiting since", moment(spool.oldest * 1000)],
      spool?.refused > 0 && ["Set aside", count(spool.refused, "object")],
      spool?.problem && ["Trouble", spool.problem],
    ),
  );
}

const versions = ({ versions: told }) => card("Versions", facts(...Object.entries(told)));

// A list that is read page by page, the latest first.
function paged(name, heading, line, key, signal) {
  const head = el("div.row", {}, el("h2", {}, heading));
  const body = el("ul.outcomes");
  const more = el("button.quiet", { type: "button", hidden: true, onclick: () => load(last) }, "Older ones");
  const place = el("div", {}, body, more);
  const element = el("section.card", { "aria-label": heading, id: name }, head, place);
  let last = null;
  async function load(before = null) {
    const rows = (await getJson(`${name}?limit=${PAGE}${before === null ? "" : `&before=${before}`}`, { signal }))[name];
    if (before === null) body.replaceChildren();
    body.append(...rows.map(line));
    last = rows.at(-1)?.[key] ?? last;
    more.hidden = rows.length < PAGE;
    if (!body.children.length) body.append(el("li.quiet", {}, "None."));
  }
  return { element, head, load };
}

function refusal(row) {
  const who = [row.calling, row.address && `at ${row.address}`, row.node && `(node ${row.node})`].filter(Boolean).join(" ") || "Somebody";
  return el("li", {},
    el("div.row", {}, el("strong", {}, who), el("span.badge.plain", {}, row.kind), el("span.grow"), el("span.quiet", {}, row.count > 1 ? `${number(row.count)} times, last ` : "", moment(row.last * 1000))),
    el("span.why", {}, row.reason), row.advice && el("span.quiet", {}, row.advice),
  );
}

function deletion(row) {
  const level = row.instance ? "Instance" : row.series ? "Series" : "Study";
  return el("li", {},
    el("div.row", {}, el("strong", {}, row.reason || "No reason was given"), el("span.badge.plain", {}, level), el("span.grow"), el("span.quiet", {}, moment(row.time * 1000))),
    el("span.path", {}, row.instance ?? row.series ?? row.study), el("span.quiet", {}, count(row.objects, "object")),
  );
}
