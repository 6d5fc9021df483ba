// One STOW-RS request (PS3.18 10.5) for several files, and what became of each of them.

import { resource, ROOT } from "../api.js";
import { renew } from "../renewing.js";

const WORDS = {
  0xa700: "there is no room for it, or it is larger than the server takes",
  0xa900: "its UIDs do not fit",
  0xc000: "it cannot be understood, or ends too early",
  0xc122: "its transfer syntax is not kept (the pixels lie elsewhere)",
  0x0110: "the server could not store it just now",
  0x0111: "an object with the same UID and other content is there already",
};
const AGAIN = new Set([0xa700, 0x0110]);

// Send { instance, blob } of several files. Resolves with an outcome for each, in order:
//   { state: "stored", study, warning } or { state: "failed", reason, again }: whether trying again may help,
//   or { state: "unclear" }: the answer does not say which file it speaks of.
// Throws an error with `again` if the request as a whole failed.
export async function store(files, { signal, onprogress }) {
  const boundary = `rg${crypto.getRandomValues(new Uint32Array(4)).join("")}`;
  const pieces = [];
  for (const file of files) pieces.push(`--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`, file.blob, "\r\n");
  pieces.push(`--${boundary}--\r\n`);
  const send = () => post(new Blob(pieces), `multipart/related; type="application/dicom"; boundary=${boundary}`, signal, onprogress);
  const answer = await send().catch(async (error) => {
    if (error.status !== 401 || !(await renew(ROOT))) throw error;
    return send(); // the token had ended
  });
  return match(files, answer);
}

// XMLHttpRequest, since fetch tells nothing of how much has gone.
function post(body, type, signal, onprogress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open("POST", `${resource()}/studies`);
    request.setRequestHeader("content-type", type);
    request.setRequestHeader("accept", "application/dicom+json");
    request.responseType = "json";
    request.upload.onprogress = (event) => onprogress(event.loaded);
    request.onload = () => {
      const value = request.response;
      if (value && ("00081199" in value || "00081198" in value || "0008119A" in value)) {
        resolve({ value, warnings: request.getResponseHeader("warning") ?? "" });
      } else {
        reject(Object.assign(new Error(value?.detail || `the server answered with status ${request.status}`), { status: request.status, again: request.status >= 500 || request.status === 408 || request.status === 429 }));
      }
    };
    request.onerror = () => reject(Object.assign(new Error("the server does not answer"), { status: 0, again: true }));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.onloadend = () => signal.removeEventListener("abort", stop);
    signal.addEventListener("abort", stop);
    request.send(body);
  });
}

function match(files, { value, warnings }) {
  const items = (tag) => value[tag]?.Value ?? [];
  const stored = items("00081199").map((item) => ({
    instance: item["00081155"]?.Value?.[0] ?? "",
    outcome: {
      state: "stored",
      study: /\/studies\/([0-9.]+)/.exec(item["00081190"]?.Value?.[0] ?? "")?.[1] ?? "",
      warning: item["00081196"] ? sentences(item["00081196"].Value[0], warnings).join(", or: ") || "it is odd, and stored as it is" : "",
    },
  }));
  const failed = [...items("00081198"), ...items("0008119A")].map((item) => {
    const code = item["00081197"]?.Value?.[0] ?? 0;
    const said = sentences(code, warnings);
    const reason = said[0] ?? WORDS[code] ?? "the server refused it";
    const outcome = { state: "failed", reason: `${reason} (${hex(code)})`, again: AGAIN.has(code) };
    // Where the sentence may be about another file of the request, this one is asked about alone.
    return { instance: item["00081155"]?.Value?.[0] ?? "", outcome: files.length > 1 && said.length !== 1 ? { state: "unclear" } : outcome };
  });
  const all = [...stored, ...failed];
  if (files.length === 1 && all.length === 1) return [all[0].outcome];
  return files.map((file) => {
    const at = file.instance ? all.findIndex((one) => one.instance === file.instance) : -1;
    return at < 0 ? { state: "unclear" } : all.splice(at, 1)[0].outcome;
  });
}

// The server's own words for a code, from its Warning headers; how many instances they are about is left out.
function sentences(code, warnings) {
  const found = [...warnings.matchAll(/299 \S+ "([0-9A-F]{4}) ((?:[^"\\]|\\.)*)"/g)].filter((one) => one[1] === hex(code));
  return found.map((one) => one[2].replace(/\\(.)/g, "$1").replace(/ \([\d,]+ instances\)$/, ""));
}

const hex = (code) => code.toString(16).toUpperCase().padStart(4, "0");
