// What stands in the corners and at the edges of an image: whose it is, where it lies, how it is shown.

import { age, date, first, patientName, text, time } from "../words.js";
import { letters } from "./stack.js";

const short = (value) => (Number.isInteger(value) ? String(value) : Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(Math.abs(value) < 1 ? 3 : 1));

// Lines of the four corners: top left, top right, bottom left, bottom right.
export function corners({ dataset, look, frame, frames }, { index, count, window, zoom, probe }) {
  const born = text(dataset, "00100030");
  const who = [
    patientName(dataset),
    text(dataset, "00100020"),
    [born && `born ${date(born)}`, age(born, text(dataset, "00080020")), text(dataset, "00100040")].filter(Boolean).join("  "),
    text(dataset, "00081030"),
    [date(text(dataset, "00080020")), time(text(dataset, "00080030"))].filter(Boolean).join("  "),
  ];
  const what = [
    text(dataset, "00080080"),
    [text(dataset, "00080070"), text(dataset, "00081090")].filter(Boolean).join(" "),
    [text(dataset, "00080060"), text(dataset, "00200011") && `series ${text(dataset, "00200011")}`].filter(Boolean).join("  "),
    text(dataset, "0008103E"),
    dose(dataset),
  ];
  const where = [
    `Image ${index + 1} / ${count}${text(dataset, "00200013") ? `   No. ${text(dataset, "00200013")}` : ""}${frames > 1 && frames !== count ? `   frame ${frame}` : ""}`,
    [place(look), look.thickness && `slice ${short(look.thickness)} mm`].filter(Boolean).join("   "),
    `${look.columns} × ${look.rows}${look.spacing ? `   ${look.spacing.map(short).join(" × ")} mm` : ""}`,
    text(dataset, "00282110") === "01" ? "lossy compressed" : "",
  ];
  const how = [
    probe ? `${probe.column}, ${probe.row}:  ${short(probe.value)} ${look.unit}` : "",
    `Zoom ${Math.round(zoom * 100)} %`,
    window ? `C ${short(window.center)}   W ${short(window.width)}` : "",
  ];
  return [who, what, where, how].map((lines) => lines.filter(Boolean));
}

const place = (look) => (look.location !== undefined ? `${short(look.location)} mm` : look.position ? `${look.position.map((one) => one.toFixed(1)).join(" \\ ")} mm` : "");

function dose(dataset) {
  const numbered = (tag, before, unit) => (first(dataset, tag) !== undefined && first(dataset, tag) !== null ? `${before}${short(Number(first(dataset, tag)))}${unit}` : "");
  return [numbered("00180060", "", " kV"), numbered("00181151", "", " mA"), numbered("00180080", "TR ", ""), numbered("00180081", "TE ", "")].filter(Boolean).join("  ");
}

// Letters of the left and the upper edge as the image is turned.
export function edges(orientation, { turns, flipH, flipV }) {
  if (!orientation) return ["", ""];
  const minus = (vector) => vector.map((one) => -one);
  let right = orientation.slice(0, 3);
  let down = orientation.slice(3);
  for (let turn = 0; turn < turns; turn++) [right, down] = [minus(down), right];
  if (flipH) right = minus(right);
  if (flipV) down = minus(down);
  return [letters(minus(right)), letters(minus(down))];
}
