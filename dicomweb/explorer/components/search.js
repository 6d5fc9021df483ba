// Search fields that answer while somebody types, and what they mean as a query (PS3.18 8.3.4).

import { more, search } from "../api.js";
import { el } from "../dom.js";
import { daysAgo } from "../words.js";

const WAIT = 60; // ms after a key: shorter than anybody reads, longer than a burst of keys

// Words anywhere in the value; whoever writes a wildcard has said it himself; quotes mean exactly this.
export function inside(text) {
  const plain = text.trim();
  const quoted = /^"(.*)"$/.exec(plain);
  if (quoted) return quoted[1];
  return !plain || /[*?]/.test(plain) ? plain : `*${plain}*`;
}

// Values other than names are compared with their case (PS3.4 C.2.2.2.1). What nothing matches as it was typed is tried
// in capitals, then with capitals at the beginning of words: devices write the one or the other.
const FORMS = [
  (text) => text,
  (text) => text.toUpperCase(),
  (text) => text.toLowerCase().replace(/(^|[^\p{L}])(\p{L})/gu, (_, before, letter) => before + letter.toUpperCase()),
];

// A word is looked for anywhere in the names, several one after the other; where that finds nothing, they are beginnings
// of the names in any order ("jo doe"), which takes longer.
export function nameKey(value, form, anyOrder = false) {
  if (!severalWords(value)) return { PatientName: inside(value) };
  const words = value.replaceAll(",", " ").trim().split(/\s+/);
  return anyOrder ? { PatientName: words.join(" "), fuzzymatching: "true" } : { PatientName: `*${words.join("*")}*` };
}

const severalWords = (value) => /[^\s,][\s,]+[^\s,]/.test(value) && !/["*?^]/.test(value);

// The pages of a search for what the fields say, as a List fetches them. `keys` tells for each name in `state` what it is
// as keys of the search, of (value, form, anyOrder); values of `cased` are compared with their case, `fixed` always hold.
// What found something on the first page is what the others are asked for with.
export function pagesOf(path, keys, state, cased, fixed = {}) {
  let form = (value) => value;
  let anyOrder = false;
  return async (offset, limit, next, signal) => {
    if (next) return more(next, { signal });
    const ask = (tried, turned = false) => {
      const wanted = { ...fixed, limit, ...(offset ? { offset } : {}) };
      for (const [name, value] of Object.entries(state)) if (value) Object.assign(wanted, keys[name](value, tried, turned));
      return search(path, wanted, { signal });
    };
    if (offset) return ask(form, anyOrder);
    const texts = cased.map((name) => state[name]);
    let answer = await inSomeCase(texts, ask);
    anyOrder = !answer.found.rows.length && severalWords(state.name);
    if (anyOrder) answer = await inSomeCase(texts, (tried) => ask(tried, true));
    form = answer.form;
    return answer.found;
  };
}

// A search that goes on to the next form while nothing matches: `ask(form)` searches with `form` applied to the values.
// Returns what was found and the form that found it.
async function inSomeCase(texts, ask) {
  const tried = new Set();
  let last = null;
  for (const form of FORMS) {
    const key = texts.map(form).join("\n");
    if (tried.has(key)) continue;
    tried.add(key);
    last = { found: await ask(form), form };
    if (last.found.rows.length) break;
  }
  return last;
}

// A text field; `told(text)` is called after each pause of typing.
export function textField({ label, value = "", placeholder = "", told }) {
  let timer;
  const field = el("input", {
    type: "search", value, placeholder, "aria-label": label, autocomplete: "off", spellcheck: "false",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => told(field.value), WAIT);
    },
    onchange: () => {
      clearTimeout(timer);
      told(field.value);
    },
  });
  return field;
}

export function choice({ label, value = "", options, told }) {
  return el("select", { "aria-label": label, onchange: (event) => told(event.target.value) },
    options.map(([name, words]) => el("option", { value: name, selected: name === value }, words)));
}

const PRESETS = [["", "Any date"], ["today", "Today"], ["yesterday", "Yesterday"], ["7", "Last 7 days"], ["30", "Last 30 days"], ["365", "Last year"], ["own", "From … to …"]];

// A range of dates as the query says it; "" for any.
export function dateRange(value) {
  if (value === "today") return daysAgo(0);
  if (value === "yesterday") return daysAgo(1);
  if (/^\d{1,3}$/.test(value)) return `${daysAgo(Number(value))}-`;
  return value;
}

// A choice of dates with presets; its value is a preset or a range YYYYMMDD-YYYYMMDD.
export function dateField({ label, value = "", told }) {
  const holder = el("div.dates");
  const iso = (text) => (/^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : "");
  const own = (text) => /^\d{8}-?|^-\d{8}/.test(text);
  function show(now) {
    const ranged = now === "own" || own(now);
    const [from = "", to = ""] = own(now) ? (now.includes("-") ? now.split("-") : [now, now]) : [];
    const pick = choice({ label, value: ranged ? "own" : now, options: PRESETS, told: (chosen) => {
      show(chosen);
      if (chosen !== "own") told(chosen);
      else holder.querySelector("input")?.focus();
    } });
    const ends = ranged ? [from, to].map((one, at) => el("input", { type: "date", value: iso(one), "aria-label": `${label} ${at ? "to" : "from"}`, onchange: () => {
      const [first, last] = [...holder.querySelectorAll("input")].map((field) => field.value.replaceAll("-", ""));
      told(first || last ? `${first}-${last}` : "");
    } })) : [];
    holder.classList.toggle("ranged", ranged);
    holder.replaceChildren(pick, ...ends);
  }
  show(value);
  holder.show = show;
  return holder;
}

export const MODALITIES = ["CR", "CT", "DX", "ECG", "ES", "IO", "MG", "MR", "NM", "OP", "OT", "PT", "PX", "RF", "RTDOSE", "RTPLAN", "RTSTRUCT", "SC", "SEG", "SM", "SR", "US", "XA", "XC"];

export const modalityOptions = [["", "All"], ...MODALITIES.map((one) => [one, one])];
