// Nodes: the systems that are asked and sent to. Echo, add, edit, remove; a click on the name searches there.

import { getJson, sendJson } from "../api.js";
import { confirm, dialog } from "../components/dialog.js";
import { nothing } from "../components/notice.js";
import { toast } from "../components/toast.js";
import { el, icon, replace } from "../dom.js";

const RIGHTS = { echo: "Echo", store: "Store here", find: "Search here", get: "Get (C-GET)", move: "Move (C-MOVE)" };
const LAYERS = { name: "Name", tcp: "TCP", tls: "TLS", association: "Association", status: "Status" };

// Every setting of a node: [name, kind, label, help]; kind is text, number, flag, list or secret.
const BOTH = [
  ["aet", "text", "AE title", "1 to 16 characters; case counts. Left empty, the name stands for it."],
];
const DIMSE = [
  ["host", "text", "Host", "Name or address at which it is called. Left empty for one that only calls."],
  ["port", "number", "Port", "Often 104 or 11112."],
  ["tls", "flag", "Call it over TLS", ""],
];
const DIMSE_MORE = [
  ["sources", "list", "Also calls from", "Networks such as 192.0.2.0/24, beside the addresses of its host; one a line."],
  ["destinations", "list", "May move to", "Names of the nodes to which it may have objects moved, where it may move; one a line. Empty: all."],
  ["associations", "number", "Associations", "Most at once that one job has with it, 1 to 16."],
  ["accept_syntaxes", "list", "Transfer syntaxes", "UIDs in which objects come from it and go to it, the most wanted first; one a line. Empty: all."],
  ["charset", "text", "Character set", "Of its answers when they do not say, such as ISO_IR 100."],
];
const WEB = [
  ["url", "text", "Address", "Root of its DICOMweb services; it often ends in /dicom-web."],
  ["user", "text", "User", "For HTTP Basic."],
  ["password", "secret", "Password", ""],
];
const WEB_MORE = [
  ["token_url", "text", "Token address", "For OAuth client credentials, with the two below."],
  ["client_id", "text", "Client", ""],
  ["client_secret", "secret", "Client secret", ""],
  ["scope", "text", "Scope", ""],
  ["proxy", "text", "Proxy", "URL of the HTTP proxy on the way."],
];
const CERTIFICATES = [
  ["ca", "text", "Authorities", "PEM file on the server that checks its certificate. Empty: those of the system."],
  ["client_cert", "text", "Our certificate", "PEM file on the server that we show it, with its key."],
  ["client_key", "text", "Key of it", "PEM file on the server."],
];

export async function open(view, { signal }) {
  const list = el("div.cards");
  const add = el("button.primary", { type: "button", onclick: () => edit(null, look) }, icon("plus", 16), "Add a node");
  const trouble = el("p.wrong", { role: "alert", hidden: true });
  replace(view,
    el("div.row", {}, el("h1", {}, "Nodes"), el("span.grow"),
      el("button", { type: "button", onclick: echoAll }, icon("echo", 16), "Echo all"),
      add),
    trouble, list,
  );
  let cards = [];
  // The settings, or, for those who may not read them, which nodes there are.
  async function read() {
    try {
      return { ...(await getJson("nodes", { signal })), mayEdit: true };
    } catch (error) {
      if (error.status !== 403) throw error;
      return { nodes: (await getJson("aets", { signal })).aets.map((one) => ({ ...one, callable: true })), mayEdit: false };
    }
  }
  async function look() {
    const { nodes, problem, mayEdit } = await read();
    add.hidden = !mayEdit;
    trouble.textContent = problem ?? "";
    trouble.hidden = !problem;
    cards = nodes.map((node) => card(node, mayEdit, look, signal));
    replace(list, cards.map((one) => one.element), !nodes.length && nothing("No nodes yet", "Nodes are the other systems: a PACS to search and retrieve from, a workstation to send to.", "Add the first one above, or in nodes.toml."));
  }
  async function echoAll() {
    await Promise.all(cards.map((one) => one.echo?.()));
  }
  await look();
  return { title: "Nodes" };
}

function card(node, mayEdit, look, signal) {
  const callable = Boolean(node.callable || node.host || node.url);
  const result = el("div.layers", { "aria-live": "polite" });
  const press = el("button", { type: "button", "aria-label": `Echo ${node.name}`, onclick: () => echo() }, icon("echo", 16), "Echo");
  async function echo() {
    press.disabled = true;
    replace(result, el("span.quiet", {}, "Calling…"));
    try {
      replace(result, layers(await sendJson("POST", `aets/${encodeURIComponent(node.name)}/echo`, undefined, { signal })));
    } catch (error) {
      if (!signal.aborted) replace(result, el("span.wrong", {}, error.message));
    }
    press.disabled = false;
  }
  async function remove() {
    if (!(await confirm(`Remove ${node.name}?`, "Jobs for it that have not begun will fail. Nothing that is stored changes.", { yes: "Remove", danger: true }))) return;
    try {
      await sendJson("DELETE", `nodes/${encodeURIComponent(node.name)}`);
      toast(`${node.name} removed`);
      await look();
    } catch (error) {
      toast(error.message, { kind: "error" });
    }
  }
  const where = node.callable ? node.aet : node.kind === "dicomweb" ? node.url : node.host ? `${node.aet} at ${node.host}:${node.port}${node.tls ? ", TLS" : ""}` : `${node.aet}, only calls`;
  const allowed = (node.allow ?? []).map((right) => RIGHTS[right]).join(", ");
  return {
    echo: callable ? echo : null,
    element: el("section.card.node", { "aria-label": `Node ${node.name}`, data: { node: node.name } },
      el("div.row", {},
        el("h2", {}, callable ? el("a", { href: `#/nodes/${encodeURIComponent(node.name)}` }, node.name) : node.name),
        el("span.badge.plain", {}, node.kind === "dicomweb" ? "DICOMweb" : "DIMSE"), el("span.grow"),
        mayEdit && el("button.quiet.iconic", { type: "button", "aria-label": `Edit ${node.name}`, title: "Edit", onclick: () => edit(node, look) }, icon("edit", 16)),
        mayEdit && el("button.quiet.iconic", { type: "button", "aria-label": `Remove ${node.name}`, title: "Remove", onclick: remove }, icon("trash", 16))),
      el("p.where", {}, where),
      mayEdit && node.kind !== "dicomweb" && el("p.quiet", {}, allowed ? `May: ${allowed}` : "May ask for nothing here"),
      callable && el("div.row", {}, press, el("a.button", { href: `#/nodes/${encodeURIComponent(node.name)}` }, icon("search", 16), "Search")),
      result,
    ),
  };
}

