// Downloads: a ZIP of DICOM files, one DICOM file (Part 10), its attributes as JSON, its picture as PNG.

import { resource } from "../api.js";
import { register } from "../actions.js";

// A file name of words: what file systems do not like becomes a hyphen.
export const fileName = (words, ending) => `${words.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+|-+$/g, "").slice(0, 80) || "download"}.${ending}`;

const asked = (subject, type) => `${resource(subject)}?accept=${encodeURIComponent(type)}`;

register({
  name: "zip", label: "Download as ZIP", icon: "download", levels: ["study", "series", "instance"], right: "read", order: 10,
  href: ([one]) => asked(one, "application/zip"), download: ([one]) => fileName(one.label, "zip"),
});
register({
  name: "part10", label: "Download the DICOM file", icon: "file", levels: ["instance"], right: "read", order: 11,
  href: ([one]) => asked(one, "application/dicom;transfer-syntax=*"), download: ([one]) => `${one.instance}.dcm`,
});
register({
  name: "json", label: "Download the attributes (JSON)", icon: "tags", levels: ["study", "series", "instance"], order: 12,
  href: ([one]) => `${resource(one)}/metadata?accept=application/json`, download: ([one]) => fileName(one.label, "json"),
});
register({
  name: "png", label: "Download the picture (PNG)", icon: "layers", levels: ["instance"], order: 13,
  shown: ([one]) => one.pictured !== false,
  href: ([one]) => `${resource(one)}/rendered?accept=image/png`, download: ([one]) => `${one.instance}.png`,
});
