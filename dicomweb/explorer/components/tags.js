// The attributes of a data set as a tree: tag, name, VR, value; sequences fold; search, private ones on or off, copy.

import { getJson, resource } from "../api.js";
import { el, icon, replace } from "../dom.js";
import { count, date, name, size, time } from "../words.js";
import { toast } from "./toast.js";

const MOST = 400; // lines of a search, values of a line
let dictionary = null;

// Names of tags and UIDs, from the server, once.
function names() {
  dictionary ??= getJson("explorer/dictionary.json").catch((error) => {
    dictionary = null;
    throw error;
  });
  return dictionary;
}

export class TagTree {
  constructor(dataset) {
    this.open = new Set();
    this.field = el("input", { type: "search", placeholder: "Search name, tag or value", "aria-label": "Search the attributes", autocomplete: "off", spellcheck: "false", oninput: () => this.#draw() });
    this.privates = el("input", { type: "checkbox", checked: true, onchange: () => this.#draw() });
    this.found = el("span.faint", { role: "status" });
    this.body = el("tbody");
    this.element = el("div.tags", {},
      el("div.tags-bar", {}, this.field, el("label.check", {}, this.privates, "Private"), el("button.quiet", { type: "button", title: "Copy everything as DICOM JSON", onclick: () => copy(JSON.stringify(this.dataset, null, 1), "All attributes are in the clipboard.") }, icon("copy", 16), "Copy"), this.found),
      el("div.tags-scroll", { tabindex: 0, role: "region", "aria-label": "List of attributes" },
        el("table.tags-table", {}, el("thead", {}, el("tr", {}, ["Tag", "Name", "VR", "Value"].map((one) => el("th", { scope: "col" }, one)))), this.body)),
    );
    this.show(dataset);
  }

  focus() {
    this.field.focus();
  }

  async show(dataset) {
    if (this.dataset === dataset) return;
    this.dataset = dataset;
    try {
      this.names = await names();
    } catch (error) {
      this.names = { tags: {}, masks: [], private: {}, uids: {} };
      toast(`Names of attributes are missing: ${error.message}`, { kind: "error" });
    }
    if (this.dataset === dataset) this.#draw();
  }

  nameOf(tag, dataset) {
    const known = this.names.tags[tag];
    if (known) return known;
    if (parseInt(tag.slice(0, 4), 16) % 2) {
      const element = parseInt(tag.slice(4), 16);
      if (element >= 0x10 && element <= 0xff) return "Private Creator";
      const creator = dataset[`${tag.slice(0, 4)}00${tag.slice(4, 6)}`]?.Value?.[0];
      return this.names.private[creator]?.[tag.slice(0, 4) + tag.slice(6)] ?? (creator ? `Private (${creator})` : "Private");
    }
    const number = parseInt(tag, 16);
    const mask = this.names.masks.find(([value, bits]) => (number & bits) >>> 0 === value);
    return mask ? mask[2] : "";
  }

  #draw() {
    const words = this.field.value.trim().toLowerCase();
    const rows = [];
    if (words) {
      this.#search(this.dataset, words, [], rows);
      this.found.textContent = rows.length >= MOST ? `first ${MOST}` : count(rows.length, "match", "matches");
    } else {
      this.#walk(this.dataset, [], rows);
      this.found.textContent = "";
    }
    replace(this.body, rows);
  }

  #elements(dataset) {
    return Object.keys(dataset).sort().filter((tag) => this.privates.checked || parseInt(tag.slice(0, 4), 16) % 2 === 0);
  }

  #walk(dataset, path, rows) {
    for (const tag of this.#elements(dataset)) {
      const key = [...path, tag].join(".");
      rows.push(this.#row(dataset, tag, path, key));
      if (dataset[tag].vr === "SQ" && this.open.has(key)) this.#items(dataset[tag].Value ?? [], [...path, tag], rows);
    }
  }

  #items(items, path, rows) {
    items.forEach((item, at) => {
      const inner = [...path, String(at + 1)];
      const key = inner.join(".");
      const open = items.length <= 3 ? !this.open.has(`-${key}`) : this.open.has(key);
      const depth = Math.floor(inner.length / 2);
      rows.push(el("tr.item", {}, el("th", { scope: "row", colspan: 4, style: { "--depth": depth } }, this.#fold(open, () => this.#flip(items.length <= 3 ? `-${key}` : key), `Item ${at + 1}`), `Item ${at + 1}`)));
      if (open) this.#walk(item ?? {}, inner, rows);
    });
  }

  #flip(key) {
    if (!this.open.delete(key)) this.open.add(key);
    const from = [...this.body.querySelectorAll("button.fold")].indexOf(document.activeElement);
    this.#draw();
    this.body.querySelectorAll("button.fold")[from]?.focus();
  }

  #fold(open, action, label) {
    return el("button.fold.quiet", { type: "button", "aria-expanded": String(open), "aria-label": `${open ? "Fold" : "Unfold"} ${label}`, onclick: action }, icon(open ? "down" : "right", 12));
  }

  #search(dataset, words, path, rows) {
    for (const tag of this.#elements(dataset)) {
      if (rows.length >= MOST) return;
      const element = dataset[tag];
      const about = `${tag} (${tag.slice(0, 4)},${tag.slice(4)}) ${this.nameOf(tag, dataset)} ${element.vr === "SQ" ? "" : valueText(element)}`.toLowerCase();
      if (about.includes(words)) rows.push(this.#row(dataset, tag, path, [...path, tag].join("."), true));
      if (element.vr === "SQ") (element.Value ?? []).forEach((item, at) => this.#search(item ?? {}, words, [...path, tag, String(at + 1)], rows));
    }
  }

  #row(dataset, tag, path, key, flat = false) {
    const element = dataset[tag];
    const sequence = element.vr === "SQ";
    const called = this.nameOf(tag, dataset);
    const open = this.open.has(key);
    const items = element.Value?.length ?? 0;
    const before = flat && path.length ? el("span.path", {}, path.filter((_, at) => at % 2 === 0).map((one) => this.nameOf(one, dataset) || one).join(" › "), " › ") : null;
    return el(`tr${parseInt(tag.slice(0, 4), 16) % 2 ? ".private" : ""}`, {},
      el("td.tag", { style: { "--depth": flat ? 0 : Math.floor(path.length / 2) } }, sequence && items && !flat ? this.#fold(open, () => this.#flip(key), called) : el("span.no-fold"), `(${tag.slice(0, 4)},${tag.slice(4)})`),
      el("td.called", {}, before, called),
      el("td.vr", {}, element.vr),
      el("td.value", {}, sequence ? el("span.faint", {}, count(items, "item")) : this.#value(element), sequence ? null : el("button.copy.quiet", { type: "button", "aria-label": `Copy ${called || tag}`, title: "Copy", onclick: () => copy(valueText(element), "Copied.") }, icon("copy", 13))),
    );
  }

  #value(element) {
    if (element.BulkDataURI) {
      const bulk = el("a", { href: bulkAddress(element.BulkDataURI), target: "_blank", rel: "noopener" }, "bulk data");
      return bulk;
    }
    if (element.InlineBinary) return el("span.faint", {}, `${size(Math.floor((element.InlineBinary.length * 3) / 4))} inline`);
    const plain = valueText(element);
    const meant = element.vr === "UI" ? this.names.uids[plain] : element.vr === "DA" ? date(plain) : element.vr === "TM" ? time(plain, true) : "";
    const shown = plain.length > 2000 ? `${plain.slice(0, 2000)}…` : plain;
    return [el("span.words", {}, shown), meant && meant !== plain ? el("span.meant", {}, meant) : null];
  }
}

// The address of bulk data on this server, whatever name it calls itself.
function bulkAddress(uri) {
  const at = uri.indexOf("/studies/");
  return at >= 0 ? `${resource()}${uri.slice(at)}` : uri;
}

function valueText(element) {
  if (element.InlineBinary) return element.InlineBinary;
  if (element.BulkDataURI) return element.BulkDataURI;
  return (element.Value ?? []).slice(0, MOST).map((one) => (one === null ? "" : typeof one === "object" ? name(one) : String(one))).join(" \\ ");
}

async function copy(text, words) {
  try {
    await navigator.clipboard.writeText(text);
    toast(words);
  } catch {
    const area = el("textarea", { value: text, style: { position: "fixed", opacity: 0 } });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    toast(done ? words : "The browser does not let this page copy.", { kind: done ? "done" : "error" });
  }
}
