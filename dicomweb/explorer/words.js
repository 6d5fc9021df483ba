// DICOM values as people read them (PS3.5 6.2), and the DICOM JSON model as plain values (PS3.18 F.2).

const NUMBERS = new Intl.NumberFormat("en");

// First value of an element of a DICOM JSON data set, or undefined; a person name as its groups.
export const first = (dataset, tag) => dataset?.[tag]?.Value?.[0];

// All values of an element; [] if it has none.
export const all = (dataset, tag) => dataset?.[tag]?.Value ?? [];

// First value as text, "" without one.
export const text = (dataset, tag) => String(first(dataset, tag) ?? "");

// A person name, PS3.5 6.2.1: "Family, Given Middle", with prefix and suffix; ideographic and phonetic groups follow.
export function name(value) {
  if (!value) return "";
  const groups = typeof value === "string" ? value.split("=") : [value.Alphabetic, value.Ideographic, value.Phonetic];
  const [plain, ...others] = groups.map(one);
  const more = others.filter((group) => group && group !== plain);
  return plain ? plain + (more.length ? ` (${more.join(", ")})` : "") : more.join(", ");
}

function one(group) {
  const [family = "", given = "", middle = "", prefix = "", suffix = ""] = (group ?? "").split("^").map((part) => part.trim());
  const rest = [given, middle].filter(Boolean).join(" ");
  return [[prefix, family].filter(Boolean).join(" "), rest, suffix].filter(Boolean).join(", ");
}

export const patientName = (dataset) => name(first(dataset, "00100010"));

// A date (DA) as 2024-01-31, in part if that is all there is; what is none comes back as it is.
export function date(value) {
  const found = /^(\d{4})[.-]?(\d{2})[.-]?(\d{2})/.exec(value ?? "");
  return found ? `${found[1]}-${found[2]}-${found[3]}` : String(value ?? "");
}

// A time (TM) as 13:45, with seconds where asked.
export function time(value, seconds = false) {
  const found = /^(\d{2}):?(\d{2})?:?(\d{2})?/.exec(value ?? "");
  if (!found) return String(value ?? "");
  return [found[1], found[2] ?? "00", ...(seconds && found[3] ? [found[3]] : [])].join(":");
}

// The day so many days ago as DA: days of the calendar, of which some have 23 or 25 hours.
export function daysAgo(days) {
  const now = new Date();
  const when = new Date(now.getFullYear(), now.getMonth(), now.getDate() - days);
  return `${when.getFullYear()}${String(when.getMonth() + 1).padStart(2, "0")}${String(when.getDate()).padStart(2, "0")}`;
}

// Age at a day, from DA and DA: "45 y", "7 m", "12 d"; "" if either is missing.
export function age(birth, at) {
  if (!/^\d{8}$/.test(birth ?? "") || !/^\d{8}$/.test(at ?? "") || at < birth) return "";
  const months = (at.slice(0, 4) - birth.slice(0, 4)) * 12 + (at.slice(4, 6) - birth.slice(4, 6)) - (at.slice(6) < birth.slice(6) ? 1 : 0);
  if (months >= 24) return `${Math.floor(months / 12)} y`;
  if (months >= 2) return `${months} m`;
  const parse = (text) => Date.UTC(text.slice(0, 4), text.slice(4, 6) - 1, text.slice(6));
  return `${Math.round((parse(at) - parse(birth)) / 86400000)} d`;
}

export const sex = (value) => ({ M: "male", F: "female", O: "other" })[value] ?? "";

export const number = (value) => NUMBERS.format(value);

const PLURALS = { study: "studies", series: "series" };

// "1 study", "1,200 studies".
export const count = (value, single, plural = PLURALS[single] ?? `${single}s`) => `${number(value)} ${value === 1 ? single : plural}`;

// Bytes: 512 B, 1.4 MB (powers of ten, as disks are sold).
export function size(bytes) {
  let value = bytes;
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (value < 999.5 || unit === "TB") return `${unit === "B" || value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return "";
}

// A moment (ISO 8601 or milliseconds) as the reader's own clock says it.
export const moment = (value) => new Date(value).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

// How long: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min.
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
