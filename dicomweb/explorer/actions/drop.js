// Files that are dropped anywhere on the page are uploaded.

import { go } from "../app.js";
import { el, icon } from "../dom.js";
import { may } from "../session.js";
import { upload } from "../upload/engine.js"; // the browser forgets what was dropped when the handler returns
import { dropped } from "../upload/sources.js";

const veil = el("div.veil", { hidden: true, "aria-hidden": "true" }, el("div", {}, icon("upload", 40), el("p", {}, "Drop files, folders or ZIP archives to store them")));
document.body.append(veil);
let depth = 0;
const hasFiles = (event) => may("write") && [...(event.dataTransfer?.types ?? [])].includes("Files");
const show = (shown) => {
  veil.hidden = !shown;
  if (!shown) depth = 0;
};
window.addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  depth += 1;
  show(true);
});
window.addEventListener("dragleave", (event) => {
  if (!hasFiles(event)) return;
  depth -= 1;
  if (depth <= 0) show(false);
});
window.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
});
window.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  show(false);
  take(event.dataTransfer);
});

function take(transfer) {
  upload.add(dropped(transfer));
  go("upload");
}