// What an echo reached, layer by layer.
function layers(told) {
  return [
    el("ol", {}, told.layers.map((layer) => el(`li.${layer.ok ? "good" : "bad"}`, { title: layer.detail }, icon(layer.ok ? "check" : "close", 13), LAYERS[layer.name] ?? layer.name, el("span.hidden-words", {}, layer.ok ? " reached" : " not reached")))),
    told.ok ? el("p.quiet", {}, "It answers.") : el("p.wrong", {}, told.detail),
  ];
}

async function edit(node, look) {
  const name = el("input", { id: "node-name", required: true, value: node?.name ?? "", disabled: Boolean(node), autocomplete: "off", spellcheck: "false" });
  const kind = el("select", { id: "node-kind", onchange: show }, el("option", { value: "dimse" }, "DIMSE"), el("option", { value: "dicomweb" }, "DICOMweb"));
  kind.value = node?.kind ?? "dimse";
  const inputs = new Map();
  const group = (settings) => settings.map((setting) => field(setting, node, inputs));
  const rights = el("fieldset", {}, el("legend", {}, "What it may ask of us"), Object.entries(RIGHTS).map(([right, words]) => el("label.check", {}, el("input", { type: "checkbox", value: right, checked: (node?.allow ?? ["echo", "store"]).includes(right) }), words)));
  const parts = {
    dimse: el("div.fields", {}, group(BOTH), group(DIMSE), rights),
    dicomweb: el("div.fields", {}, group(WEB)),
  };
  const more = {
    dimse: el("div.fields", {}, group(DIMSE_MORE)),
    dicomweb: el("div.fields", {}, group(WEB_MORE)),
  };
  const certificates = el("div.fields", {}, group(CERTIFICATES));
  function show() {
    for (const each of [parts, more]) for (const [of, element] of Object.entries(each)) element.hidden = of !== kind.value;
  }
  show();
  const used = (settings) => settings.some(([one]) => (Array.isArray(node?.[one]) ? node[one].length : node?.[one]));
  const saved = await dialog({
    title: node ? `Edit ${node.name}` : "Add a node",
    body: [
      el("div.fields", {},
        labelled("Name", name, "As people here call it; it cannot be changed later."),
        labelled("Speaks", kind, "")),
      parts.dimse, parts.dicomweb,
      el("details", { open: used([...DIMSE_MORE, ...WEB_MORE, ...CERTIFICATES]) }, el("summary", {}, "More settings"), more.dimse, more.dicomweb, certificates),
    ],
    buttons: [{ label: "Cancel" }, {
      label: "Save", value: true, kind: "primary",
      check: async () => {
        if (!name.value.trim()) return "It needs a name.";
        const value = { kind: kind.value };
        for (const [key, { input, type }] of inputs) {
          if (!input.closest("[hidden]")) put(value, key, input, type);
        }
        if (kind.value === "dimse") value.allow = [...rights.querySelectorAll("input:checked")].map((one) => one.value);
        else if (node?.aet) value.aet = node.aet;
        await sendJson("PUT", `nodes/${encodeURIComponent(name.value.trim())}`, value);
      },
    }],
  });
  if (!saved) return;
  toast(node ? `${node.name} saved` : `${name.value.trim()} added`);
  await look();
}

function field([name, type, label, help], node, inputs) {
  const value = node?.[name];
  if (type === "flag") {
    const input = el("input", { type: "checkbox", checked: Boolean(value), name });
    inputs.set(name, { input, type });
    return el("label.check", {}, input, label);
  }
  const input = type === "list"
    ? el("textarea", { name, rows: 2, value: (value ?? []).join("\n"), spellcheck: "false" })
    : el("input", { name, type: type === "secret" ? "password" : "text", inputmode: type === "number" ? "numeric" : null, value: value ? String(value) : "", autocomplete: "off", spellcheck: "false" });
  inputs.set(name, { input, type });
  input.id = `node-${name}`;
  return labelled(label, input, help);
}

// A field, its name, and help that is read after both.
function labelled(label, input, help) {
  if (help) input.setAttribute("aria-describedby", `${input.id}-help`);
  return el("div.field", {}, el("label", { for: input.id }, label), input, help && el("small", { id: `${input.id}-help` }, help));
}

// Put a setting into what is sent; one that is empty is left to its default.
function put(value, name, input, type) {
  if (type === "flag") {
    if (input.checked) value[name] = true;
  } else if (type === "list") {
    const lines = input.value.split(/[\n,]/).map((one) => one.trim()).filter(Boolean);
    if (lines.length) value[name] = lines;
  } else if (input.value.trim()) {
    const text = type === "secret" ? input.value : input.value.trim();
    value[name] = type === "number" && /^\d+$/.test(text) ? Number(text) : text;
  }
}
