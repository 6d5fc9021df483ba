// The pictures of a series in the order in which people look at them, made from its metadata.

import { all, first, text } from "../words.js";
import { describe } from "./grey.js";

// Transfer syntaxes that are videos (PS3.5 A.4.8 to A.4.12): played as a whole, never taken apart into frames.
const VIDEO = /^1\.2\.840\.10008\.1\.2\.4\.10\d(\.1)?$/;

// A picture: { study, series, instance, frame, frames, kind, dataset, look }.
// kind: "grey" (values are fetched and windowed here), "drawn" (the server draws each frame), "video", or "page" (what
// /rendered shows of reports, documents, waveforms, presentation states and whatever else there is).
export function pictures(datasets, study, series) {
  const made = datasets.flatMap((dataset) => ofInstance(dataset, study, series));
  return sorted(made);
}

export function kindOf(dataset) {
  if (all(dataset, "00083002").some((syntax) => VIDEO.test(syntax))) return "video";
  const pixels = ["7FE00010", "7FE00008", "7FE00009"].some((tag) => tag in dataset);
  return pixels && first(dataset, "00280010") && first(dataset, "00280011") ? "image" : "page";
}

function ofInstance(dataset, study, series) {
  const kind = kindOf(dataset);
  const instance = text(dataset, "00080018");
  const common = { study, series, instance, dataset };
  if (kind !== "image") return [{ ...common, kind, frame: 1, frames: 1, look: describe(dataset, 0) }];
  const frames = Math.max(1, Number(first(dataset, "00280008") ?? 1));
  return Array.from({ length: frames }, (_, at) => {
    const look = describe(dataset, at);
    return { ...common, kind: look.raw ? "grey" : "drawn", frame: at + 1, frames, look };
  });
}

const numberOf = (picture) => Number(first(picture.dataset, "00200013") ?? 0);
const stored = (a, b) => numberOf(a) - numberOf(b) || (a.instance < b.instance ? -1 : a.instance > b.instance ? 1 : 0) || a.frame - b.frame;

// By place along the normal of the slices where all lie parallel and none twice in the same place (PS3.3 C.7.6.2.1.1);
// otherwise by number and frame. The direction is that of the numbers.
function sorted(list) {
  const plain = [...list].sort(stored);
  const along = plain.map(depth);
  const normal = plain[0] && normalOf(plain[0]);
  if (plain.length < 2 || along.some((one) => one === undefined)) return plain;
  if (plain.some((one) => !parallel(normal, normalOf(one)))) return plain;
  if (new Set(along.map((one) => one.toFixed(2))).size < along.length) return plain;
  const order = plain.map((_, at) => at).sort((a, b) => along[a] - along[b]);
  const rises = order.reduce((sum, at, place) => sum + (place ? Math.sign(at - order[place - 1]) : 0), 0);
  return (rises < 0 ? order.reverse() : order).map((at) => plain[at]);
}

function normalOf({ look: { orientation } }) {
  if (!orientation) return undefined;
  const [a, b, c, d, e, f] = orientation;
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}

function depth(picture) {
  const normal = normalOf(picture);
  const { position } = picture.look;
  return normal && position ? normal.reduce((sum, one, axis) => sum + one * position[axis], 0) : undefined;
}

const parallel = (a, b) => b !== undefined && a.reduce((sum, one, axis) => sum + one * b[axis], 0) > 0.99;

// Letters for where a direction in the patient points (PS3.3 C.7.6.1.1.1): the largest parts of it, at most two.
export function letters(vector) {
  const named = vector.map((part, axis) => ({ size: Math.abs(part), letter: ["RL", "AP", "FH"][axis][part > 0 ? 1 : 0] }));
  return named.filter((one) => one.size > 0.3).sort((a, b) => b.size - a.size).slice(0, 2).map((one) => one.letter).join("");
}
