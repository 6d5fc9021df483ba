"""Retrieve: what there is under a resource, as contents that are described before they are read (PS3.18 10.4).

Nothing is parsed that was parsed at ingest: metadata comes serialized from the index, a frame is one index
lookup and ranged reads. Only data sets that may not be sent as they are (Implicit VR, Big Endian) have their
header written anew, and deflated ones have an inflated copy in storage, made when first needed.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import orjson

from dicomweb.archive import content
from dicomweb.archive.caches import Cache
from dicomweb.archive.content import Content, Segment
from dicomweb.archive.copies import Copies
from dicomweb.archive.making import Maker, object_source
from dicomweb.archive.objects import Objects
from dicomweb.archive.sealed import Seal, Sealer
from dicomweb.archive.zipped import Entry
from dicomweb.errors import Lost, NotFound, Undecodable
from dicomweb.index import Held, Index
from dicomweb.standard import dicomjson, nativexml, resources
from dicomweb.standard.elements import Limits
from dicomweb.standard.frames import Bulk, Layout
from dicomweb.standard.media import DICOM, OCTETS, XML, plain_name
from dicomweb.standard.negotiation import Source
from dicomweb.storage import Storage

PIXELS = ("7FE00010", "7FE00008", "7FE00009")
"""Top-level Pixel Data, Float and Double Float Pixel Data (PS3.18 10.4.3.3.6)."""

PREPARED = 16
"""Up to so many frames are made before an answer begins."""

LAYOUT_BYTES = 32 << 20
SEAL_BYTES = 64 << 20

# Types that a data set may give to its own bulk data and that no browser runs when it opens them.
_HARMLESS = {"application/pdf", "model/stl", "model/obj", "model/mtl", "application/dicom"}


class Retrieval:
    """The retrieve use cases.

    Args:
        storage, index: what is read.
        copies: where inflated data sets are.
        maker: makes frames in other transfer syntaxes.
        limits: what an object may contain.
        zero_preamble: send 128 zeros instead of an object's own preamble (PS3.10 7.5).
    """

    def __init__(
        self, storage: Storage, index: Index, copies: Copies, maker: Maker, limits: Limits, zero_preamble: bool = False
    ) -> None:
        self._storage = storage
        self._index = index
        self._layouts: Cache[int, Layout] = Cache(LAYOUT_BYTES)
        self._sealer = Sealer(index, SEAL_BYTES)
        self._maker = maker
        self._objects = Objects(storage, index, maker, copies, limits, zero_preamble, self.layout)

    # -- what there is -----------------------------------------------------------------------------------
    def members(self, study: str, series: str | None = None, instance: str | None = None) -> list[Held]:
        """Return the instances of a study or series in order, or one instance.

        Raises:
            NotFound, Gone: there is none, or no longer.
        """
        if series is not None and instance is not None:
            return [self._index.locate(study, series, instance)]
        return self._index.members(study, series)

    def locate(self, study: str, series: str, instance: str) -> Held:
        """Return one instance; see `Index.locate`."""
        return self._index.locate(study, series, instance)

    def layout(self, held: Held) -> Layout:
        """Return where the frames and bulk values of an instance lie; those used last are kept."""
        found = self._layouts.get(held.version)
        if found is None:
            data = self._index.layout(held.version)
            found = Layout.from_bytes(data)
            self._layouts.put(held.version, found, 4 * len(data) + 500)
        return found

    # -- reading -----------------------------------------------------------------------------------------
    def read(self, segments: Iterable[Segment], start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield bytes [start, stop) of segments; see `content.read`.

        Raises:
            Lost: an object that the index knows is not in storage.
            Unavailable: storage does not answer.
        """
        try:
            yield from content.read(self._storage, segments, start, stop)
        except NotFound as error:
            raise Lost("the stored bytes of an instance are missing") from error

    # -- whole instances ---------------------------------------------------------------------------------
    def source(self, held: Held, transcoded: bool) -> Source:
        """Say what can be made of a whole instance.

        Args:
            held: the instance.
            transcoded: other transfer syntaxes than the stored one matter, which costs a look at its layout.
        """
        if not transcoded:
            return object_source(held.syntax)
        layout = self.layout(held)
        return object_source(held.syntax, layout.kind, layout.format)

    def object(self, held: Held, syntax: str, otherwise: str = "") -> Content:
        """Describe an instance as a Part 10 file in a transfer syntax that `making.object_source` names
        (PS3.18 8.7.3.4).

        Args:
            held: the instance.
            syntax: to send it in.
            otherwise: transfer syntax to send it in if its pixels turn out to be undecodable; "" is none.

        Raises:
            Undecodable: its pixels cannot be transcoded, and nothing else will do.
        """
        if otherwise and otherwise != syntax and self.transcodes(held, syntax):
            try:
                layout = self.layout(held)
                self.prepare(held, layout, range(1, layout.count + 1), syntax)
                return self.object(held, syntax)
            except Undecodable:
                syntax = otherwise
        segments = self._objects.segments(held, syntax)
        return Content(DICOM, syntax, path_of(held), segments, content.total(segments), f"{held.instance}.dcm")

    def transcodes(self, held: Held, syntax: str) -> bool:
        """Say whether pixels have to be made to send an instance in this syntax."""
        return self._objects.transcodes(held, syntax)

    def copies(self, held: Held, syntax: str) -> bool:
        """Say whether sending an instance in this syntax is copying stored bytes, so that its size is known
        without reading anything."""
        return self._objects.copies(held, syntax)

    def entry(self, held: Held, syntax: str, otherwise: str = "") -> Entry:
        """Describe an instance as a file of a ZIP archive, in folders by study and series; UIDs are digits and
        dots, so that the names are safe and say nothing about anybody. See `object`."""
        described = self.object(held, syntax, otherwise)
        name = f"{held.study}/{held.series}/{held.instance}.dcm"
        return Entry(name, described.size, lambda: self.read(described.segments))

    # -- frames and bulk data ----------------------------------------------------------------------------
    def check_frames(self, layout: Layout, numbers: Iterable[int]) -> None:
        """Raise NotFound or NotAcceptable if these frames are not there to be sent (W-238)."""
        self._maker.check(layout)
        if max(numbers) > layout.count:
            frames = "1 frame" if layout.count == 1 else f"{layout.count:,} frames"
            raise NotFound(f"the instance has {frames}; there is no frame {max(numbers):,}")

    def frames(
        self, held: Held, layout: Layout, numbers: Iterable[int], media_type: str, syntax: str
    ) -> Iterator[Content]:
        """Describe frames one by one, in the order asked for (PS3.18 8.7.3.3).

        Args:
            held: the instance.
            layout: its layout.
            numbers: of the frames, from 1; repeats are repeated.
            media_type, syntax: what `negotiation.for_frames` chose.
        """
        key = self._objects.key(held, layout)
        above = f"{path_of(held)}/frames/"
        for number in numbers:
            segments = self._maker.frame(held, layout, key, number, syntax)
            yield Content(media_type, syntax, f"{above}{number}", segments, content.total(segments))

    def sizes_known(self, held: Held, layout: Layout, syntax: str) -> bool:
        """Say whether the sizes of frames in this syntax are known without making them."""
        return self._maker.sizes_known(layout, held.syntax, syntax)

    def ready(self, held: Held, layout: Layout, numbers: Iterable[int], syntax: str) -> bool:
        """Say whether these frames can be sent in this syntax without waiting for the workshop."""
        return all(self._maker.ready(held, layout, number, syntax) for number in numbers)

    def prepare(self, held: Held, layout: Layout, numbers: Iterable[int], syntax: str) -> None:
        """Make frames that are about to be sent, so that it shows whether they can be made; not more than `PREPARED`.

        Raises:
            Undecodable: one of them cannot be made.
        """
        if self._maker.transcodes(layout, held.syntax, syntax):
            key = self._objects.key(held, layout)
            for number in itertools.islice(numbers, PREPARED):
                self._maker.transcoded(held, layout, key, number, syntax)

    def pixel_key(self, held: Held, layout: Layout) -> str:
        """Return the key of what the ranges of frames are in."""
        return self._objects.key(held, layout)

    def decoded(self, held: Held, layout: Layout, media_type: str, syntax: str) -> Content:
        """Describe all compressed frames of an instance as one native value (W-083)."""
        segments = self._maker.decoded(held, layout, self._objects.key(held, layout))
        where = f"{path_of(held)}/bulkdata/{layout.pixels}"
        name = f"{held.instance}-{layout.pixels}"
        return Content(media_type, syntax, where, segments, content.total(segments), name)

    def value(self, held: Held, layout: Layout, path: str, media_type: str, syntax: str) -> Content:
        """Describe a bulk data value as one stream: a bare value, little endian; of compressed Pixel Data the
        fragments put together, as a video is sent (PS3.18 10.4.3.3.5, W-081).

        Args:
            held: the instance.
            layout: its layout.
            path: of the value, a key of `layout.bulk`.
            media_type, syntax: what `negotiation` chose.
        """
        segments = self._objects.value(held, layout, path)
        name = f"{held.instance}-{path.replace('/', '-')}"
        where = f"{path_of(held)}/bulkdata/{path}"
        return Content(media_type, syntax, where, segments, content.total(segments), name)

    # -- metadata ----------------------------------------------------------------------------------------
    def seals(self, members: Sequence[Held], base: str) -> Iterator[Seal]:
        """Yield the metadata of instances as seals; see `sealed.Sealer`."""
        return self._sealer.seals(members, lambda held: f"{base}/{path_of(held)}", base)

    def sealed(self, members: Sequence[Held], base: str) -> bool:
        """Say whether all seals of these instances are at hand."""
        return self._sealer.ready(members, base)

    def texts(self, members: Sequence[Held], base: str) -> Iterator[bytes]:
        """Yield the metadata of instances as JSON text with commas between, uncompressed."""
        return self._sealer.texts(members, lambda held: f"{base}/{path_of(held)}")

    def described(self, members: Iterable[Held], syntax: str, base: str) -> Iterator[bytes]:
        """Yield the metadata of instances as JSON text with commas between, as they describe what the instances are in
        this transfer syntax (extension; PS3.18 8.7.8.2 for the instances themselves).

        Raises:
            Undecodable: pixels cannot be transcoded.
        """
        for number, held in enumerate(members):
            if number:
                yield b","
            text = dicomjson.write(self._objects.described(held, syntax), ordered=True)
            yield dicomjson.absolute(text, f"{base}/{path_of(held)}")

    def documents(self, members: Iterable[Held], base: str, syntax: str = "") -> Iterator[Content]:
        """Describe the metadata of instances as Native DICOM XML, one document each (PS3.19 A.1); with a transfer
        syntax as they describe what the instances are in it."""
        for held in members:
            dataset = (
                self._objects.described(held, syntax) if syntax
                else orjson.loads(self._index.metadata([held.version])[0])
            )  # fmt: skip
            document = nativexml.write(dataset, f"{base}/{path_of(held)}")
            yield Content(XML, "", f"{path_of(held)}/metadata", (document,), len(document))


def path_of(held: Held) -> str:
    """Return the instance's path below the base URL, without a slash in front (W-214)."""
    return resources.instance_url("", held.study, held.series, held.instance)[1:]


def bulk_type(value: Bulk) -> str:
    """Return the media type of a bulk value that is no pixel data: what the data set calls it, as long as that
    is something that no browser runs, else application/octet-stream."""
    kind = plain_name(value.media_type)
    viewable = kind.startswith(("image/", "video/", "audio/")) and "svg" not in kind
    return kind if viewable or kind in _HARMLESS else OCTETS
