// From stored values to shades of grey (PS3.3 C.7.6.3, C.11.1, C.11.2): what the attributes of an image, or of one of its
// frames, say about its pixels, and tables that turn stored words into shades.

import { all, first, text } from "../words.js";

const DOSE = "1.2.840.10008.5.1.4.1.1.481.2";

// Overlay Data, and the bits of old overlays that lie among the samples (PS3.3 C.9.2); the server draws both.
const OVERLAY = /^60[01][02468ACE](3000|0102)$/;

const numeric = (dataset, tag) => {
  const value = first(dataset, tag);
  return value === undefined || value === null || value === "" ? undefined : Number(value);
};

// The item of a functional group (PS3.3 C.7.6.16): of this frame, or shared by all.
function group(dataset, index, tag) {
  return first(all(dataset, "52009230")[index], tag) ?? first(first(dataset, "52009229"), tag);
}

// What is known of frame `index` (from 0).
// raw: the browser can make greys of it itself; otherwise the server draws it.
// windows: [{ center, width, name }]; position, orientation: numbers or undefined; spacing: [between rows, between columns] mm.
export function describe(dataset, index) {
  const within = (tag, member) => first(dataset, member) !== undefined ? dataset : group(dataset, index, tag) ?? {};
  const modality = group(dataset, index, "00289145") ?? dataset;
  const voi = group(dataset, index, "00289132") ?? dataset;
  const measures = within("00289110", "00280030");
  const geometry = within("00209116", "00200037");
  const place = within("00209113", "00200032");
  const photometric = text(dataset, "00280004");
  const allocated = numeric(dataset, "00280100") ?? 0;
  const stored = numeric(dataset, "00280101") ?? allocated;
  const names = all(voi, "00281055");
  const widths = all(voi, "00281051");
  const windows = all(voi, "00281050").map((center, at) => ({ center: Number(center), width: Number(widths[at]), name: names[at] || "" }))
    .filter((one) => Number.isFinite(one.center) && Math.abs(one.center) < 1e30 && one.width > 0 && one.width < 1e30);
  const slope = numeric(modality, "00281053") ?? 1;
  const spacing = all(measures, "00280030").length === 2 ? all(measures, "00280030").map(Number) : all(dataset, "00181164").map(Number);
  const numbers = (one, tag, size) => (all(one, tag).length === size ? all(one, tag).map(Number) : undefined);
  const grey = photometric === "MONOCHROME1" || photometric === "MONOCHROME2";
  const whole = [8, 16, 32].includes(allocated) && stored > 0 && stored <= allocated;
  const coloured = "00620002" in dataset || "00281101" in dataset || text(dataset, "00080016") === DOSE;
  const tabled = "00283000" in modality || "00283000" in dataset || (windows.length === 0 && ("00283010" in voi || "00283010" in dataset));
  const overlaid = Object.keys(dataset).some((tag) => OVERLAY.test(tag) && (tag.endsWith("3000") || numeric(dataset, tag) > 0));
  return {
    rows: numeric(dataset, "00280010") ?? 0,
    columns: numeric(dataset, "00280011") ?? 0,
    modality: text(dataset, "00080060"),
    grey, allocated, stored,
    high: numeric(dataset, "00280102") ?? stored - 1,
    signed: numeric(dataset, "00280103") === 1,
    raw: grey && whole && !tabled && !coloured && !overlaid && "7FE00010" in dataset && (numeric(dataset, "00280002") ?? 1) === 1,
    inverse: (photometric === "MONOCHROME1") !== (text(dataset, "20500020") === "INVERSE" && photometric !== "MONOCHROME1"),
    slope: slope === 0 ? 1 : slope,
    intercept: numeric(modality, "00281052") ?? 0,
    unit: unitOf(dataset, modality),
    windows,
    shape: text(voi, "00281056") || "LINEAR",
    padding: padding(dataset),
    spacing: spacing.length === 2 && spacing.every((one) => one > 0) ? spacing : undefined,
    aspect: aspect(dataset, spacing),
    position: numbers(place, "00200032", 3),
    orientation: numbers(geometry, "00200037", 6),
    thickness: numeric(within("00289110", "00180050"), "00180050"),
    location: numeric(dataset, "00201041"),
  };
}

// PS3.3 C.7.5.1.1.2: the padding value, or the range between it and its limit; the VR may be that of the other sign.
function padding(dataset) {
  const value = numeric(dataset, "00280120");
  if (value === undefined) return null;
  const bits = numeric(dataset, "00280100") ?? 16;
  const signed = numeric(dataset, "00280103") === 1;
  const meant = (end) => {
    if (bits > 16) return end;
    if (signed && end >= 2 ** (bits - 1) && end < 2 ** bits) return end - 2 ** bits;
    return !signed && end < 0 ? end + 2 ** bits : end;
  };
  const ends = [meant(value), meant(numeric(dataset, "00280121") ?? value)];
  return [Math.min(...ends), Math.max(...ends)];
}

// Height of a pixel as a multiple of its width.
function aspect(dataset, spacing) {
  const ratio = all(dataset, "00280034").map(Number);
  if (spacing.length === 2 && spacing[0] > 0 && spacing[1] > 0) return spacing[0] / spacing[1];
  return ratio.length === 2 && ratio[0] > 0 && ratio[1] > 0 ? ratio[0] / ratio[1] : 1;
}

function unitOf(dataset, modality) {
  const type = text(modality, "00281054");
  if (type === "HU" || (!type && text(dataset, "00080060") === "CT")) return "HU";
  return text(dataset, "00541001") || (type === "US" ? "" : type);
}

