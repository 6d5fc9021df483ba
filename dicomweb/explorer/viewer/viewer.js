// The viewer: one stack of pictures, scrolled, windowed, moved.
//
//   const viewer = new Viewer({ pictures, start, signal, onshow: (index, picture) => …, buttons: [nodes] });
//   viewer.element goes into the page, viewer.keys are for components/keys.js.
//
// Each new picture is painted in the next frame of the screen once its pixels are there; those around it are fetched
// ahead. What is shown is told by an event `shown` at viewer.element ({ detail: { index } }).

import { aborted, call, resource } from "../api.js";
import { el, icon, replace } from "../dom.js";
import { first, text } from "../words.js";
import { fullWindow, ownWindow, paint, realValue } from "./grey.js";
import { corners, edges } from "./overlay.js";
import { Pixels, drawn } from "./pixels.js";
import { presets } from "./presets.js";

const TOOLS = [["window", "Window and level", "w"], ["pan", "Move", "p"], ["zoom", "Zoom", "z"], ["scroll", "Scroll", "s"]];
const PATIENCE = 250; // ms after which a small picture of the server stands in for pixels that are on their way
const DRAW = 120; // ms between windows that the server draws
const PIXELATED = 10; // pixels of the screen for one of the picture, from which each is seen as it is
const stored = (name, fallback) => localStorage.getItem(`roentgate.${name}`) ?? fallback;
// The instance that a picture is of, or one of whose frames it is.
const whole = ({ study, series, instance }) => resource({ study, series, instance });

export class Viewer {
  constructor({ pictures, start = 0, signal, onshow = () => {}, buttons = [] }) {
    this.pictures = pictures;
    this.signal = signal;
    this.onshow = onshow;
    this.pixels = new Pixels(signal);
    this.pixels.onload = () => this.#tellLoaded();
    this.index = Math.max(0, Math.min(pictures.length - 1, start));
    this.way = 1;
    this.tool = "window";
    this.window = null; // null: each picture's own
    this.invert = false;
    this.words = stored("overlay", "on") === "on";
    this.#resetPlace();
    this.buffer = document.createElement("canvas");
    this.#build(buttons);
    this.#listen();
    this.show(this.index);
  }

  get picture() {
    return this.pictures[this.index];
  }

