// A small picture of a study, series or instance, asked for only once it has been on screen for a moment.

import { el } from "../dom.js";
import { thumbnail } from "../subjects.js";

const WAIT = 350; // ms: what scrolls past, or stands there between two keys of a search, is not asked for

const waiting = new WeakMap();
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    clearTimeout(waiting.get(target));
    if (!isIntersecting) continue;
    waiting.set(target, setTimeout(() => {
      seen.unobserve(target);
      if (target.isConnected) target.src = target.dataset.src;
    }, WAIT));
  }
}, { rootMargin: "60px" });

// `modality` stands there when there is no picture.
export function thumb(of, pixels, modality = "") {
  const image = el("img", { alt: "", width: pixels, height: pixels, data: { src: thumbnail(of, pixels <= 40 ? 64 : 256) } });
  const holder = el("span.thumb", { style: { "--size": `${pixels}px` } }, el("span.thumb-word", { "aria-hidden": "true" }, modality), image);
  image.addEventListener("load", () => holder.classList.add("loaded"));
  image.addEventListener("error", () => image.remove());
  seen.observe(image);
  return holder;
}
