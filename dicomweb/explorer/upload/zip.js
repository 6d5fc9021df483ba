// ZIP archives as the browser reads them: the central directory first, then one member after the other, each a stretch
// of the file, so that an archive of any size costs the memory of one member (APPNOTE 6.3: stored and deflated, ZIP64).

const END = 0x06054b50, END64 = 0x06064b50, LOCATOR64 = 0x07064b50, MEMBER = 0x02014b50, LOCAL = 0x04034b50;
const UNKNOWN = 0xffffffff;
const LARGEST_DIRECTORY = 256 << 20;

export class BadZip extends Error {}

// Yield the members of an archive that are files: { path, size, blob() }. `blob` unpacks, checks length and CRC, and
// throws BadZip with the reason.
export async function* members(file) {
  const { offset, length, count } = await findDirectory(file);
  if (offset + length > file.size || length > LARGEST_DIRECTORY) throw new BadZip("its list of contents is damaged");
  const view = await read(file, offset, length);
  let at = 0;
  for (let number = 0; number < count; number += 1) {
    if (at + 46 > view.byteLength || view.getUint32(at, true) !== MEMBER) throw new BadZip("its list of contents is damaged");
    const flags = view.getUint16(at + 8, true);
    const names = view.getUint16(at + 28, true), extras = view.getUint16(at + 30, true), notes = view.getUint16(at + 32, true);
    const member = {
      flags,
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      local: view.getUint32(at + 42, true),
    };
    if (at + 46 + names + extras + notes > view.byteLength) throw new BadZip("its list of contents is damaged");
    const path = decode(new Uint8Array(view.buffer, view.byteOffset + at + 46, names), flags);
    readLarge(member, view, at + 46 + names, extras);
    at += 46 + names + extras + notes;
    if (!path.endsWith("/")) yield { path, size: member.size, blob: () => unpack(file, member) };
  }
}

async function findDirectory(file) {
  const tail = Math.min(file.size, 65557);
  const view = await read(file, file.size - tail, tail);
  for (let at = tail - 22; at >= 0; at -= 1) {
    if (view.getUint32(at, true) !== END) continue;
    const found = { count: view.getUint16(at + 10, true), length: view.getUint32(at + 12, true), offset: view.getUint32(at + 16, true) };
    if (found.count !== 0xffff && found.length !== UNKNOWN && found.offset !== UNKNOWN) return found;
    if (at < 20 || view.getUint32(at - 20, true) !== LOCATOR64) return found;
    const record = await read(file, large(view, at - 12), 56);
    if (record.byteLength < 56 || record.getUint32(0, true) !== END64) throw new BadZip("its end is damaged");
    return { count: large(record, 32), length: large(record, 40), offset: large(record, 48) };
  }
  throw new BadZip("it ends too early, or is no ZIP archive");
}

// What does not fit into 32 bits stands in an extra field (APPNOTE 4.5.3).
function readLarge(member, view, at, length) {
  for (const end = at + length; at + 4 <= end; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    let place = at + 4;
    for (const name of ["size", "packed", "local"]) {
      if (member[name] !== UNKNOWN || place + 8 > end) continue;
      member[name] = large(view, place);
      place += 8;
    }
    return;
  }
}

async function unpack(file, member) {
  if (member.flags & 1) throw new BadZip("it is encrypted in its archive");
  if (member.method !== 0 && member.method !== 8) throw new BadZip(`its archive packs it in a way (${member.method}) that browsers do not read`);
  const head = await read(file, member.local, 30);
  if (head.byteLength < 30 || head.getUint32(0, true) !== LOCAL) throw new BadZip("its place in the archive is damaged");
  const start = member.local + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const packed = file.slice(start, start + member.packed);
  const stream = member.method === 8 ? packed.stream().pipeThrough(new DecompressionStream("deflate-raw")) : packed.stream();
  const pieces = [];
  let size = 0, crc = UNKNOWN;
  try {
    for (const reader = stream.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > member.size) {
        await reader.cancel();
        throw new BadZip("it is longer than its archive says");
      }
      crc = add(crc, value);
      if (member.method === 8) pieces.push(value);
    }
  } catch (error) {
    throw error instanceof BadZip ? error : new BadZip("it cannot be unpacked: its archive is damaged");
  }
  if (size !== member.size || (crc ^ UNKNOWN) >>> 0 !== member.crc) throw new BadZip("it is damaged in its archive");
  return member.method === 8 ? new Blob(pieces) : packed;
}

async function read(file, start, length) {
  return new DataView(await file.slice(start, start + length).arrayBuffer());
}

const large = (view, at) => view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;

// UTF-8 if it says so or is some, else as DOS wrote names, nearly.
function decode(bytes, flags) {
  try {
    return new TextDecoder("utf-8", { fatal: !(flags & 0x800) }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

const TABLE = new Uint32Array(256).map((_, number) => {
  for (let bit = 0; bit < 8; bit += 1) number = number & 1 ? 0xedb88320 ^ (number >>> 1) : number >>> 1;
  return number >>> 0;
});

function add(crc, bytes) {
  for (let at = 0; at < bytes.length; at += 1) crc = TABLE[(crc ^ bytes[at]) & 255] ^ (crc >>> 8);
  return crc >>> 0;
}
