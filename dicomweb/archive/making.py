"""What can be made of stored pixels, and making it.

The one place that knows which transfer syntaxes an instance and its frames can go out in besides the stored
one; it grows when pixels can be decoded and transcoded. Until then: little endian pixels of everything that is
not compressed, whatever its byte order and packing, and of frames that are only deflated (PS3.5 A.4.12).
"""

import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

from dicomweb.archive.content import Made, Segment, Stretch
from dicomweb.errors import Corrupt, NotAcceptable, NotFound
from dicomweb.standard.frames import Layout
from dicomweb.standard.negotiation import Source
from dicomweb.standard.syntaxes import BIG_ENDIAN, DEFLATED_FRAME, EXPLICIT, IMPLICIT, syntax_of
from dicomweb.storage import Storage

NATIVE_KINDS = {"native", "bits"}


@lru_cache(maxsize=256)
def object_source(syntax: str) -> Source:
    """Say what can be made of a whole instance stored in a transfer syntax (PS3.18 8.7.3.4)."""
    known = syntax_of(syntax)
    # Neither Implicit VR, in whichever of its syntaxes, nor Big Endian is legal on the web (W-011).
    syntax = IMPLICIT if known.implicit else BIG_ENDIAN if known.big_endian else syntax
    return Source(
        syntax,
        native=bool(known.name) and not known.encapsulated,
        lossy=known.lossy is not False,
        video=known.video,
    )


@lru_cache(maxsize=256)
def pixel_source(syntax: str, kind: str) -> Source:
    """Say what can be made of the pixels of an instance (PS3.18 8.7.3.3).

    Args:
        syntax: transfer syntax as stored.
        kind: of its layout.
    """
    known = syntax_of(syntax)
    return Source(
        syntax,
        native=kind in NATIVE_KINDS,
        lossy=known.lossy is not False,
        video=kind == "video" or known.video,
        makes=frozenset({EXPLICIT}) if syntax == DEFLATED_FRAME else frozenset(),
    )


class Maker:
    """Makes frames.

    Args:
        storage: where the stored bytes are.
        inflate_bytes: most bytes of one inflated frame.
    """

    def __init__(self, storage: Storage, inflate_bytes: int) -> None:
        self._storage = storage
        self._inflate_bytes = inflate_bytes

    def check(self, layout: Layout) -> None:
        """Raise what answers a request for frames of something that has none one could tell apart.

        Raises:
            NotFound: the instance has no pixels.
            NotAcceptable: its pixels are one stream.
        """
        if layout.kind == "none":
            raise NotFound("the instance has no frames: it has no pixel data")
        if layout.kind == "video":
            raise NotAcceptable("a video has no frames that can be sent one by one; its stream is at .../pixeldata")
        if layout.kind == "opaque":
            raise NotAcceptable(
                "where one frame ends and the next begins cannot be told in this instance; its pixels are at"
                " .../pixeldata, the whole of it at the instance's own URL"
            )

    def sizes_known(self, stored: str, wanted: str) -> bool:
        """Say whether the size of a frame is known without making it."""
        return stored != DEFLATED_FRAME or wanted != EXPLICIT

    def frame(self, layout: Layout, key: str, number: int, stored: str, wanted: str) -> tuple[Segment, ...]:
        """Return the bytes of one frame in a form that `pixel_source` names.

        Args:
            layout: of the instance.
            key: of the object that the layout's ranges are in.
            number: of the frame, from 1.
            stored: transfer syntax as stored.
            wanted: transfer syntax to send it in.

        Raises:
            NotFound: there is no such frame.
        """
        if stored == DEFLATED_FRAME and wanted == EXPLICIT:
            return (self._inflated(self._read(key, layout.spans(number))),)
        size = layout.frame_size(number)
        if layout.swap or layout.kind == "bits":
            return (Made(size, lambda start, stop: [self._finished(layout, key, number)[start:stop]]),)
        segments = []
        for start, stop in _joined(layout.spans(number)):
            stop = min(stop, start + size)  # what lies behind an uncompressed frame is padding
            if start < stop:
                segments.append(Stretch(key, start, stop))
                size -= stop - start
        return tuple(segments)

    def _finished(self, layout: Layout, key: str, number: int) -> bytes:
        return layout.finish(number, self._read(key, layout.spans(number)))

    def _read(self, key: str, spans: Iterable[tuple[int, int]]) -> bytes:
        return b"".join(self._storage.read(key, start, stop) for start, stop in _joined(spans))

    def _inflated(self, data: bytes) -> bytes:
        inflate = zlib.decompressobj(-15)
        try:
            frame = inflate.decompress(data, self._inflate_bytes)
        except zlib.error as error:
            raise Corrupt("the stored frame is no deflate stream") from error
        if inflate.unconsumed_tail:
            raise NotAcceptable("the inflated frame would be larger than the limit; ask for it as stored")
        return frame


def _joined(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Put ranges together that touch."""
    current: tuple[int, int] | None = None
    for start, stop in spans:
        if current is not None and current[1] == start:
            current = (current[0], stop)
            continue
        if current is not None:
            yield current
        current = (start, stop)
    if current is not None:
        yield current
