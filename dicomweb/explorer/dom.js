// Elements made from text. Whatever comes out of DICOM objects goes through here, as text nodes and attributes of
// known names: never as markup. Nothing in the explorer parses HTML.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "indeterminate", "open", "muted", "autofocus", "readOnly", "multiple"]);

// Make an element: el("a.link", { href: "#/studies", onclick: … }, "text", otherElement, [more], null).
// Attributes that are null, undefined or false are left out; true writes an empty one; `on…` listens;
// `data` is an object of data-… attributes, `style` one of CSS properties.
export function el(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag || "div");
  if (classes.length) made.className = classes.join(" ");
  return fill(set(made, attributes), children);
}

export function set(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") for (const [name, one] of Object.entries(value)) element.dataset[name] = one;
    else if (key === "style") for (const [name, one] of Object.entries(value)) element.style.setProperty(name, one);
    else if (PROPERTIES.has(key)) element[key] = value;
    else if (value === true) element.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, safe(key, value));
  }
  return element;
}

// An address that would run as a script is none.
function safe(key, value) {
  if (key !== "href" && key !== "src") return value;
  return /^\s*(javascript|vbscript|data:text)/i.test(String(value)) ? "#" : value;
}

export function fill(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

// Put these in the place of all that the element holds.
export function replace(element, ...children) {
  element.replaceChildren();
  return fill(element, children);
}

// An icon of ours by name, from icons.js; it says nothing to screen readers.
export { icon } from "./icons.js";
