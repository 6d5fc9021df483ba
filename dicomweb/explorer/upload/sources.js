// What people drop or choose, as one stream of files: folders are walked, ZIP archives opened, and what is no DICOM object
// is named for what it is. A file is { path, size, blob(), instance } or { path, problem }: why it is not sent.

import { members } from "./zip.js";

const HEAD = 4096;
const NESTED = 3;

// What was dropped: to be called in the handler of the event, since the browser forgets it afterwards.
export function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = entries.length ? [] : [...transfer.files];
  return async function* () {
    for (const entry of entries) yield* walk(entry);
    yield* chosen(files)();
  };
}

// What was chosen with a button; a folder's files know their path.
export function chosen(files) {
  const list = [...files];
  return async function* () {
    for (const file of list) yield { path: file.webkitRelativePath || file.name, file };
  };
}

async function* walk(entry) {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    try {
      yield { path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) };
    } catch {
      yield { path, problem: "it cannot be read" };
    }
    return;
  }
  const reader = entry.createReader();
  try {
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
      if (!some.length) return;
      for (const one of some) yield* walk(one);
    }
  } catch {
    yield { path: `${path}/`, problem: "the folder cannot be read" };
  }
}

// Look into files, one after the other, and yield those that are to be sent and those that are not.
export async function* sort(files) {
  for await (const one of files) {
    if (one.problem) yield one;
    else yield* look(one.path, one.file, NESTED);
  }
}

async function* look(path, file, depth) {
  let head;
  try {
    head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  } catch {
    yield { path, problem: "it cannot be read" };
    return;
  }
  if (begins(head, [0x50, 0x4b, 3, 4]) || begins(head, [0x50, 0x4b, 5, 6])) {
    if (depth) yield* unpack(path, file, depth);
    else yield { path, problem: "it is an archive in an archive in an archive" };
    return;
  }
  const kind = judge(path, head);
  yield kind ? { path, problem: kind, junk: true } : { path, size: file.size, instance: instanceOf(head), blob: async () => file };
}

async function* unpack(path, file, depth) {
  try {
    for await (const member of members(file)) {
      const inside = `${path}/${member.path}`;
      const name = member.path.split("/").pop();
      if (isClutter(name)) {
        yield { path: inside, problem: isClutter(name), junk: true };
      } else if (/\.zip$/i.test(name)) {
        yield* look(inside, await member.blob(), depth - 1);
      } else {
        // Unpacked when its turn to be sent comes, and looked at then.
        yield { path: inside, size: member.size, instance: "", packed: true, blob: member.blob };
      }
    }
  } catch (error) {
    yield { path, problem: `the archive cannot be read: ${error.message}` };
  }
}

// What a packed file turns out to be: "" for an object, else why it is not sent; with the SOP Instance UID.
export async function examine(path, blob) {
  const head = new Uint8Array(await blob.slice(0, HEAD).arrayBuffer());
  return { problem: judge(path, head), instance: instanceOf(head) };
}

const begins = (bytes, start) => start.every((one, at) => bytes[at] === one);

const KINDS = [
  ["a PDF", [0x25, 0x50, 0x44, 0x46]],
  ["a JPEG picture", [0xff, 0xd8, 0xff]],
  ["a PNG picture", [0x89, 0x50, 0x4e, 0x47]],
  ["a GIF picture", [0x47, 0x49, 0x46, 0x38]],
  ["a program", [0x4d, 0x5a]],
  ["a program", [0x7f, 0x45, 0x4c, 0x46]],
  ["a RAR archive", [0x52, 0x61, 0x72, 0x21]],
  ["a gzip archive", [0x1f, 0x8b]],
  ["a 7z archive", [0x37, 0x7a, 0xbc, 0xaf]],
  ["a NIfTI volume", [0x5c, 1, 0, 0]],
];

function isClutter(name) {
  if (/^(\.DS_Store|Thumbs\.db|desktop\.ini|autorun\.inf)$/i.test(name) || name.startsWith("._")) return "not DICOM: a file of the operating system";
  if (/^DICOMDIR$/i.test(name)) return "a DICOMDIR, the list of a medium; the files that it lists are sent";
  return "";
}

// "" if it looks like a DICOM object, else what it is.
function judge(path, head) {
  const clutter = isClutter(path.split("/").pop());
  if (clutter) return clutter;
  if (!head.length) return "not DICOM: the file is empty";
  if (head.length >= 132 && begins(head.subarray(128), [0x44, 0x49, 0x43, 0x4d])) return "";
  // Old objects have no preamble and begin with group 2 or 8 (or, rarely, in big endian).
  if (head.length > 8 && ((head[1] === 0 && (head[0] === 2 || head[0] === 8) && head[3] === 0) || (head[0] === 0 && head[1] === 8 && head[2] === 0))) return "";
  const kind = KINDS.find(([, start]) => begins(head, start));
  if (kind) return `not DICOM: ${kind[0]}`;
  return head.every((byte) => byte >= 9 && byte < 127) ? "not DICOM: a text" : "not DICOM";
}

// SOP Instance UID of the File Meta group (0002,0003), "" where it is not near the beginning (PS3.10 7.1).
function instanceOf(head) {
  let at = begins(head.subarray(128), [0x44, 0x49, 0x43, 0x4d]) ? 132 : 0;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  while (at + 12 <= head.length && view.getUint16(at, true) === 2) {
    const long = /^(OB|OW|UN|SQ|UT)$/.test(String.fromCharCode(head[at + 4], head[at + 5]));
    const length = long ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true);
    const start = at + (long ? 12 : 8);
    if (view.getUint16(at + 2, true) === 3 && start + length <= head.length) {
      return String.fromCharCode(...head.subarray(start, start + length)).replace(/[\0 ]+$/, "");
    }
    at = start + length;
  }
  return "";
}
