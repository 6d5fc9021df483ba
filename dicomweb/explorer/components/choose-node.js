// A dialog that asks for a node.

import { getJson } from "../api.js";
import { el } from "../dom.js";
import { dialog } from "./dialog.js";

const LAST = "roentgate.node";

// Resolves with the name of a node, "" for this archive where `here` offers it, or undefined.
export async function chooseNode({ title, words, yes, here = "", except = "", kinds = ["dimse", "dicomweb"] }) {
  const { aets } = await getJson("aets");
  const nodes = aets.filter((one) => one.name !== except && kinds.includes(one.kind));
  if (!nodes.length && !here) {
    await dialog({
      title,
      body: el("p", {}, "No node is known that can be called. ", el("a", { href: "#/nodes" }, "Add one"), " first."),
    });
    return undefined;
  }
  const last = localStorage.getItem(LAST);
  const select = el("select", { id: "node-choice", autofocus: true },
    here && el("option", { value: "" }, here),
    nodes.map((one) => el("option", { value: one.name, selected: !here && one.name === last }, one.aet && one.aet !== one.name ? `${one.name} (${one.aet})` : one.name)),
  );
  const answer = await dialog({
    title,
    body: [el("p", {}, words), el("label.field", {}, el("span", {}, here ? "To" : "Node"), select)],
    buttons: [{ label: "Cancel" }, { label: yes, value: true, kind: "primary" }],
  });
  if (!answer) return undefined;
  if (select.value) localStorage.setItem(LAST, select.value);
  return select.value;
}
