// Send patients, studies, series and instances to a node.

import { register } from "../actions.js";

register({
  name: "send",
  label: "Send to a node…",
  icon: "send",
  levels: ["patient", "study", "series", "instance"],
  many: true,
  right: "write",
  order: 20,
  run: send,
});

// What a subject is for the server's jobs.
export function resourceOf(subject) {
  if (subject.level === "patient") return { patient: subject.patient.id, ...(subject.patient.issuer ? { issuer: subject.patient.issuer } : {}) };
  return Object.fromEntries(["study", "series", "instance"].filter((level) => subject[level]).map((level) => [level, subject[level]]));
}

async function send(subjects) {
  const [{ sendJson }, { chooseNode }, { dialog }, { jobCard }, { count }] = await Promise.all([
    import("../api.js"), import("../components/choose-node.js"), import("../components/dialog.js"), import("../components/jobs.js"), import("../words.js"),
  ]);
  const { level } = subjects[0];
  const what = subjects.length === 1 ? subjects[0].label || `this ${level}` : count(subjects.length, level);
  const node = await chooseNode({ title: "Send", words: `Send ${what} to a node:`, yes: "Send" });
  if (node === undefined) return;
  const job = await sendJson("POST", `aets/${encodeURIComponent(node)}/send`, { resources: subjects.map(resourceOf) });
  const controller = new AbortController();
  await dialog({
    title: "Sending",
    wide: true,
    body: (close) => {
      const card = jobCard(job, { signal: controller.signal });
      card.addEventListener("click", (event) => event.target.closest("a") && close());
      return [card, "It goes on when this is closed; the list of jobs shows how far it is."];
    },
    buttons: [{ label: "Close", kind: "primary" }],
  });
  controller.abort();
}
