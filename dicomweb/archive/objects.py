"""A whole stored object on its way out: as it is, re-encoded, inflated, or transcoded (PS3.18 8.7.3.4, DESIGN).

As it is, is copying. Implicit VR and Big Endian data sets have their header written anew as Explicit VR Little
Endian; the object is read but for its large values, which are copied by range, so that memory does not grow
with it. A deflated data set has an inflated copy beside the objects, made when first needed, named by the
version, and safe to remove at any time. Of an object whose pixels go out in another transfer syntax, frames are
made one by one, and the data set says what they are.

What is sent whole out of a remote storage is compared with its digest on the way: its last piece leaves only after
that, so that an answer with other bytes than were stored never looks whole. Frames and bulk values have checksums of
their own (`Layout.checked`). What is written anew, and ranges that clients ask for, are compared with nothing.
"""

import hashlib
import logging
import mmap
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import orjson

from dicomweb.archive import content
from dicomweb.archive.content import CHUNK, Made, Segment, Stretch, Unsized, total
from dicomweb.archive.copies import Copies
from dicomweb.archive.entries import AVAILABLE
from dicomweb.archive.making import NATIVE_KINDS, Maker, made_format, made_with_loss, object_source, unused_bits
from dicomweb.archive.versions import is_bare
from dicomweb.errors import BadObject, Corrupt, NotAcceptable
from dicomweb.index import Held, Index
from dicomweb.standard import derivation, encode, part10, reencode
from dicomweb.standard.elements import Limits
from dicomweb.standard.frames import Layout
from dicomweb.standard.leniency import Dataset, Element
from dicomweb.standard.media import DEFLATED, EXPLICIT
from dicomweb.standard.syntaxes import syntax_of
from dicomweb.storage import Storage

MADE_AT_ONCE = 16
"""Of an object with at most so many frames all are made before it is described, so that its size is known."""

log = logging.getLogger(__name__)

_PREAMBLE = 132
_EXPLICIT_DATA = syntax_of(EXPLICIT)
_HOLE = 64 << 10
"""Values of at least so many bytes are not read for re-encoding; more than what `reencode` copies by range."""
_HEAD = 64 << 10


