// Pixels of pictures: fetched, kept within a bound, and fetched ahead of the one who scrolls.

import { ApiError, call, resource } from "../api.js";
import { words } from "./grey.js";

const BYTES = 384 * 2 ** 20;
const AT_ONCE = 4;
const PLAIN = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";

export const keyOf = (picture) => `${picture.instance}/${picture.frame}`;

// Address of a drawn picture; window { center, width } or null for the object's own.
export function drawn(picture, { window = null, viewport = 0, shape = "LINEAR" } = {}) {
  const query = new URLSearchParams();
  if (viewport) query.set("viewport", `${viewport},${viewport}`);
  if (window) query.set("window", `${window.center},${window.width},${shape.toLowerCase().replace("_", "-")}`);
  const text = query.toString();
  return `${resource(picture)}/rendered${text ? `?${text}` : ""}`;
}

export class Pixels {
  #kept = new Map(); // key: { values | bitmap, bytes }, the one used last at the end
  #coming = new Map(); // key: promise
  #bytes = 0;
  #queue = [];
  #running = 0;

  constructor(signal) {
    this.signal = signal;
    signal.addEventListener("abort", () => {
      this.#queue = [];
      this.#kept.clear();
    });
  }

  // What is there already, or undefined.
  get(picture) {
    const key = keyOf(picture);
    const found = this.#kept.get(key);
    if (found) {
      this.#kept.delete(key);
      this.#kept.set(key, found);
    }
    return found;
  }

  has(picture) {
    return this.#kept.has(keyOf(picture));
  }

  // Fetch a picture now, whatever else is waiting.
  load(picture) {
    const key = keyOf(picture);
    const there = this.get(picture);
    if (there) return Promise.resolve(there);
    let coming = this.#coming.get(key);
    if (!coming) {
      coming = this.#fetch(picture).finally(() => this.#coming.delete(key));
      this.#coming.set(key, coming);
    }
    return coming;
  }

  // Fetch these in this order as long as nothing else is asked for; replaces what was to be fetched ahead before.
  ahead(pictures) {
    this.#queue = pictures.filter((one) => !this.has(one));
    this.#next();
  }

  #next() {
    while (this.#running < AT_ONCE && this.#queue.length && !this.signal.aborted) {
      const picture = this.#queue.shift();
      if (this.has(picture)) continue;
      this.#running++;
      this.load(picture).catch(() => {}).finally(() => {
        this.#running--;
        this.onload?.(picture);
        this.#next();
      });
    }
  }

  // How many of such pictures may be kept.
  room(picture) {
    const bytes = picture.kind === "grey" ? (picture.look.rows * picture.look.columns * picture.look.allocated) / 8 : picture.look.rows * picture.look.columns * 4;
    return Math.max(2, Math.floor(BYTES / Math.max(1, bytes)) - 2);
  }

  // Values where there are any; what nobody can decode may still be drawn.
  async #fetch(picture) {
    if (picture.kind !== "grey") return this.#drawn(picture);
    try {
      return await this.#grey(picture);
    } catch (error) {
      if (error.status !== 406) throw error;
      picture.kind = "drawn";
      return this.#drawn(picture);
    }
  }

  async #grey(picture) {
    const answer = await call(resource(picture), { headers: { accept: PLAIN }, signal: this.signal });
    const values = words(await answer.arrayBuffer(), picture.look);
    return this.#keep(picture, { values, bytes: values.byteLength });
  }

  async #drawn(picture) {
    const answer = await call(drawn(picture), { headers: { accept: "image/png;q=0.5, image/jpeg" }, signal: this.signal });
    const bitmap = await createImageBitmap(await answer.blob()).catch(() => {
      throw new ApiError("The server's picture of this frame cannot be read.");
    });
    return this.#keep(picture, { bitmap, bytes: bitmap.width * bitmap.height * 4 });
  }

  #keep(picture, made) {
    if (this.signal.aborted) throw new DOMException("left", "AbortError");
    this.#kept.set(keyOf(picture), made);
    this.#bytes += made.bytes;
    for (const [key, one] of this.#kept) {
      if (this.#bytes <= BYTES || this.#kept.size <= 2) break;
      this.#kept.delete(key);
      this.#bytes -= one.bytes;
    }
    return made;
  }
}