  #resetPlace() {
    this.place = { zoom: 1, x: 0, y: 0, turns: 0, flipH: false, flipV: false };
  }

  #build(buttons) {
    const button = (name, label, action, key) => el("button.quiet.iconic", { type: "button", title: key ? `${label} (${key.toUpperCase()})` : label, "aria-label": label, "aria-keyshortcuts": key, onclick: action }, icon(name));
    this.tools = TOOLS.map(([name, label, key]) => {
      const one = button(name, label, () => this.setTool(name), key);
      one.dataset.tool = name;
      return one;
    });
    this.preset = el("select.preset", { "aria-label": "Window preset", onchange: () => this.choosePreset(Number(this.preset.value)) });
    this.inverter = button("invert", "Invert", () => this.toggleInvert(), "i");
    this.wordsButton = button("text", "Text over the image", () => this.toggleWords(), "o");
    this.player = button("play", "Play", () => this.togglePlay(), "space");
    this.rate = el("input.rate", { type: "number", min: 1, max: 60, value: 15, "aria-label": "Frames per second", title: "Frames per second" });
    this.cine = el("span.tool-group", {}, this.player, this.rate);
    this.imageTools = [
      el("span.tool-group", { role: "group", "aria-label": "What the mouse does" }, this.tools),
      el("span.tool-group", {}, this.preset, this.inverter),
      el("span.tool-group", {}, button("rotate", "Turn right", () => this.turn(), "r"), button("flip", "Mirror", () => this.flip(), "h"), button("fit", "Fit into the window", () => this.fit(), "f"), button("reset", "Reset everything", () => this.reset(), "x")),
      this.cine,
      el("span.tool-group", {}, this.wordsButton),
    ];
    this.toolbar = el("div.toolbar", { role: "toolbar", "aria-label": "Viewer" }, this.imageTools, el("div.grow"), buttons);
    this.canvas = el("canvas", { role: "img", tabindex: 0, "aria-label": "Image" });
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.corners = ["top-left", "top-right", "bottom-left", "bottom-right"].map((name) => el(`div.corner.${name}`));
    this.edges = ["left", "top"].map((name) => el(`div.edge.edge-${name}`));
    this.message = el("div.stage-message", { role: "status", hidden: true });
    this.other = el("div.stage-other", { hidden: true });
    this.stage = el("div.stage", {}, this.canvas, this.corners, this.edges, this.other, this.message);
    this.slider = el("input.slider", { type: "range", min: 1, max: this.pictures.length, step: 1, value: 1, "aria-label": "Image", oninput: () => this.show(Number(this.slider.value) - 1) });
    this.loaded = el("span.fetched", { "aria-hidden": "true" });
    this.counter = el("output", { "aria-live": "off" });
    this.bottom = el("div.scrubber", { hidden: this.pictures.length < 2 }, el("span.track", {}, this.loaded, this.slider), this.counter);
    this.element = el("div.viewer", {}, this.toolbar, this.stage, this.bottom);
    this.setTool(this.tool);
    this.#showSwitches();
  }

  // -- what is shown -----------------------------------------------------------------------------------------
  async show(index) {
    const to = Math.max(0, Math.min(this.pictures.length - 1, index));
    if (to !== this.index) this.way = Math.sign(to - this.index);
    this.index = to;
    const picture = this.picture;
    this.slider.value = to + 1;
    this.slider.setAttribute("aria-valuetext", `${to + 1} of ${this.pictures.length}`);
    this.counter.textContent = `${to + 1} / ${this.pictures.length}`;
    const imaged = picture.kind === "grey" || picture.kind === "drawn";
    for (const group of this.imageTools) group.hidden = !imaged;
    this.cine.hidden = !imaged || this.pictures.length < 2;
    this.canvas.hidden = !imaged;
    this.other.hidden = imaged;
    for (const one of [...this.corners, ...this.edges]) one.hidden = !imaged || !this.words;
    this.onshow(to, picture);
    if (!imaged) {
      this.#showOther(picture);
      return;
    }
    this.other.replaceChildren();
    this.shownOther = null;
    this.#showPresets(picture);
    this.canvas.setAttribute("aria-label", `Image ${to + 1} of ${this.pictures.length}`);
    const there = this.pixels.get(picture);
    if (there) {
      this.#use(picture, there);
      this.#ahead();
      return;
    }
    this.busy = true;
    const standIn = setTimeout(() => this.#standIn(picture), PATIENCE);
    try {
      const loaded = await this.pixels.load(picture);
      if (picture === this.picture) this.#use(picture, loaded);
    } catch (error) {
      if (!aborted(error) && picture === this.picture) this.#fail(error);
    } finally {
      clearTimeout(standIn);
      this.busy = false;
    }
    this.#ahead();
  }

  #use(picture, loaded) {
    this.message.hidden = true;
    this.current = { picture, ...loaded };
    this.own = null;
    if (picture.kind === "drawn") this.#askDrawn();
    this.#redraw();
  }

  #fail(error) {
    this.current = null;
    replace(this.message, icon("warning", 24), el("p", {}, `This cannot be shown: ${error.message}`), el("a.button", { href: `${whole(this.picture)}?accept=application/zip`, download: `${this.picture.instance}.zip` }, "Download it"));
    this.message.hidden = false;
    this.#redraw();
  }

  // A quick picture of the server until the values have come.
  async #standIn(picture) {
    if (picture !== this.picture || this.window || this.invert) return;
    try {
      const answer = await call(drawn(picture, { viewport: 512 }), { headers: { accept: "image/jpeg" }, signal: this.signal });
      const bitmap = await createImageBitmap(await answer.blob());
      if (picture === this.picture && this.current?.picture !== picture) {
        this.current = { picture, bitmap, standIn: true };
        this.#redraw();
      }
    } catch (error) {
      if (!aborted(error)) console.info(error.message);
    }
  }

  // The pictures to fetch next: three steps on in the way one goes for each step back, then the others, as many as there is room for.
  #ahead() {
    const room = Math.min(this.pixels.room(this.picture), this.pictures.length);
    const wanted = new Set();
    const want = (one) => wanted.size < room && (one?.kind === "grey" || one?.kind === "drawn") && wanted.add(one);
    for (let step = 1; wanted.size < room && step < this.pictures.length; step++) {
      want(this.pictures[this.index + step * this.way]);
      if (step % 3 === 0) want(this.pictures[this.index - (step / 3) * this.way]);
    }
    this.pictures.forEach(want);
    this.pixels.ahead([...wanted]);
  }

  #tellLoaded() {
    this.tallied ??= requestAnimationFrame(() => {
      this.tallied = null;
      const count = this.pictures.filter((one) => this.pixels.has(one)).length;
      this.loaded.style.width = `${(100 * count) / this.pictures.length}%`;
      this.element.dataset.loaded = count;
    });
  }

  // Videos play; reports, documents and drawings are pages of the server, shown in a frame of their own.
  async #showOther(picture) {
    if (this.shownOther === picture.instance) return;
    this.shownOther = picture.instance;
    this.message.hidden = true;
    const address = `${whole(picture)}/rendered`;
    if (picture.kind === "video") {
      const video = el("video", { controls: true, loop: true, playsinline: true, src: address, "aria-label": "Video" });
      video.addEventListener("error", () => this.#fail(new Error("the browser cannot play this video.")));
      replace(this.other, video);
    } else {
      this.other.replaceChildren();
      try {
        const answer = await call(address, { method: "HEAD", signal: this.signal });
        if (picture !== this.picture) return;
        const type = answer.headers.get("content-type") ?? "";
        // A PDF is shown by the browser's own viewer, which works in no sandbox; the answer's policy is one already.
        replace(this.other, el("iframe", { src: address, title: text(picture.dataset, "00420010") || "Document", sandbox: type.startsWith("application/pdf") ? null : "" }));
      } catch (error) {
        if (aborted(error) || picture !== this.picture) return;
        // HEAD has no body: the sentence is asked for.
        this.#fail(error.status ? await call(address, { signal: this.signal }).then(() => error, (said) => said) : error);
        return;
      }
    }
    this.element.dispatchEvent(new CustomEvent("shown", { detail: { index: this.index } }));
  }

  // -- painting ----------------------------------------------------------------------------------------------
  #redraw() {
    this.due ??= requestAnimationFrame(() => this.#paint());
  }

  // The window that holds for the picture on screen.
  effective() {
    if (this.window && this.window !== "full") return this.window;
    const { picture, values } = this.current ?? {};
    if (!picture) return null;
    if (!this.window && picture.look.windows[0]) return picture.look.windows[0];
    if (!values) return null;
    if (this.known?.values !== values) this.known = { values, own: ownWindow(values, picture.look), full: null };
    if (this.window === "full") return (this.known.full ??= fullWindow(values, picture.look));
    return this.known.own;
  }

  #paint() {
    this.due = null;
    const { canvas, context, current } = this;
    const ratio = devicePixelRatio || 1;
    const width = Math.round(this.stage.clientWidth * ratio);
    const height = Math.round(this.stage.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    if (!current) return;
    const { picture } = current;
    let source = current.bitmap;
    if (current.values) {
      source = this.#greys(current);
    } else if (this.own?.picture === picture) source = this.own.bitmap;
    const size = { columns: picture.look.columns || source.width, rows: picture.look.rows || source.height };
    context.setTransform(...this.#matrix(size, picture.look.aspect, width, height));
    context.imageSmoothingEnabled = this.scale <= PIXELATED;
    context.imageSmoothingQuality = "high";
    context.filter = this.invert && !current.values && picture.look.grey ? "invert(1)" : "none";
    context.drawImage(source, 0, 0, size.columns, size.rows);
    context.filter = "none";
    this.#showWords();
    if (!current.standIn) {
      this.element.dataset.shown = this.index;
      this.element.dispatchEvent(new CustomEvent("shown", { detail: { index: this.index } }));
    }
  }

  #greys({ picture, values }) {
    const { look } = picture;
    const { buffer } = this;
    const window = this.effective();
    const key = `${picture.instance}/${picture.frame}/${window.center}/${window.width}/${this.invert}`;
    if (this.painted === key) return buffer;
    if (buffer.width !== look.columns || buffer.height !== look.rows || !this.image) {
      Object.assign(buffer, { width: look.columns, height: look.rows });
      this.image = new ImageData(look.columns, look.rows);
    }
    paint(values, look, window, this.invert, new Uint32Array(this.image.data.buffer));
    buffer.getContext("2d").putImageData(this.image, 0, 0);
    this.painted = key;
    return buffer;
  }

  // From pixels of the picture to pixels of the canvas.
  #matrix({ columns, rows }, aspect, width, height) {
    const { zoom, x, y, turns, flipH, flipV } = this.place;
    const [across, down] = turns % 2 ? [rows * aspect, columns] : [columns, rows * aspect];
    const scale = zoom * Math.min(width / across, height / down);
    const ratio = devicePixelRatio || 1;
    this.scale = scale;
    return new DOMMatrix()
      .translate(width / 2 + x * ratio, height / 2 + y * ratio)
      .scale(flipH ? -1 : 1, flipV ? -1 : 1)
      .rotate(turns * 90)
      .scale(scale, scale * aspect)
      .translate(-columns / 2, -rows / 2)
      .toFloat64Array()
      .filter((_, at) => [0, 1, 4, 5, 12, 13].includes(at));
  }

  #showWords() {
    if (!this.words) return;
    const window = this.current.picture.look.grey ? this.effective() : null;
    const said = corners(this.current.picture, { index: this.index, count: this.pictures.length, window, zoom: this.scale / (devicePixelRatio || 1), probe: this.#probe() });
    said.forEach((lines, at) => {
      const joined = lines.join("\n");
      if (this.corners[at].textContent !== joined) this.corners[at].textContent = joined;
    });
    const sides = edges(this.current.picture.look.orientation, this.place);
    sides.forEach((letters, at) => (this.edges[at].textContent = letters));
  }

  #showPresets(picture) {
    const list = presets(picture);
    const key = JSON.stringify(list);
    if (this.presetKey !== key) {
      this.presetKey = key;
      replace(this.preset, el("option", { value: -1, hidden: true }, "Own window"), list.map((one, at) => el("option", { value: at }, one.name)));
      this.preset.value = this.window === null ? 0 : this.window === "full" ? list.findIndex((one) => one.window === "full") : -1;
    }
    this.presets = list;
    const fixed = !picture.look.grey;
    this.preset.hidden = this.inverter.hidden = fixed;
  }

  // -- what people do ----------------------------------------------------------------------------------------
  setTool(name) {
    this.tool = name;
    for (const one of this.tools) one.setAttribute("aria-pressed", String(one.dataset.tool === name));
    this.stage.dataset.tool = name;
  }

  choosePreset(at) {
    const one = this.presets?.[at];
    if (!one) return;
    this.setWindow(at === 0 ? null : one.window, at);
  }

  setWindow(window, preset = -1) {
    this.window = window;
    this.preset.value = preset;
    if (this.picture.kind === "drawn") this.#askDrawn();
    this.#redraw();
  }

  // The server draws what cannot be windowed here.
  #askDrawn() {
    clearTimeout(this.asking);
    const { picture } = this;
    if (!this.window || this.window === "full") {
      this.own = null;
      return;
    }
    const window = this.window;
    this.asking = setTimeout(async () => {
      try {
        const answer = await call(drawn(picture, { window, shape: window.shape ?? picture.look.shape }), { headers: { accept: "image/jpeg" }, signal: this.signal });
        const bitmap = await createImageBitmap(await answer.blob());
        if (picture === this.picture && window === this.window) {
          this.own = { picture, bitmap };
          this.#redraw();
        }
      } catch (error) {
        if (!aborted(error)) console.info(error.message);
      }
    }, DRAW);
  }

  toggleInvert() {
    this.invert = !this.invert;
    this.#showSwitches();
    this.#redraw();
  }

  toggleWords() {
    this.words = !this.words;
    localStorage.setItem("roentgate.overlay", this.words ? "on" : "off");
    for (const one of [...this.corners, ...this.edges]) one.hidden = this.canvas.hidden || !this.words;
    this.#showSwitches();
    this.#redraw();
  }

  #showSwitches() {
    this.inverter.setAttribute("aria-pressed", String(this.invert));
    this.wordsButton.setAttribute("aria-pressed", String(this.words));
  }

  turn() {
    this.place.turns = (this.place.turns + 1) % 4;
    this.#redraw();
  }

  flip(way = "flipH") {
    this.place[way] = !this.place[way];
    this.#redraw();
  }

  fit() {
    Object.assign(this.place, { zoom: 1, x: 0, y: 0 });
    this.#redraw();
  }

  reset() {
    this.#resetPlace();
    this.window = null;
    this.own = null;
    this.invert = false;
    this.preset.value = 0;
    this.#showSwitches();
    this.#redraw();
  }

  zoom(factor, at = null) {
    const before = this.place.zoom;
    this.place.zoom = Math.max(0.1, Math.min(40, before * factor));
    if (at) {
      const grown = this.place.zoom / before;
      this.place.x = at.x - (at.x - this.place.x) * grown;
      this.place.y = at.y - (at.y - this.place.y) * grown;
    }
    this.#redraw();
  }

  step(by) {
    this.show(this.index + by);
  }

  togglePlay() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.pictures.length < 2) return;
    this.rate.value ||= 15;
    this.playing = true;
    this.#showPlayer();
    let last = performance.now();
    const tick = (now) => {
      if (!this.playing || this.signal.aborted) return;
      const pause = 1000 / Math.max(1, Number(this.rate.value) || 15);
      if (now - last >= pause - 2 && !this.busy) {
        last = now - last > 4 * pause ? now : last + pause;
        this.way = 1;
        this.show((this.index + 1) % this.pictures.length);
      }
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  pause() {
    this.playing = false;
    this.#showPlayer();
  }

  #showPlayer() {
    this.player.replaceChildren(icon(this.playing ? "pause" : "play"));
    this.player.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.player.setAttribute("aria-pressed", String(Boolean(this.playing)));
  }

  get keys() {
    const back = (by) => () => this.step(by);
    const named = Object.fromEntries(TOOLS.map(([name, , key]) => [key, () => this.setTool(name)]));
    const numbered = Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((key) => [String(key), () => this.choosePreset(key - 1)]));
    return {
      ...named, ...numbered,
      ArrowDown: back(1), ArrowRight: back(1), ArrowUp: back(-1), ArrowLeft: back(-1), PageDown: back(10), PageUp: back(-10),
      Home: () => this.show(0), End: () => this.show(this.pictures.length - 1),
      " ": (event) => (event.target.closest("button, a") ? false : this.togglePlay()),
      i: () => this.toggleInvert(), o: () => this.toggleWords(), r: () => this.turn(), h: () => this.flip(), v: () => this.flip("flipV"),
      f: () => this.fit(), x: () => this.reset(), "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8),
    };
  }

  #listen() {
    const { canvas, signal } = this;
    const rated = Number(first(this.picture.dataset, "00082144") ?? first(this.picture.dataset, "00180040") ?? 0) || Math.round(1000 / Number(first(this.picture.dataset, "00181063") || 0));
    if (rated >= 1 && rated <= 60) this.rate.value = rated;
    const sizes = new ResizeObserver(() => this.#redraw());
    sizes.observe(this.stage);
    signal.addEventListener("abort", () => {
      sizes.disconnect();
      this.playing = false;
    });
    let rest = 0;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) return this.zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1, this.#centred(event));
      rest += event.deltaMode ? event.deltaY * 40 : event.deltaY;
      const steps = Math.trunc(rest / 40);
      if (!steps) return;
      rest -= steps * 40;
      this.step(Math.abs(event.deltaY) >= 80 ? Math.sign(steps) : steps);
    }, { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener("pointerdown", (event) => this.#drag(event));
    canvas.addEventListener("pointermove", (event) => this.#point(event));
    canvas.addEventListener("pointerleave", () => this.#point(null));
  }

  #centred(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
  }

  // Left does what the tool says, the middle moves, the right zooms.
  #drag(event) {
    const { canvas } = this;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    const tool = { 0: event.shiftKey ? "pan" : this.tool, 1: "pan", 2: "zoom" }[event.button] ?? this.tool;
    const from = { x: event.clientX, y: event.clientY, index: this.index, window: this.effective(), place: { ...this.place } };
    const move = (now) => {
      const x = now.clientX - from.x;
      const y = now.clientY - from.y;
      if (tool === "pan") {
        Object.assign(this.place, { x: from.place.x + x, y: from.place.y + y });
        this.#redraw();
      } else if (tool === "zoom") {
        this.place.zoom = Math.max(0.1, Math.min(40, from.place.zoom * 1.008 ** -y));
        this.#redraw();
      } else if (tool === "scroll") {
        const reach = Math.max(2, Math.min(20, canvas.clientHeight / this.pictures.length));
        this.show(from.index + Math.round(y / reach));
      } else if (from.window && this.picture.look.grey) {
        const pace = Math.max(from.window.width, 1e-6) / 300;
        this.setWindow({ ...from.window, center: from.window.center + y * pace, width: Math.max(this.#least(), from.window.width + x * pace * 2) });
      }
    };
    const end = () => {
      canvas.removeEventListener("pointermove", move);
      canvas.removeEventListener("pointerup", end);
      canvas.removeEventListener("pointercancel", end);
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
  }

  #least() {
    return this.picture.look.shape === "LINEAR" && Math.abs(this.picture.look.slope) >= 0.1 ? 1 : Math.abs(this.picture.look.slope) * 1e-2 || 1e-6;
  }

  #point(event) {
    const box = event && this.canvas.getBoundingClientRect();
    this.pointer = event && { x: event.clientX - box.left, y: event.clientY - box.top };
    if (this.words && this.current?.values) this.#redraw();
  }

  // Place and value of the pixel below the mouse, or null.
  #probe() {
    const { current, pointer } = this;
    if (!current?.values || !pointer) return null;
    const { look } = current.picture;
    const ratio = devicePixelRatio || 1;
    const matrix = new DOMMatrix([...this.#matrix(look, look.aspect, this.canvas.width, this.canvas.height)]);
    const at = matrix.inverse().transformPoint({ x: pointer.x * ratio, y: pointer.y * ratio });
    const column = Math.floor(at.x);
    const row = Math.floor(at.y);
    if (column < 0 || row < 0 || column >= look.columns || row >= look.rows) return null;
    return { column, row, value: realValue(current.values[row * look.columns + column], look) };
  }
}