class Objects:
    """Describes whole objects.

    Args:
        storage, index: where they are, and what they say.
        maker: makes frames.
        copies: where inflated data sets are.
        limits: what an object may contain.
        zero_preamble: send 128 zeros instead of an object's own preamble (PS3.10 7.5).
        layout: finds the layout of an instance.
    """

    def __init__(
        self,
        storage: Storage,
        index: Index,
        maker: Maker,
        copies: Copies,
        limits: Limits,
        zero_preamble: bool,
        layout: Callable[[Held], Layout],
    ) -> None:
        self._storage = storage
        self._index = index
        self._maker = maker
        self._copies = copies
        self._limits = limits
        self._zero_preamble = zero_preamble
        self._layout = layout

    def copies(self, held: Held, syntax: str) -> bool:
        """Say whether this syntax is the stored one, so that nothing need be read to describe the object."""
        return syntax == held.syntax and not is_bare(held.key)

    def transcodes(self, held: Held, syntax: str) -> bool:
        """Say whether pixels have to be made in the workshop to send this object in this syntax."""
        known, stored = syntax_of(syntax), syntax_of(held.syntax)
        if not known.encapsulated and not stored.encapsulated:
            return False
        return syntax != held.syntax and self._layout(held).kind in {*NATIVE_KINDS, "encapsulated"}

    def segments(self, held: Held, syntax: str) -> tuple[Segment, ...]:
        """Return the object as a Part 10 file in a transfer syntax that `making.object_source` names.

        Raises:
            Corrupt: the stored object is not what it was when it was stored.
            Undecodable: its pixels cannot be transcoded.
            NotAcceptable: a data set cannot hold so many bytes of pixels.
            NotFound, Unavailable: storage does not give it.
        """
        if self.copies(held, syntax):
            return self._stored(held)
        try:
            if self.transcodes(held, syntax):
                return self._transcoded(held, syntax)
            if syntax == held.syntax:
                meta, start = self._head(held)
                head = encode.write_meta(held.sop_class, held.instance, syntax, meta)
                return (head, Stretch(held.key, start, held.size))
            if held.syntax == DEFLATED:
                key, size = self._inflated(held)
                meta, _ = self._head(held)
                head = encode.write_meta(held.sop_class, held.instance, EXPLICIT, meta)
                return (head, Stretch(key, 0, size))
            return self._reencoded(held)
        except BadObject as error:
            raise Corrupt("a stored object can no longer be read") from error

    def key(self, held: Held, layout: Layout) -> str:
        """Return the key of what the layout's ranges are in: the object, or its inflated data set."""
        return self._inflated(held)[0] if layout.derived else held.key

    def value(self, held: Held, layout: Layout, path: str) -> tuple[Segment, ...]:
        """Return a bulk value, little endian.

        Raises:
            NotFound: there is none at this path.
        """
        key = self.key(held, layout)
        spans = layout.bulk_spans(path)
        swap = layout.bulk[path].swap
        if swap:
            return tuple(self._swapped(key, start, stop, swap) for start, stop in spans)
        stretches = tuple(Stretch(key, start, stop) for start, stop in spans)
        checksum = layout.value_checksum(path) if self._storage.remote else None
        return stretches if checksum is None else (content.compared(self._storage, stretches, checksum),)

    def _stored(self, held: Held) -> tuple[Segment, ...]:
        if self._storage.remote:
            return (Made(held.size, lambda start, stop: self._compared(held, start, stop)),)
        return self._copied(held)

    def _compared(self, held: Held, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes [start, stop) of a stored object as it is sent; if that is all of it, compared with the digest.

        Raises:
            Corrupt: it is not what was stored.
        """
        if (start, stop) != (0, held.size):
            yield from content.read(self._storage, self._copied(held), start, stop)
            return
        for number, piece in enumerate(self._proven(held)):
            zeroed = not number and self._zero_preamble and piece[128:_PREAMBLE] == b"DICM"
            yield bytes(128) + piece[128:] if zeroed else piece

    def _proven(self, held: Held) -> Iterator[bytes]:
        """Yield a stored object, the last piece after a look at the digest of all."""
        digest = hashlib.sha256()
        waiting = b""
        for piece in content.read(self._storage, (Stretch(held.key, 0, held.size),)):
            if waiting:
                yield waiting
            digest.update(piece)
            waiting = piece
        if digest.digest() != held.digest:
            log.error("other bytes came for version %016x than were stored", held.version)
            raise Corrupt("the stored bytes of an instance are not those that were stored")
        yield waiting

    def _copied(self, held: Held) -> tuple[Segment, ...]:
        if not self._zero_preamble or held.size < _PREAMBLE:
            return (Stretch(held.key, 0, held.size),)
        return (
            Made(_PREAMBLE, lambda a, b: [self._zeroed(held)[a:b]]),
            Stretch(held.key, _PREAMBLE, held.size),
        )

    def _zeroed(self, held: Held) -> bytes:
        head = self._storage.read(held.key, 0, _PREAMBLE)
        return bytes(128) + head[128:] if head.endswith(b"DICM") else head

    def _reencoded(self, held: Held) -> tuple[Segment, ...]:
        meta, start = self._head(held)
        layout = self._layout(held)
        buffer = self._without_bulk(held.key, held.size, layout)
        made = reencode.explicit(
            buffer, start, held.size, syntax_of(held.syntax), held.sop_class, held.instance, meta,
            self._limits.depth, values=_ends(layout),
        )  # fmt: skip
        if isinstance(buffer, mmap.mmap):
            buffer.close()
        return self._pieces(held.key, made, ())

    def _pieces(self, key: str, made: reencode.Reencoded, pixels: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """What was re-encoded as segments, ranges taken from the object under the key."""
        segments: list[Segment] = []
        for piece in made.segments:
            if isinstance(piece, bytes):
                segments.append(piece)
            elif isinstance(piece, reencode.Place):
                segments += pixels
            elif piece.swap:
                segments.append(self._swapped(key, piece.start, piece.stop, piece.swap))
            else:
                segments.append(Stretch(key, piece.start, piece.stop))
        return tuple(segments)

    def _transcoded(self, held: Held, syntax: str) -> tuple[Segment, ...]:
        """The object with other pixels, and a data set that describes them (PS3.5 8.2, W-240)."""
        layout = self._layout(held)
        stored = _EXPLICIT_DATA if layout.derived else syntax_of(held.syntax)
        key = self.key(held, layout)
        size = self._storage.size(key) if layout.derived else held.size
        meta, start = self._head(held)
        uid = self._uid(held, layout, syntax)
        changed = self._changes(held, layout, syntax, orjson.loads(self._index.metadata([held.version])[0]))
        tag = int(layout.pixels, 16)
        changes = {**derivation.encoded(changed), tag: reencode.Place(tag)}
        buffer = self._without_bulk(key, size, layout)
        written = reencode.explicit(
            buffer, 0 if layout.derived else start, size, stored, held.sop_class, uid, meta, self._limits.depth,
            changes, syntax, _ends(layout), derivation.FIRSTS if uid != held.instance else None,
        )  # fmt: skip
        if isinstance(buffer, mmap.mmap):
            buffer.close()
        native = syntax == EXPLICIT
        pixels = self._native(held, layout, key, tag) if native else self._encapsulated(held, layout, key, tag, syntax)
        return self._pieces(key, written, pixels)

    def described(self, held: Held, syntax: str) -> Dataset:
        """Return the metadata of an instance as they describe it once it is in this transfer syntax (W-240);
        BulkDataURIs are relative. Where it cannot be made, as it is stored.

        Raises:
            Undecodable: its pixels cannot be transcoded.
        """
        dataset: Dataset = orjson.loads(self._index.metadata([held.version])[0])
        layout = self._layout(held)
        if syntax not in object_source(held.syntax, layout.kind, layout.format).makes:
            return dataset
        changed = self._changes(held, layout, syntax, dataset)
        if made_with_loss(layout, held.syntax, syntax):
            dataset |= derivation.derived_frames(dataset)
        made = {**dataset, **changed, AVAILABLE: {"vr": "UI", "Value": [syntax]}}
        return {tag: made[tag] for tag in sorted(made) if made[tag] is not None}

    def _uid(self, held: Held, layout: Layout, syntax: str) -> str:
        """What an instance is called in this transfer syntax (PS3.3 C.7.6.1.1.5)."""
        loses = made_with_loss(layout, held.syntax, syntax)
        return derivation.derived_uid(held.digest, syntax) if loses else held.instance

    def _changes(self, held: Held, layout: Layout, syntax: str, dataset: Dataset) -> dict[str, Element | None]:
        """What is different in the data set of an instance in this transfer syntax."""
        assert layout.format is not None
        loses = made_with_loss(layout, held.syntax, syntax)
        ratio = 1.0
        if loses:
            frame = self._maker.transcoded(held, layout, self.key(held, layout), 1, syntax)
            ratio = layout.format.frame_bits / 8 / len(frame)
        made = made_format(layout, held.syntax, syntax)
        uid = self._uid(held, layout, syntax)
        changed = derivation.changes(dataset, held.syntax, syntax, made, loses, uid, ratio)
        unused = unused_bits(layout, held.syntax, syntax)
        for group, bit in derivation.embedded_overlays(dataset).items():
            if bit in unused:
                plane = self._maker.plane(held, layout, self.key(held, layout), bit)
                changed |= derivation.lifted(group, plane, layout.count, made)
        return changed

    def _native(self, held: Held, layout: Layout, key: str, tag: int) -> tuple[Segment, ...]:
        """The pixel element, decoded (PS3.5 8.1)."""
        frames = self._maker.decoded(held, layout, key)
        size = total(frames)
        assert size is not None
        if size > encode.LONGEST:
            raise NotAcceptable(
                "decoded, the pixels are more than a data set can hold; ask for transfer-syntax=*, or for frames"
            )
        vr = "OB" if made_format(layout, held.syntax, EXPLICIT).allocated <= 8 else "OW"
        return (encode.header(tag, vr, size + (size & 1)), *frames, *([b"\0"] if size & 1 else []))

    def _encapsulated(self, held: Held, layout: Layout, key: str, tag: int, syntax: str) -> tuple[Segment, ...]:
        """The pixel element, one fragment a frame (PS3.5 A.4); without offsets where frames are made as they are
        sent."""

        def made() -> Iterator[bytes]:
            return (self._maker.transcoded(held, layout, key, number, syntax) for number in range(1, layout.count + 1))

        head = encode.header(tag, "OB", encode.UNDEFINED)
        if layout.count <= MADE_AT_ONCE:
            return (head, *encode.encapsulate(list(made())))
        return (head, Unsized(lambda: encode.encapsulate(made(), table=False)))

    def _swapped(self, key: str, start: int, stop: int, unit: int) -> Made:
        """Stored bytes [start, stop) with the bytes of each unit in reverse order (PS3.5 7.3)."""
        whole = reencode.Reencoded((reencode.Copy(start, stop, unit),), stop - start)

        def stored(first: int, last: int) -> Iterator[bytes]:
            return self._storage.stream(key, first, last, CHUNK)

        return Made(stop - start, lambda first, last: whole.pieces(stored, first, last))

    def _head(self, held: Held) -> tuple[Dataset, int]:
        """Read the File Meta group and where the data set begins."""
        head = part10.read_head(self._storage.read(held.key, 0, _HEAD), self._limits)
        return head.meta, head.start

    def _without_bulk(self, key: str, size: int, layout: Layout) -> bytes | mmap.mmap:
        """Return an object with holes where large values are: a map whose untouched pages cost nothing."""
        holes = sorted((value.start, value.stop) for value in layout.bulk.values() if value.stop - value.start >= _HOLE)
        if not holes:
            return self._storage.read(key)
        buffer = mmap.mmap(-1, size)
        place = 0
        for start, stop in [*holes, (size, size)]:
            if place < start:
                data = self._storage.read(key, place, start)
                buffer[place : place + len(data)] = data
            place = max(place, stop)
        return buffer

    # -- inflated copies ---------------------------------------------------------------------------------
    def _inflated(self, held: Held) -> tuple[str, int]:
        """Return key and size of the inflated data set; make it if it is not there."""

        def make(path: Path) -> None:
            _, start = self._head(held)
            self._inflate_to(path, _after(start, self._proven(held)))

        return self._copies.get("inflated", held, make)

    def _inflate_to(self, path: Path, deflated: Iterator[bytes]) -> None:
        inflate = zlib.decompressobj(-15)
        size = 0
        with path.open("wb") as file:
            for data in deflated:
                while data and not inflate.eof:
                    try:
                        piece = inflate.decompress(data, CHUNK)
                    except zlib.error as error:
                        raise Corrupt("the stored data set is no deflate stream") from error
                    data = inflate.unconsumed_tail
                    size += len(piece)
                    if size > self._limits.inflate:
                        raise Corrupt("the stored data set inflates to more than the limit")
                    file.write(piece)


def _after(start: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what follows the first `start` bytes."""
    for piece in pieces:
        if start < len(piece):
            yield piece[start:]
        start = max(0, start - len(piece))


def _ends(layout: Layout) -> dict[int, int]:
    """Where bulk values end, by where they begin."""
    return {value.start: value.stop for value in layout.bulk.values()}
