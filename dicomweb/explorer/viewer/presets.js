// Windows that radiologists know by name, for values in Hounsfield units; of other modalities the object's own.

const CT = [["Soft tissue", 40, 400], ["Lung", -600, 1500], ["Bone", 480, 2500], ["Brain", 40, 80], ["Mediastinum", 50, 350], ["Liver", 60, 160], ["Angiography", 300, 600]];

// [{ name, window: { center, width } | "full" | null for the usual one }] of a picture, in the order of the keys 1 to 9.
export function presets(picture) {
  const { look } = picture;
  const own = look.windows.map((one, at) => ({ name: one.name || (look.windows.length > 1 ? `As stored ${at + 1}` : "As stored"), window: { center: one.center, width: one.width } }));
  const known = look.unit === "HU" ? CT.map(([name, center, width]) => ({ name, window: { center, width } })) : [];
  if (!own.length) own.push({ name: "Automatic", window: null });
  return [...own, { name: "Full range", window: "full" }, ...known].slice(0, 9);
}
