"""A whole stored object on its way out: as it is, re-encoded, or inflated (PS3.18 8.7.3.4, DESIGN).

As it is, is copying. Implicit VR and Big Endian data sets have their header written anew as Explicit VR Little
Endian; the object is read but for its large values, which are copied by range, so that memory does not grow
with it. A deflated data set has an inflated copy beside the objects, made when first needed, named by the
version, and safe to remove at any time.
"""

import hashlib
import mmap
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from dicomweb.archive.content import CHUNK, Made, Segment, Stretch
from dicomweb.archive.spool import Spool
from dicomweb.archive.versions import is_bare
from dicomweb.errors import AlreadyStored, BadObject, Corrupt, NotFound
from dicomweb.index import Held
from dicomweb.standard import encode, part10, reencode
from dicomweb.standard.elements import Limits
from dicomweb.standard.frames import Layout
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.media import DEFLATED, EXPLICIT
from dicomweb.standard.syntaxes import syntax_of
from dicomweb.storage import Put, Storage

INFLATED = "cache/inflated/"
"""Prefix of the keys of inflated data sets."""

_PREAMBLE = 132
_HOLE = 64 << 10
"""Values of at least so many bytes are not read for re-encoding; more than what `reencode` copies by range."""
_HEAD = 64 << 10


class Objects:
    """Describes whole objects.

    Args:
        storage: where they are.
        spool: where a data set is inflated to before it is put.
        limits: what an object may contain.
        zero_preamble: send 128 zeros instead of an object's own preamble (PS3.10 7.5).
        layout: finds the layout of an instance.
    """

    def __init__(
        self,
        storage: Storage,
        spool: Spool,
        limits: Limits,
        zero_preamble: bool,
        layout: Callable[[Held], Layout],
    ) -> None:
        self._storage = storage
        self._spool = spool
        self._limits = limits
        self._zero_preamble = zero_preamble
        self._layout = layout

    def copies(self, held: Held, syntax: str) -> bool:
        """Say whether this syntax is the stored one, so that nothing need be read to describe the object."""
        return syntax == held.syntax and not is_bare(held.key)

    def segments(self, held: Held, syntax: str) -> tuple[Segment, ...]:
        """Return the object as a Part 10 file in a transfer syntax that `making.object_source` names.

        Raises:
            Corrupt: the stored object is not what it was when it was stored.
            NotFound, Unavailable: storage does not give it.
        """
        if self.copies(held, syntax):
            return self._stored(held)
        try:
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
        return tuple(Stretch(key, start, stop) for start, stop in spans)

    def _stored(self, held: Held) -> tuple[Segment, ...]:
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
        buffer = self._without_bulk(held)
        made = reencode.explicit(
            buffer, start, held.size, syntax_of(held.syntax), held.sop_class, held.instance, meta,
            self._limits.depth,
        )  # fmt: skip
        if isinstance(buffer, mmap.mmap):
            buffer.close()
        return tuple(
            segment if isinstance(segment, bytes)
            else self._swapped(held.key, segment.start, segment.stop, segment.swap) if segment.swap
            else Stretch(held.key, segment.start, segment.stop)
            for segment in made.segments
        )  # fmt: skip

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

    def _without_bulk(self, held: Held) -> bytes | mmap.mmap:
        """Return the object with holes where large values are: a map whose untouched pages cost nothing."""
        holes = sorted(
            (value.start, value.stop) for value in self._layout(held).bulk.values() if value.stop - value.start >= _HOLE
        )
        if not holes:
            return self._storage.read(held.key)
        buffer = mmap.mmap(-1, held.size)
        place = 0
        for start, stop in [*holes, (held.size, held.size)]:
            if place < start:
                data = self._storage.read(held.key, place, start)
                buffer[place : place + len(data)] = data
            place = max(place, stop)
        return buffer

    # -- inflated copies ---------------------------------------------------------------------------------
    def _inflated(self, held: Held) -> tuple[str, int]:
        """Return key and size of the inflated data set; make it if it is not there."""
        key = f"{INFLATED}{held.version:016x}"
        try:
            return key, self._storage.size(key)
        except NotFound:
            return key, self._inflate(held, key)

    def _inflate(self, held: Held, key: str) -> int:
        _, start = self._head(held)
        path = self._spool.scratch()
        try:
            size, digest = self._inflate_to(path, self._storage.stream(held.key, start, None, CHUNK))
            (problem,) = self._storage.put([Put(key, path, digest)])
            if problem is not None and not isinstance(problem, AlreadyStored):
                raise problem
            return size
        finally:
            path.unlink(missing_ok=True)

    def _inflate_to(self, path: Path, deflated: Iterator[bytes]) -> tuple[int, bytes]:
        inflate = zlib.decompressobj(-15)
        digest = hashlib.sha256()
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
                    digest.update(piece)
                    file.write(piece)
        return size, digest.digest()
