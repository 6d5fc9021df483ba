// Jobs as people see them: what one does, how far it is, what can be done about it; and one that is followed while it runs.

import { getJson, sendJson, ROOT } from "../api.js";
import { el, icon, replace } from "../dom.js";
import { bar } from "./bar.js";
import { toast } from "./toast.js";
import { count, duration, number, size } from "../words.js";

export const OPEN = new Set(["waiting", "running"]);
const STATES = { waiting: "waiting", running: "running", done: "done", failed: "failed", canceled: "stopped" };
const KINDS = { waiting: "", running: "info", done: "good", failed: "bad", canceled: "" };

// "Send 2 studies to PACS".
export function title(job) {
  const what = describe(job.task?.resources ?? []);
  if (job.kind === "send") return `Send ${what} to ${job.node}`;
  return `Retrieve ${what} from ${job.node}${job.task?.destination ? ` to ${job.task.destination}` : ""}`;
}

function describe(resources) {
  const counts = { patient: 0, study: 0, series: 0, instance: 0 };
  for (const one of resources) counts[one.instance ? "instance" : one.series ? "series" : one.patient ? "patient" : "study"] += 1;
  const parts = Object.entries(counts).filter(([, many]) => many).map(([level, many]) => count(many, level));
  return parts.join(" and ");
}

export const stateBadge = (job) => el(`span.badge.${KINDS[job.state] || "plain"}`, {}, job.state === "running" && job.cancel ? "stopping" : STATES[job.state]);

// How far it is: 0 to 1, null where the total is not known yet.
export function share(job) {
  const { total = 0, done = 0, failed = 0 } = job.progress ?? {};
  if (job.state === "done") return 1;
  if (!total) return job.state === "running" ? null : 0;
  return (done + failed) / total;
}

// Its figures in one line.
export function figures(job) {
  const { total = 0, done = 0, skipped = 0, failed = 0, bytes = 0, rate = 0 } = job.progress ?? {};
  const parts = [];
  if (total) parts.push(`${number(done)} of ${count(total, "instance")}`);
  if (skipped) parts.push(`${number(skipped)} were there already`);
  if (failed) parts.push(`${number(failed)} failed`);
  if (bytes) parts.push(size(bytes));
  if (job.state === "running" && rate) {
    parts.push(`${size(rate)}/s`);
    const left = total - done - failed;
    const seconds = done > skipped ? (left * bytes) / (done - skipped) / rate : 0;
    if (left > 0 && seconds > 1) parts.push(`about ${duration(seconds)} left`);
  }
  if (job.state === "running" && !total) parts.push("looking what there is");
  if (job.state === "waiting" && job.error) parts.push(`next attempt at ${new Date(job.due * 1000).toLocaleTimeString("en-GB")}`);
  return parts.join(" · ");
}

export async function change(job, what) {
  try {
    const now = await sendJson("POST", `jobs/${job.id}/${what}`);
    window.dispatchEvent(new Event("jobs-changed"));
    return now;
  } catch (error) {
    toast(error.message, { kind: "error" });
    return null;
  }
}

export const buttons = (job, then) => [
  OPEN.has(job.state) && el("button", { type: "button", disabled: job.cancel, "aria-label": `Stop job ${job.id}`, onclick: async () => then(await change(job, "cancel")) }, icon("close", 15), "Stop"),
  job.state !== "running" && job.state !== "done" && el("button", { type: "button", "aria-label": `Try job ${job.id} again`, onclick: async () => then(await change(job, "retry")) }, icon("retry", 15), "Try again"),
];

let streams = 0;
const STREAMS = 1; // a browser has six connections to a server, for all its tabs
const AGAIN = 1000;

// Follow a job until it is over: by server-sent events, or, where others are followed already, by asking again and again.
// `tell(job)` is called with each change; resolves with the last.
export async function follow(id, tell, signal) {
  const job = streams < STREAMS ? await listen(id, tell, signal) : await poll(id, tell, signal);
  window.dispatchEvent(new Event("jobs-changed"));
  return job;
}

function listen(id, tell, signal) {
  streams += 1;
  const source = new EventSource(new URL(`jobs/${id}/events`, ROOT));
  let stop;
  return new Promise((resolve, reject) => {
    stop = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", stop);
    source.addEventListener("progress", (event) => tell(JSON.parse(event.data)));
    source.addEventListener("end", (event) => {
      const job = JSON.parse(event.data);
      tell(job);
      resolve(job);
    });
    // When the stream breaks off the browser opens it again by itself; it is over for good only when it is closed.
    source.addEventListener("error", () => source.readyState === EventSource.CLOSED && poll(id, tell, signal).then(resolve, reject));
  }).finally(() => {
    streams -= 1;
    source.close();
    signal?.removeEventListener("abort", stop);
  });
}

async function poll(id, tell, signal) {
  for (;;) {
    const job = await getJson(`jobs/${id}`, { signal });
    tell(job);
    if (!OPEN.has(job.state)) return job;
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}

// A card that follows a job: bar, figures, reasons, buttons. `over(job)` may give what to show at the end.
export function jobCard(job, { signal, over = () => null, link = true } = {}) {
  const filled = bar(title(job));
  const line = el("p.quiet");
  const why = el("p.wrong", { hidden: true });
  const tools = el("div.row");
  const badge = el("span", { "aria-live": "polite" });
  const made = el("section.card.job", { "aria-label": title(job), data: { job: job.id } },
    el("div.row", {}, el("strong", {}, title(job)), badge, el("span.grow"), tools),
    filled, line, why,
  );
  let shown = "";
  function show(now) {
    if (!now) return;
    job = now;
    filled.show(share(job), job.state === "failed" ? "bad" : job.state === "done" ? "good" : "");
    line.textContent = figures(job);
    why.textContent = job.error;
    why.hidden = !job.error;
    const phase = `${job.state} ${job.cancel}`;
    if (phase === shown) return; // what stays the same keeps its place, and the keyboard its focus
    shown = phase;
    replace(badge, stateBadge(job));
    replace(tools, buttons(job, again), !OPEN.has(job.state) && over(job), link && el("a.button.quiet", { href: `#/jobs/${job.id}` }, "Details"));
    made.dataset.state = job.state;
  }
  function again(now) {
    if (!now) return;
    const followed = OPEN.has(job.state);
    show(now);
    if (!followed && OPEN.has(now.state)) watch();
  }
  const watch = () => follow(job.id, show, signal).catch(() => {});
  show(job);
  if (OPEN.has(job.state)) watch();
  window.dispatchEvent(new Event("jobs-changed"));
  return made;
}
