// The upload that is under way. It belongs to no page: people may look at other pages meanwhile.
//
// Files are found, packed into requests of several instances and sent, a few requests at a time. What is held in memory
// are the requests under way: files are read by the browser while they are sent, members of archives are unpacked just
// before. Nothing is kept of what went well but counts, so that ten thousand files cost as much as ten.

import { examine, sort } from "./sources.js";
import { store } from "./store.js";

const TOGETHER = 3;
const MOST_FILES = 40;
const MOST_BYTES = 16 << 20;
const TRIES = 4;
const PAUSE = 1500;

class Upload extends EventTarget {
  constructor() {
    super();
    this.reset();
  }

  reset() {
    Object.assign(this, {
      state: "idle", // idle, running, done, stopped
      looking: false, found: 0, foundBytes: 0, sentBytes: 0, stored: 0, odd: [], failed: [], junk: [],
      studies: new Map(), begun: 0, ended: 0, rate: 0,
    });
    this.flying = new Map(); // bytes on their way, by request
    this.waiting = [];
    this.controller = new AbortController();
    this.tell();
  }

  get running() {
    return this.state === "running";
  }

  get bytes() {
    let sum = this.sentBytes;
    for (const one of this.flying.values()) sum += one;
    return Math.min(sum, this.foundBytes);
  }

  get over() {
    return this.stored + this.failed.length;
  }

  // Begin with files, or add them to what is under way.
  add(files) {
    this.sources.push(files);
    if (!this.running) this.run();
  }

  sources = [];

  stop() {
    if (!this.running) return;
    this.sources = [];
    this.state = "stopped";
    this.controller.abort();
    this.tell();
  }

  // Send what failed and may succeed again.
  retry() {
    const again = this.failed.filter((one) => one.file);
    this.failed = this.failed.filter((one) => !one.file);
    for (const { file } of again) {
      this.found -= 1;
      this.foundBytes -= file.size;
      this.sentBytes -= file.size;
    }
    this.sources.push(async function* () {
      for (const { file } of again) yield { ready: file };
    });
    if (!this.running) this.run(false);
  }

  async run(anew = true) {
    if (anew) this.reset();
    else this.controller = new AbortController();
    this.state = "running";
    this.begun = performance.now();
    this.base = this.bytes;
    const { signal } = this.controller;
    const clock = setInterval(() => this.tell(), 250);
    try {
      while (this.sources.length && !signal.aborted) await this.drain(signal); // more may be added on the way
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      clearInterval(clock);
      if (signal === this.controller.signal) { // nobody has begun anew meanwhile
        this.looking = false;
        this.flying.clear();
        this.ended = performance.now();
        if (this.state === "running") this.state = "done";
        this.tell();
      }
    }
  }

  // Send all that the sources give.
  async drain(signal) {
    this.looking = true;
    const batches = this.batches(signal);
    // An asynchronous generator hands its batches to whoever asks next, so they can share it.
    await Promise.all(Array.from({ length: TOGETHER }, async () => {
      for (;;) {
        const { done, value } = await batches.next();
        if (done || signal.aborted) return;
        await this.send(value, signal);
      }
    }));
  }

  async *files() {
    while (this.sources.length) {
      for await (const one of this.sources.shift()()) {
        if (one.ready) yield one.ready;
        else yield* sort([one]);
      }
    }
  }

  async *batches(signal) {
    let batch = [], size = 0;
    for await (const file of this.files()) {
      if (signal.aborted) return;
      if (file.problem) {
        (file.junk ? this.junk : this.failed).push({ path: file.path, reason: file.problem });
        if (!file.junk) this.found += 1;
        continue;
      }
      this.found += 1;
      this.foundBytes += file.size;
      if (batch.length && (size + file.size > MOST_BYTES || batch.length >= MOST_FILES)) {
        yield batch;
        batch = [];
        size = 0;
      }
      batch.push(file);
      size += file.size;
    }
    this.looking = false;
    if (batch.length) yield batch;
  }

  async send(batch, signal) {
    const ready = [];
    for (const file of batch) {
      try {
        const blob = await file.blob();
        const seen = file.packed ? await examine(file.path, blob) : { problem: "", instance: file.instance };
        if (seen.problem) this.discard(file, seen.problem);
        else ready.push({ file, blob, instance: seen.instance });
      } catch (error) {
        this.fail(file, error.message, false);
      }
      if (signal.aborted) return;
    }
    // Without a UID the answer cannot be matched, so such a file goes alone.
    const known = ready.filter((one) => one.instance);
    if (known.length) await this.request(known, signal);
    for (const one of ready) if (!one.instance && !signal.aborted) await this.request([one], signal);
  }

  async request(items, signal) {
    const key = Symbol("request");
    for (let attempt = 1; ; attempt += 1) {
      try {
        const outcomes = await store(items, { signal, onprogress: (sent) => this.flying.set(key, sent) });
        this.flying.delete(key);
        const unclear = [];
        outcomes.forEach((outcome, at) => {
          const { file } = items[at];
          if (outcome.state === "stored") this.keep(file, outcome);
          else if (outcome.state === "failed") this.fail(file, outcome.reason, outcome.again);
          else unclear.push(items[at]);
        });
        if (items.length === 1) for (const one of unclear) this.fail(one.file, "the server does not say what became of it", true);
        else for (const one of unclear) await this.request([one], signal);
        return;
      } catch (error) {
        this.flying.delete(key);
        if (signal.aborted) return;
        if (error.again && error.status !== 507 && attempt < TRIES) { // no room: waiting a moment makes none
          await pause(PAUSE * attempt, signal);
          continue;
        }
        if (!error.again && items.length > 1) {
          for (const one of items) await this.request([one], signal);
          return;
        }
        for (const one of items) this.fail(one.file, error.message, true);
        return;
      }
    }
  }

  keep(file, outcome) {
    this.stored += 1;
    this.sentBytes += file.size;
    if (outcome.study) this.studies.set(outcome.study, (this.studies.get(outcome.study) ?? 0) + 1);
    if (outcome.warning) this.odd.push({ path: file.path, reason: outcome.warning });
  }

  fail(file, reason, again) {
    this.sentBytes += file.size;
    this.failed.push({ path: file.path, reason, file: again ? file : null });
  }

  // It was taken for an object until it was unpacked.
  discard(file, reason) {
    this.found -= 1;
    this.foundBytes -= file.size;
    this.junk.push({ path: file.path, reason });
  }

  tell() {
    const seconds = ((this.running ? performance.now() : this.ended) - this.begun) / 1000;
    this.rate = seconds > 0.2 ? (this.bytes - (this.base ?? 0)) / seconds : 0;
    this.dispatchEvent(new Event("change"));
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}

export const upload = new Upload();

window.addEventListener("beforeunload", (event) => {
  if (upload.running) event.preventDefault();
});
