// Delete studies, series and instances, with what goes and why.

import { register } from "../actions.js";

register({
  name: "delete",
  label: "Delete…",
  icon: "trash",
  levels: ["study", "series", "instance"],
  many: true,
  right: "delete",
  danger: true,
  order: 90,
  run: remove,
});

async function remove(subjects, done) {
  const [{ call, resource }, { dialog }, { toast }, { el }, { count }] = await Promise.all([
    import("../api.js"), import("../components/dialog.js"), import("../components/toast.js"), import("../dom.js"), import("../words.js"),
  ]);
  const { level } = subjects[0];
  const what = subjects.length === 1 ? `this ${level}` : count(subjects.length, level);
  const goes = el("p", { "aria-live": "polite" }, "Counting what would go…");
  const reason = el("input", { id: "delete-reason", list: "delete-reasons", maxLength: 500, autocomplete: "off", autofocus: true });
  const reasons = ["Wrong patient", "Sent twice", "Test data", "Retention period is over", "Asked for by the patient"];
  const counting = contents(subjects).then((told) => (goes.textContent = told), () => (goes.textContent = "How much would go cannot be counted just now."));
  let gone = 0;
  const answer = await dialog({
    title: `Delete ${what}?`,
    body: [
      subjects.length <= 5 && el("ul.plain", {}, subjects.map((one) => el("li", {}, one.label || one.instance || one.series || one.study))),
      goes,
      el("label.field", {}, el("span", {}, "Reason (kept with the deletion)"), reason),
      el("datalist", { id: "delete-reasons" }, reasons.map((one) => el("option", { value: one }))),
      el("p.quiet", {}, "Nobody can bring it back from here. The same objects may be stored again."),
    ],
    buttons: [
      { label: "Cancel" },
      {
        label: "Delete", value: true, kind: "danger",
        check: async () => {
          const query = reason.value.trim() ? `?reason=${encodeURIComponent(reason.value.trim())}` : "";
          for (const one of subjects.slice(gone)) {
            try {
              await call(`${resource(one)}${query}`, { method: "DELETE" });
            } catch (error) {
              if (error.status === 400 && !query) return reason.focus(), "Nothing is deleted here without a reason. Say why.";
              if (error.status !== 404 && error.status !== 410) throw error; // somebody else was faster
            }
            gone += 1;
            if (subjects.length > 1) goes.textContent = `${gone} of ${subjects.length} deleted…`;
          }
        },
      },
    ],
  });
  await counting;
  if (answer) toast(`${count(subjects.length, level)} deleted`);
  if (gone) done({ gone: answer === true });
}

// How much goes with the subjects, in words.
async function contents(subjects) {
  const [{ search }, { first, count }] = await Promise.all([import("../api.js"), import("../words.js")]);
  const { level } = subjects[0];
  if (level === "instance") return `${count(subjects.length, "instance")} would go.`;
  let series = 0, instances = 0;
  for (const one of subjects) {
    let row = one.row;
    const has = level === "study" ? "00201208" : "00201209";
    if (first(row, has) === undefined) {
      const found = level === "study"
        ? await search("studies", { StudyInstanceUID: one.study })
        : await search(`studies/${one.study}/series`, { SeriesInstanceUID: one.series });
      row = found.rows[0];
    }
    series += level === "study" ? Number(first(row, "00201206") ?? 0) : 1;
    instances += Number(first(row, has) ?? 0);
  }
  const parts = level === "study" ? [count(subjects.length, "study"), count(series, "series")] : [count(series, "series")];
  return `${[...parts, count(instances, "instance")].join(", ")} would go.`;
}
