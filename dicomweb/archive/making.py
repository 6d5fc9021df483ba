"""What can be made of stored pixels, and making it.

The one place that knows which transfer syntaxes an instance and its frames can go out in besides the stored
one. Little endian pixels of what is not compressed are ranges of the stored bytes, or a little arithmetic; the rest
is decoded and encoded frame by frame in the workshop, and kept on the shelf. A request for one frame touches one frame.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial

from dicomweb.archive import content
from dicomweb.archive.content import Made, Segment, Stretch
from dicomweb.archive.near import Near
from dicomweb.archive.shelf import Section
from dicomweb.errors import NotAcceptable, NotFound, Undecodable
from dicomweb.imaging.targets import PLAIN, described, loses, targets
from dicomweb.index import Held
from dicomweb.standard.frames import Layout, joined
from dicomweb.standard.negotiation import Source
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT, syntax_of
from dicomweb.storage import Storage
from dicomweb.workshop import Lent, Workshop

NATIVE_KINDS = {"native", "bits"}

REVISION = 3
"""Counts changes in how the same pixels are encoded, so that nothing kept from before is taken for the same."""


@lru_cache(maxsize=1024)
def object_source(syntax: str, kind: str = "none", format: Format | None = None) -> Source:
    """Say what can be made of a whole instance (PS3.18 8.7.3.4).

    Args:
        syntax: transfer syntax as stored.
        kind: of its layout.
        format: of its frames; None where it does not matter, since nothing is to be transcoded.
    """
    known = syntax_of(syntax)
    # Neither Implicit VR, in whichever of its syntaxes, nor Big Endian is legal on the web (W-011).
    sent = IMPLICIT if known.implicit else BIG_ENDIAN if known.big_endian else syntax
    return Source(
        sent,
        native=bool(known.name) and not known.encapsulated,
        lossy=known.lossy is not False,
        video=known.video,
        makes=_made_of(syntax, kind, format),
    )


@lru_cache(maxsize=1024)
def pixel_source(syntax: str, kind: str, format: Format | None) -> Source:
    """Say what can be made of the pixels of an instance (PS3.18 8.7.3.3).

    Args:
        syntax: transfer syntax as stored.
        kind: of its layout.
        format: of its frames; None where they cannot be decoded.
    """
    known = syntax_of(syntax)
    return Source(
        syntax,
        native=kind in NATIVE_KINDS,
        lossy=known.lossy is not False,
        video=kind == "video" or known.video,
        makes=_made_of(syntax, kind, format),
    )


def _made_of(syntax: str, kind: str, format: Format | None) -> frozenset[str]:
    if format is None or kind not in {*NATIVE_KINDS, "encapsulated"}:
        return frozenset()
    return targets(EXPLICIT if kind in NATIVE_KINDS else syntax, format)


class Maker:
    """Makes frames.

    Args:
        storage: where the stored bytes are.
        workshop: where pixels are decoded and encoded.
        section: of the shelf, where what was made or fetched again is kept.
        most_pixels: of a frame that is decoded.
    """

    def __init__(self, storage: Storage, workshop: Workshop, section: Section, most_pixels: int) -> None:
        self._storage = storage
        self._workshop = workshop
        self._section = section
        self._most_pixels = most_pixels
        self._near = Near(storage, section)

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

    def transcodes(self, layout: Layout, stored: str, wanted: str) -> bool:
        """Say whether frames in this syntax have to be made in the workshop, not only read."""
        return wanted != (EXPLICIT if layout.kind in NATIVE_KINDS else stored)

    def sizes_known(self, layout: Layout, stored: str, wanted: str) -> bool:
        """Say whether the size of a frame is known without making it."""
        return wanted == EXPLICIT or not self.transcodes(layout, stored, wanted)

    def ready(self, held: Held, layout: Layout, number: int, wanted: str) -> bool:
        """Say whether a frame can be had without waiting for the workshop."""
        if not self.transcodes(layout, held.syntax, wanted):
            return True
        return self._section.find(held, _form(number, wanted)) is not None

    def frame(self, held: Held, layout: Layout, key: str, number: int, wanted: str) -> tuple[Segment, ...]:
        """Return one frame in a form that `pixel_source` names.

        Args:
            held: the instance.
            layout: of the instance.
            key: of the object that the layout's ranges are in.
            number: of the frame, from 1.
            wanted: transfer syntax to send it in.

        Raises:
            NotFound: there is no such frame.
            Undecodable: it cannot be made.
        """
        if self.transcodes(layout, held.syntax, wanted):
            layout.spans(number)
            if wanted != EXPLICIT:
                return (self.transcoded(held, layout, key, number, wanted),)

            def decoded(start: int, stop: int) -> list[bytes]:
                return [self.transcoded(held, layout, key, number, wanted)[start:stop]]

            return (Made((_decoded_bits(layout, held.syntax) + 7) // 8, decoded),)
        if layout.swap or layout.kind == "bits":
            size = layout.frame_size(number)
            return (Made(size, lambda start, stop: [self.stored(layout, key, number)[start:stop]]),)
        return self._near.frame(held, layout, key, number)

    def stored(self, layout: Layout, key: str, number: int) -> bytes:
        """Return one frame as it is stored, little endian if it is native.

        Raises:
            Corrupt: other bytes came than were stored.
        """
        return layout.finish(number, content.whole(self._storage, self._near.read(layout, key, number)))

    def lent(self, layout: Layout, key: str, number: int) -> bytes | Lent:
        """Return one frame for the workshop: as `stored`, or where it lies in a file of this machine.

        Raises:
            Corrupt: as `stored`.
        """
        segments = self._near.read(layout, key, number)
        opener = self._storage.opener
        if opener is not None and len(segments) == 1 and isinstance(segments[0], Stretch):
            place, start, stop = segments[0]
            if layout.lies_ready(number, stop - start):
                return Lent(partial(opener, place, stop - start), start, stop)
        return layout.finish(number, content.whole(self._storage, segments))

    def transcoded(self, held: Held, layout: Layout, key: str, number: int, wanted: str) -> bytes:
        """Return one frame in another transfer syntax than the stored one, made now or before.

        Raises:
            Undecodable: it cannot be made.
        """

        def make() -> bytes:
            data = self.lent(layout, key, number)
            stored = stored_form(layout, held.syntax)
            try:
                return self._workshop.run(
                    "dicomweb.imaging.transcode", "transcode",
                    data, stored, layout.format, wanted, None, self._most_pixels,
                )  # fmt: skip
            except Undecodable as error:
                raise Undecodable(
                    f"{str(error).rstrip('.')}; transfer-syntax=* asks for it as it is stored, in {held.syntax}"
                ) from error

        return self._section.get(held, _form(number, wanted), make)

    def plane(self, held: Held, layout: Layout, key: str, bit: int) -> bytes:
        """Return one bit of each sample of all frames, packed without padding between them (PS3.5 8.1.2).

        Raises:
            Undecodable: they cannot be read.
        """
        assert layout.format is not None
        form = stored_form(layout, held.syntax)
        planes = (
            self._workshop.run(
                "dicomweb.imaging.plain", "plane", self.lent(layout, key, number), form, layout.format, bit
            )
            for number in range(1, layout.count + 1)
        )
        return b"".join(joined(planes, layout.format.rows * layout.format.columns))

    def decoded(self, held: Held, layout: Layout, key: str) -> tuple[Segment, ...]:
        """Return all frames as one native value (PS3.5 8.1.1, W-083); of 1 bit a pixel they join without padding.

        Raises:
            Undecodable: they cannot be decoded.
        """
        numbers = range(1, layout.count + 1)
        bits = _decoded_bits(layout, held.syntax)
        if bits % 8 == 0 or layout.count == 1:
            return tuple(segment for number in numbers for segment in self.frame(held, layout, key, number, EXPLICIT))

        def pieces(start: int, stop: int) -> Iterator[bytes]:
            frames = (self.transcoded(held, layout, key, number, EXPLICIT) for number in numbers)
            return _cut(joined(frames, bits), start, stop)

        return (Made((bits * layout.count + 7) // 8, pieces),)


def stored_form(layout: Layout, stored: str) -> str:
    """Return the transfer syntax that frames are in once they are read: native ones are little endian then."""
    return EXPLICIT if layout.kind in NATIVE_KINDS else stored


def made_format(layout: Layout, stored: str, wanted: str) -> Format:
    """Return what the frames of an instance are once they are in another transfer syntax."""
    assert layout.format is not None
    return described(layout.format, stored_form(layout, stored), wanted)


def made_with_loss(layout: Layout, stored: str, wanted: str) -> bool:
    """Say whether frames lose something on their way into another transfer syntax."""
    assert layout.format is not None
    return loses(stored_form(layout, stored), layout.format, wanted)


def unused_bits(layout: Layout, stored: str, wanted: str) -> frozenset[int]:
    """Return the bits of a cell that are none of its sample, and that frames lose on their way into a codestream."""
    format = layout.format
    assert format is not None
    if format.samples != 1 or format.kind != "integer" or format.allocated == 1:
        return frozenset()
    if wanted in PLAIN or stored_form(layout, stored) not in PLAIN:
        return frozenset()
    return frozenset(range(format.allocated)) - set(range(format.high - format.stored + 1, format.high + 1))


def _decoded_bits(layout: Layout, stored: str) -> int:
    return made_format(layout, stored, EXPLICIT).frame_bits


def _form(number: int, wanted: str) -> str:
    """All that decides about the bytes beside the object: the frame, the syntax, how we encode."""
    return f"frame {number} {wanted} {REVISION}"


def _cut(pieces: Iterable[bytes], start: int, stop: int) -> Iterator[bytes]:
    """Bytes [start, stop) of pieces put together."""
    place = 0
    for piece in pieces:
        first, last = max(start - place, 0), min(stop - place, len(piece))
        place += len(piece)
        if first < last:
            yield piece[first:last]
        if place >= stop:
            return