// Pixel Data of one frame as whole numbers, one for each pixel: words as they are stored.
export function words(buffer, look) {
  const pixels = look.rows * look.columns;
  const Kind = { 8: Uint8Array, 16: Uint16Array, 32: Uint32Array }[look.allocated];
  const held = Math.min(pixels, Math.floor(buffer.byteLength / Kind.BYTES_PER_ELEMENT));
  if (held === pixels) return new Kind(buffer, 0, pixels);
  const whole = new Kind(pixels);
  whole.set(new Kind(buffer, 0, held));
  return whole;
}

// A stored word as its value: bits above and below the stored ones cut off, the sign extended (PS3.5 8.1.1).
function valueOf(word, look) {
  const shift = look.high + 1 - look.stored;
  if (look.stored === 32) return look.signed ? word | 0 : word >>> 0;
  const value = (word >>> Math.max(0, shift)) & (2 ** look.stored - 1);
  return look.signed && value >= 2 ** (look.stored - 1) ? value - 2 ** look.stored : value;
}

export const realValue = (word, look) => realOf(valueOf(word, look), look);

const padded = (value, look) => look.padding !== null && value >= look.padding[0] && value <= look.padding[1];

const realOf = (value, look) => value * look.slope + look.intercept;

// The window that shows everything there is, padding left out.
export function fullWindow(values, look) {
  let low = Infinity;
  let high = -Infinity;
  for (let at = 0; at < values.length; at++) {
    const value = valueOf(values[at], look);
    if (padded(value, look)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return { center: 0.5, width: 1, shape: "LINEAR_EXACT" };
  const ends = [realOf(low, look), realOf(high, look)].sort((a, b) => a - b);
  return { center: (ends[0] + ends[1]) / 2, width: Math.max(ends[1] - ends[0], 1e-9), shape: "LINEAR_EXACT" };
}

const COUNTED = ["PT", "NM"];
const SAMPLE = 32768;

// The window where the object has none, the same that the server draws with: all of 8 bits that nothing transforms; else
// from the 0.5th to the 99.5th percentile; of counts of photons from 0 to the 99.9th.
export function ownWindow(values, look) {
  const counted = COUNTED.includes(look.modality);
  if (!look.signed && look.stored <= 8 && look.slope === 1 && look.intercept === 0 && !counted) {
    return look.stored > 1 ? { center: 2 ** (look.stored - 1), width: 2 ** look.stored, shape: "LINEAR" } : { center: 0.5, width: 1, shape: "LINEAR_EXACT" };
  }
  let step = Math.max(1, Math.ceil(values.length / SAMPLE));
  while (step > 1 && divisor(step, look.columns) > 1) step++;
  const sample = [];
  for (let at = 0; at < values.length; at += step) {
    const value = valueOf(values[at], look);
    if (!padded(value, look)) sample.push(realOf(value, look));
  }
  if (!sample.length) return { center: 0.5, width: 1, shape: "LINEAR_EXACT" };
  const sorted = Float64Array.from(sample).sort();
  const share = (part) => sorted[Math.round((sorted.length - 1) * part)];
  let [low, high] = counted ? [Math.min(0, sorted[0]), share(0.999)] : [share(0.005), share(0.995)];
  if (low >= high) [low, high] = [sorted[0], sorted[sorted.length - 1]];
  if (low >= high) return { center: low + 0.5, width: 1, shape: "LINEAR_EXACT" };
  return { center: (low + high) / 2, width: high - low, shape: "LINEAR_EXACT" };
}

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

// A shade from 0 to 255 of a value after the modality transformation (PS3.3 C.11.2.1.2 and C.11.2.1.3).
export function shade(value, { center, width }, shape) {
  if (shape === "SIGMOID") return 255 / (1 + Math.exp((-4 * (value - center)) / width));
  if (shape === "LINEAR_EXACT" || width < 1) {
    if (value <= center - width / 2) return 0;
    if (value > center + width / 2) return 255;
    return ((value - center) / width + 0.5) * 255;
  }
  if (value <= center - 0.5 - (width - 1) / 2) return 0;
  if (value > center - 0.5 + (width - 1) / 2) return 255;
  return ((value - (center - 0.5)) / (width - 1) + 0.5) * 255;
}

function shader(look, window, invert) {
  const turned = look.inverse !== invert;
  return (word) => {
    const value = valueOf(word, look);
    if (padded(value, look)) return 0xff000000;
    const grey = Math.floor(shade(realOf(value, look), window, window.shape ?? look.shape) + 0.5);
    const shown = turned ? 255 - grey : grey;
    return (0xff000000 | (shown << 16) | (shown << 8) | shown) >>> 0;
  };
}

let kept = { key: "", table: null };

// Words as RGBA pixels in `out` (a Uint32Array over an ImageData). Tables of the last look and window are kept.
export function paint(values, look, window, invert, out) {
  const one = shader(look, window, invert);
  if (look.allocated === 32) {
    for (let at = 0; at < values.length; at++) out[at] = one(values[at]);
    return;
  }
  const key = [look.allocated, look.stored, look.high, look.signed, look.slope, look.intercept, look.inverse, window.shape ?? look.shape, look.padding, window.center, window.width, invert].join();
  if (kept.key !== key) {
    const table = new Uint32Array(2 ** look.allocated);
    for (let word = 0; word < table.length; word++) table[word] = one(word);
    kept = { key, table };
  }
  const { table } = kept;
  for (let at = 0; at < values.length; at++) out[at] = table[values[at]];
}
