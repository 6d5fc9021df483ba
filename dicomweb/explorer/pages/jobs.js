// Jobs: all of them, or one with every reason.

import { getJson } from "../api.js";
import { go, setTitle } from "../app.js";
import { bar } from "../components/bar.js";
import { buttons, figures, jobCard, OPEN, share, stateBadge, title } from "../components/jobs.js";
import { nothing } from "../components/notice.js";
import { el, icon, replace } from "../dom.js";
import { studyPage } from "../subjects.js";
import { count, moment, number } from "../words.js";

const SOON = 1000, LATER = 5000;
const PAGE = 50;
const STATES = { "": "All", "waiting,running": "Under way", failed: "Failed", done: "Done", canceled: "Stopped" };

export async function open(view, { params, query, signal }) {
  return params.job ? one(view, params.job, signal) : all(view, query, signal);
}

async function all(view, query, signal) {
  const state = query.get("state") ?? "";
  const body = el("tbody");
  const table = el("table.wide", {}, el("thead", {}, el("tr", {}, ["Job", "State", "Progress", "Begun", ""].map((words) => el("th", { scope: "col" }, words || el("span.hidden-words", {}, "Actions"))))), body);
  const place = el("div");
  const more = el("button", { type: "button", hidden: true, onclick: () => ((most += PAGE), look()) }, "Older jobs");
  const lines = new Map();
  let most = PAGE, timer = 0;
  replace(view,
    el("div.row", {}, el("h1", {}, "Jobs"), el("span.grow"),
      el("label.row", {}, el("span.quiet", {}, "Show"),
        el("select", { "aria-label": "Which jobs", onchange: (event) => go("jobs", { state: event.target.value }) }, Object.entries(STATES).map(([value, words]) => el("option", { value, selected: value === state }, words))))),
    place, more,
  );

  async function look() {
    clearTimeout(timer);
    const found = (await getJson(`jobs?limit=${Math.min(most + 1, 1000)}${state ? `&state=${state}` : ""}`, { signal })).jobs;
    more.hidden = found.length <= most;
    const jobs = found.slice(0, most);
    if (!jobs.length) replace(place, nothing("No jobs", state ? "None is in this state." : "What is sent to nodes and retrieved from them is listed here."));
    else if (!table.isConnected) replace(place, table);
    const seen = new Set(jobs.map((job) => job.id));
    for (const [id, line] of lines) if (!seen.has(id)) (line.element.remove(), lines.delete(id));
    jobs.forEach((job, at) => {
      if (!lines.has(job.id)) lines.set(job.id, row(job, look));
      const line = lines.get(job.id);
      line.show(job);
      if (body.children[at] !== line.element) body.insertBefore(line.element, body.children[at] ?? null);
    });
    plan(jobs.some((job) => OPEN.has(job.state)) ? SOON : LATER);
  }
  function plan(delay) {
    clearTimeout(timer);
    if (!signal.aborted) timer = setTimeout(() => (document.hidden ? plan(delay) : look().catch(() => plan(LATER))), delay);
  }
  signal.addEventListener("abort", () => clearTimeout(timer));
  await look();
  return { title: "Jobs" };
}

function row(job, look) {
  const cells = { what: el("td"), state: el("td"), progress: el("td.progress"), begun: el("td"), tools: el("td.tools") };
  const filled = bar(title(job));
  const line = el("span.quiet"), why = el("span.wrong");
  replace(cells.what, el("a", { href: `#/jobs/${job.id}` }, title(job)), el("span.quiet", {}, ` #${job.id}`));
  replace(cells.progress, filled, el("div", {}, line), why);
  cells.begun.textContent = moment(job.created * 1000);
  let shown = "";
  return {
    element: el("tr", { data: { job: job.id } }, Object.values(cells)),
    show(now) {
      filled.show(share(now), now.state === "failed" ? "bad" : now.state === "done" ? "good" : "");
      line.textContent = figures(now);
      why.textContent = now.error;
      const key = `${now.state} ${now.cancel}`;
      if (key === shown) return; // buttons under a pointer or with the focus stay
      shown = key;
      replace(cells.state, stateBadge(now));
      replace(cells.tools, el("div.row", {}, buttons(now, () => look().catch(() => {}))));
    },
  };
}

async function one(view, id, signal) {
  const job = await getJson(`jobs/${encodeURIComponent(id)}`, { signal });
  const reasons = el("section.card", { "aria-label": "What did not arrive", hidden: true });
  let offset = 0, busy = false;
  const local = (resource) => resource.study && (job.kind === "send" || !job.task.destination);
  replace(view,
    el("div.row", {}, el("a.back", { href: "#/jobs" }, icon("left", 14), "Jobs"), el("h1", {}, `Job ${job.id}`)),
    jobCard(job, { signal, link: false, over: (now) => (fill(now), null) }),
    el("section.card", { "aria-label": "What it is" },
      el("dl.facts", {},
        fact("Added", moment(job.created * 1000)), fact("Last change", moment(job.changed * 1000)),
        fact("Node", el("a", { href: `#/nodes/${encodeURIComponent(job.node)}` }, job.node)),
        job.task.destination && fact("To", job.task.destination),
        fact("Attempts", number(job.attempts)), job.owner && fact("Done by", job.owner),
      ),
      el("h2", {}, "What"),
      el("ul.plain", {}, (job.task.resources ?? []).slice(0, 100).map((resource) => el("li", {},
        local(resource) ? el("a", { href: `#/${studyPage(resource.study)}` }, words(resource)) : words(resource)))),
      (job.task.resources ?? []).length > 100 && el("p.quiet", {}, `and ${number(job.task.resources.length - 100)} more`),
    ),
    reasons,
  );
  async function fill(now, more = false) {
    if (busy || (!now.progress?.failed && !now.progress?.failures?.length)) return;
    busy = true;
    try {
      if (!more) offset = 0;
      const page = await getJson(`jobs/${now.id}/failures?limit=${PAGE}&offset=${offset}`, { signal });
      const lines = page.failures.map((each) => el("li", {}, el("span.path", {}, each.instance || "Several instances"), el("span.why", {}, each.reason)));
      offset += lines.length;
      reasons.hidden = false;
      if (!more) replace(reasons, el("h2", {}, `${count(page.failed, "instance")} did not arrive`), el("ul.outcomes"));
      reasons.querySelector("ul").append(...lines);
      reasons.querySelector("button")?.remove();
      if (offset < page.told) reasons.append(el("button", { type: "button", onclick: () => fill(now, true) }, `Show more (${number(page.told - offset)})`));
      else if (page.failed > page.told) reasons.append(el("p.quiet", {}, `Reasons of the other ${number(page.failed - page.told)} were not kept.`));
    } finally {
      busy = false;
    }
  }
  setTitle(`Job ${job.id}`);
  return { title: `Job ${job.id}` };
}

const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];

function words(resource) {
  if (resource.patient) return `Patient ${resource.patient}${resource.issuer ? ` of ${resource.issuer}` : ""}`;
  return resource.instance ? `Instance ${resource.instance}` : resource.series ? `Series ${resource.series}` : `Study ${resource.study}`;
}
