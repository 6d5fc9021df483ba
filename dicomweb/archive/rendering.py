"""Rendered resources: what people look at instead of the object itself (PS3.18 10.4.1.1.3, 10.4.3.3.3, 8.7.4).

Every object has something to show: images and presentation states are pictures, videos are streams that browsers
play, reports are pages, waveforms are drawings, encapsulated documents are what was encapsulated, and of whatever
else there is a page of its attributes. What costs much is drawn in the workshop and kept on the shelf.
"""

import functools
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import orjson

from dicomweb.archive.caches import Cache
from dicomweb.archive.content import Content, Segment, Stretch, total
from dicomweb.archive.copies import Copies
from dicomweb.archive.making import Maker, stored_form
from dicomweb.archive.retrieve import Retrieval, path_of
from dicomweb.archive.shelf import Section, Shelf
from dicomweb.errors import BadRequest, NotFound, Undecodable
from dicomweb.imaging import choosing, direct, encapsulated, listing, looks, reports, states, video, waveforms
from dicomweb.imaging import content as content_trees
from dicomweb.imaging.choosing import Candidate
from dicomweb.imaging.looks import Look
from dicomweb.imaging.states import State
from dicomweb.index import Held, Index
from dicomweb.standard.frames import Layout
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.pixels import number as number_of
from dicomweb.standard.rendering import PICTURES, Rendering
from dicomweb.workshop import Workshop

Nature: TypeAlias = Literal["picture", "video", "state", "waveform", "document", "report", "listing"]

REVISION = 1
"""Counts changes in how the same object is drawn, so that nothing kept from before is taken for the same."""

DATASET_BYTES = 64 << 20
BULK_BYTES = 64 << 20
"""Bytes of one bulk value (a table, an overlay, a waveform) that is read for drawing at most."""

MOST_FRAMES = 500
"""Frames of an animation at most."""

_PARSED = 8  # bytes of a parsed data set for each of its text
_ENDINGS = {
    "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/jp2": "jp2", "image/jph": "jph",
    "image/jxl": "jxl", "image/svg+xml": "svg", "text/html": "html", "text/plain": "txt",
}  # fmt: skip
_PAGES = ("text/html", "text/plain")
_DRAWINGS = ("image/svg+xml", "image/png", "image/jpeg")
_PICTURED = {"native", "bits", "encapsulated"}


class Part(NamedTuple):
    """One picture of several: an instance, one of its frames, and the state that shows it, if any."""

    held: Held
    number: int
    state: State | None = None
    by: bytes = b""


def alike(members: Iterable[Held]) -> list[list[Held]]:
    """Put instances together that are of one kind: of one series, SOP class and transfer syntax."""
    groups: dict[tuple[str, str, str], list[Held]] = {}
    for held in members:
        groups.setdefault((held.series, held.sop_class, held.syntax), []).append(held)
    return list(groups.values())


def middle(group: Sequence[Held]) -> Held:
    """Return the instance in the middle, which speaks for those that are alike."""
    return group[len(group) // 2]


class Renderer:
    """Renders instances.

    Args:
        index: what objects say.
        retrieval: finds instances and their layouts.
        maker: reads frames.
        workshop: where pictures are drawn.
        shelf: where they are kept.
        section: of the shelf, for those that show an object.
        copies: where repacked videos are.
        most_pixels: of a frame, and of a picture.
    """

    def __init__(
        self,
        index: Index,
        retrieval: Retrieval,
        maker: Maker,
        workshop: Workshop,
        shelf: Shelf,
        section: Section,
        copies: Copies,
        most_pixels: int,
    ) -> None:
        self._index = index
        self._retrieval = retrieval
        self._maker = maker
        self._workshop = workshop
        self._shelf = shelf
        self._section = section
        self._copies = copies
        self.most_pixels = most_pixels
        self._datasets: Cache[int, Dataset] = Cache(DATASET_BYTES)
        self._plays_all = importlib.util.find_spec("av") is not None

    # -- what there is -----------------------------------------------------------------------------------
    def nature(self, held: Held) -> Nature:
        """Say what an instance is for the eye."""
        layout = self._retrieval.layout(held)
        if layout.kind in _PICTURED:
            return "picture"
        if layout.kind == "video":
            return "video"
        if states.is_state(held.sop_class):
            return "state"
        dataset = self.dataset(held)
        if waveforms.has_waveforms(dataset):
            return "waveform"
        if encapsulated.read(dataset) is not None:
            return "document"
        return "report" if content_trees.has_content(dataset) else "listing"

    def media_types(self, held: Held) -> tuple[str, ...]:
        """Return the media types that an instance can be rendered as, the default first (PS3.18 Table 8.7.4-1)."""
        nature = self.nature(held)
        if nature in ("picture", "state"):
            return PICTURES
        if nature == "video":
            return (self._stream_type(held), *(PICTURES if self._plays_all else ()))
        if nature == "waveform":
            return _DRAWINGS
        if nature == "document":
            document = encapsulated.read(self.dataset(held))
            assert document is not None
            return (document.media_type,)
        return _PAGES

    def representative(self, members: Sequence[Held]) -> tuple[Held, int]:
        """Choose the instance and frame that stand for a series or study (R32). Of instances that are alike one is
        looked at, so that a series of a thousand images costs as much as one of ten."""
        found: list[Held] = []
        candidates = []
        for group in alike(members):
            layout = self._retrieval.layout(middle(group))
            found += group
            candidates += [
                Candidate(held.sop_class, held.number or 0, layout.count, layout.kind, held.series, held.instance)
                for held in group
            ]
        choice = choosing.representative(candidates)
        assert choice is not None
        held = found[choice.place]
        return held, choosing.middle_frame(self._retrieval.layout(held).count)

    def parts(self, held: Held) -> list[Part]:
        """Return the pictures that an image or a presentation state consists of, in order.

        Raises:
            NotFound: none of the images that a state shows is here.
            NotAcceptable: the state is of a kind that is not drawn.
        """
        if self.nature(held) != "state":
            return [Part(held, number) for number in range(1, self._retrieval.layout(held).count + 1)]
        return self.shown(held, None)

    def shown(self, state: Held, image: Held | None) -> list[Part]:
        """Return what a presentation state shows: all of it, or of one image (W-149).

        Raises:
            NotFound: nothing of it is here.
            NotAcceptable: as `parts`.
        """
        read = states.read_state(self.dataset(state), self._fetch(state))
        found = []
        for reference in read.references:
            if image is not None and reference.instance != image.instance:
                continue
            try:
                held = self._retrieval.locate(state.study, reference.series, reference.instance)
            except NotFound:
                continue
            layout = self._retrieval.layout(held)
            if layout.kind in _PICTURED:
                numbers = reference.frames or range(1, layout.count + 1)
                found += [Part(held, number, read, state.digest) for number in numbers if number <= layout.count]
        if not found:
            raise NotFound("none of the images that the presentation state shows is here")
        return sorted(found, key=lambda part: states.position_of(self.dataset(part.held), part.number))

    def check_frames(self, held: Held, numbers: Sequence[int]) -> None:
        """Raise what answers a request for pictures of frames that are not there; a video has frames here, as many as
        it says, if it does.

        Raises:
            NotFound, NotAcceptable: as `Retrieval.check_frames`.
        """
        layout = self._retrieval.layout(held)
        if layout.kind != "video" or not self._plays_all:
            self._retrieval.check_frames(layout, numbers)
            return
        count = number_of(self.dataset(held), "00280008", 0)
        if count and max(numbers) > count:
            raise NotFound(f"the video has {count:,} frames; there is no frame {max(numbers):,}")

    # -- pictures ----------------------------------------------------------------------------------------
    def picture(self, part: Part, rendering: Rendering) -> Content:
        """Draw one frame.

        Raises:
            Undecodable: its pixels cannot be decoded.
            BadRequest: the rendering does not fit the frame.
        """
        held, number = part.held, part.number
        layout = self._retrieval.layout(held)

        name = f"drawn {number} {part.by.hex()} {rendering!r} {REVISION}"
        data = self._section.find(held, name)
        if data is None and part.state is None and direct.may_draw(layout.kind, layout.format, rendering):
            data = self._drawn_here(part, layout, name, rendering)
        if data is None:
            data = self._section.get(held, name, lambda: self._drawn(part, layout, rendering))
        frames = f"/frames/{number}" if layout.count > 1 or layout.kind == "video" else ""
        what = "thumbnail" if rendering.thumbnail else "rendered"
        return self._content(held, rendering.media_type, data, f"{frames}/{what}", number if frames else 0)

    def _drawn(self, part: Part, layout: Layout, rendering: Rendering) -> bytes:
        held = part.held
        if layout.kind == "video":
            return self._still(held, layout, part.number - 1, rendering)
        data = self._maker.lent(layout, self._retrieval.pixel_key(held, layout), part.number)
        work = (data, stored_form(layout, held.syntax), layout.format, self._look(part, rendering), rendering)
        return self._workshop.run("dicomweb.imaging.render", "render", *work, self.most_pixels)

    def _drawn_here(self, part: Part, layout: Layout, name: str, rendering: Rendering) -> bytes | None:
        """Draw a frame in this process; None where its look is not plain enough. It is kept in memory alone: a file
        costs as much as drawing it again."""
        look = self._look(part, rendering)
        if layout.format is None or not direct.is_plain(look):
            return None
        stored, format = stored_form(layout, part.held.syntax), layout.format

        def make() -> bytes:
            data = self._frame(part.held, layout, part.number)
            return direct.draw(data, stored, format, look, rendering, self.most_pixels)

        return self._section.get(part.held, name, make, files=False)

    def animation(self, parts: Sequence[Part], rendering: Rendering) -> Content:
        """Draw frames of one instance as a moving picture.

        Raises:
            Undecodable: they cannot be decoded.
            BadRequest: there are too many of them.
        """
        held = parts[0].held
        layout = self._retrieval.layout(held)
        if len(parts) > MOST_FRAMES:
            raise BadRequest(f"an animation of more than {MOST_FRAMES} frames is not made; ask for some of the frames")

        def make() -> bytes:
            frames = [(self._frame(held, layout, part.number), self._look(part, rendering)) for part in parts]
            seconds = looks.frame_seconds(self.dataset(held), len(parts))
            work = (frames, stored_form(layout, held.syntax), layout.format, rendering, seconds)
            return self._workshop.run("dicomweb.imaging.render", "render_many", *work, self.most_pixels)

        numbers = ",".join(str(part.number) for part in parts)
        name = f"moving {numbers} {parts[0].by.hex()} {rendering!r} {REVISION}"
        return self._content(held, rendering.media_type, self._section.get(held, name, make), "/rendered")

    def thumbnail(self, held: Held, number: int | None, rendering: Rendering) -> Content:
        """Draw a thumbnail: of a frame, of a video, of waveforms, or else an icon (PS3.18 10.4.3.3.4, W-234).

        Args:
            held: the instance.
            number: of the frame; None is the one in the middle.
            rendering: how it is wanted.
        """
        layout = self._retrieval.layout(held)
        try:
            return self._thumbnail(held, layout, number or choosing.middle_frame(layout.count), rendering, bool(number))
        except Undecodable:
            size = (rendering.viewport.width, rendering.viewport.height) if rendering.viewport else None
            icon = choosing.icon_of(held.sop_class, layout.kind)
            name = f"icon {icon} {size} {rendering.media_type} {REVISION}"
            drawn = functools.partial(
                self._workshop.run, "dicomweb.imaging.thumbnails", "icon", icon, size, rendering.media_type
            )
            return self._content(held, rendering.media_type, self._shelf.get(name, drawn), "/thumbnail")

    def _thumbnail(self, held: Held, layout: Layout, number: int, rendering: Rendering, asked: bool) -> Content:
        nature = self.nature(held)
        if nature == "picture" or (nature == "video" and asked and self._plays_all):
            return self.picture(Part(held, number), rendering)
        name = f"thumbnail {rendering!r} {REVISION}"
        if nature == "video" and self._plays_all:
            data = self._section.get(held, name, lambda: self._poster(held, layout, rendering))
        elif nature == "waveform":
            data = self._section.get(held, name, lambda: self._tracing("thumbnails", "tracing", held, rendering))
        else:
            raise Undecodable("the instance has no picture")
        return self._content(held, rendering.media_type, data, "/thumbnail")

    # -- everything else ---------------------------------------------------------------------------------
    def other(self, held: Held, rendering: Rendering, link: reports.Link = reports.nothing) -> Content:
        """Render what is no picture: a video, a report, waveforms, a document, a page of attributes.

        Args:
            held: the instance.
            rendering: how it is wanted; `media_types` has its media type.
            link: gives the URL of what a report refers to.

        Raises:
            Undecodable: it cannot be drawn.
        """
        nature = self.nature(held)
        if nature == "video":
            return self._video(held, rendering)
        dataset = self.dataset(held)
        if nature == "document":
            return self._document(held, dataset)
        if nature == "waveform":
            return self._waveform(held, rendering)
        plain = rendering.media_type == "text/plain"
        if nature == "report":
            data = reports.text(dataset) if plain else reports.html(dataset, link)
        else:
            data = listing.text(dataset) if plain else listing.html(dataset)
        return self._content(held, f"{rendering.media_type}; charset=utf-8", data, "/rendered")

    def _waveform(self, held: Held, rendering: Rendering) -> Content:
        name = f"waveform {rendering!r} {REVISION}"
        if rendering.media_type == "image/svg+xml":
            data = self._section.get(
                held, name, lambda: self._tracing("tracings", "svg", held, "patient" in rendering.annotation)
            )
        elif rendering.media_type == "image/png" and rendering.viewport is None:
            data = self._section.get(held, name, lambda: self._tracing("tracings", "png", held))
        else:
            data = self._section.get(held, name, lambda: self._tracing("thumbnails", "tracing", held, rendering))
        return self._content(held, rendering.media_type, data, "/rendered")

    def _tracing(self, module: str, function: str, held: Held, *more: object) -> bytes:
        dataset = self.dataset(held)
        layout = self._retrieval.layout(held)
        bulk = {
            path: b"".join(self._retrieval.read(self._bulk(held, layout, path), 0, BULK_BYTES))[:size]
            for path, size in waveforms.wanted(dataset).items()
        }
        return self._workshop.run(f"dicomweb.imaging.{module}", function, dataset, bulk, *more)

    def _document(self, held: Held, dataset: Dataset) -> Content:
        document = encapsulated.read(dataset)
        assert document is not None
        name = f"{held.instance}.{document.file_ending}"
        where = f"{path_of(held)}/rendered"
        layout = self._retrieval.layout(held)
        if document.inline is None and encapsulated.PATH in layout.bulk:
            value = self._retrieval.value(held, layout, encapsulated.PATH, document.media_type, "")
            return value._replace(location=where, name=name)
        data = encapsulated.bytes_of(document)
        return Content(document.media_type, "", where, (data,), len(data), name)

    # -- video -------------------------------------------------------------------------------------------
    def _stream_type(self, held: Held) -> str:
        stream = self._probe(held)
        return "video/mp4" if self._plays_all and stream.packable else stream.media_type

    def _probe(self, held: Held) -> video.Stream:
        layout = self._retrieval.layout(held)
        head = b"".join(self._retrieval.read(self._stream(held, layout), 0, video.HEAD))
        return video.probe(head, held.syntax)

    def _stream(self, held: Held, layout: Layout) -> tuple[Segment, ...]:
        return self._bulk(held, layout, layout.pixels)

    def _video(self, held: Held, rendering: Rendering) -> Content:
        """A video as a browser plays it; one that cannot be made so, as it is stored (R34)."""
        layout = self._retrieval.layout(held)
        if rendering.media_type in PICTURES:
            name = f"poster {rendering!r} {REVISION}"
            data = self._section.get(held, name, lambda: self._poster(held, layout, rendering))
            return self._content(held, rendering.media_type, data, "/rendered")
        stream = self._probe(held)
        segments = self._stream(held, layout)
        if rendering.media_type == "video/mp4" and not stream.playable and self._plays_all:

            def make(target: Path) -> None:
                with self._copies.scratch(self._retrieval.read(segments)) as source:
                    work = (source, target, stream, video.rate_of(self.dataset(held)))
                    self._workshop.run("dicomweb.imaging.footage", "repack", *work)

            key, size = self._copies.get("video", held, make)
            segments = (Stretch(key, 0, size),)
        ending = rendering.media_type.rpartition("/")[2].lower()
        where = f"{path_of(held)}/rendered"
        return Content(rendering.media_type, "", where, segments, total(segments), f"{held.instance}.{ending}")

    def _poster(self, held: Held, layout: Layout, rendering: Rendering) -> bytes:
        dataset = self.dataset(held)
        index = video.poster(video.rate_of(dataset), number_of(dataset, "00280008", 0))
        return self._still(held, layout, index, rendering)

    def _still(self, held: Held, layout: Layout, index: int, rendering: Rendering) -> bytes:
        """Draw one frame of a video."""
        rate = video.rate_of(self.dataset(held))
        with self._copies.scratch(self._retrieval.read(self._stream(held, layout))) as source:
            work = (source, self._probe(held), index, rate, Look(kind="colour"), rendering, self.most_pixels)
            return self._workshop.run("dicomweb.imaging.footage", "rendered", *work)

    # -- reading -----------------------------------------------------------------------------------------
    def dataset(self, held: Held) -> Dataset:
        """Return the metadata of an instance; those read last are kept."""
        found = self._datasets.get(held.version)
        if found is None:
            text = self._index.metadata([held.version])[0]
            found = orjson.loads(text)
            self._datasets.put(held.version, found, _PARSED * len(text))
        assert found is not None
        return found

    def _fetch(self, held: Held) -> Callable[[str], bytes]:
        layout = self._retrieval.layout(held)

        def fetch(path: str) -> bytes:
            segments = self._bulk(held, layout, path)
            if (total(segments) or 0) > BULK_BYTES:
                raise Undecodable("a table that is needed to draw the instance is larger than is read for that")
            return b"".join(self._retrieval.read(segments))

        return fetch

    def _bulk(self, held: Held, layout: Layout, path: str) -> tuple[Segment, ...]:
        return self._retrieval.value(held, layout, path, "", "").segments

    def _look(self, part: Part, rendering: Rendering) -> Look:
        profiled = rendering.iccprofile != "no"
        dataset, fetch = self.dataset(part.held), self._fetch(part.held)
        look = looks.read_look(dataset, part.number, fetch, profiled, bool(rendering.annotation))
        if part.state is None:
            return look
        return states.look_of(part.state, look, part.held.instance, part.number)

    def _frame(self, held: Held, layout: Layout, number: int) -> bytes:
        return self._maker.stored(layout, self._retrieval.pixel_key(held, layout), number)

    def _content(self, held: Held, media_type: str, data: bytes, what: str, number: int = 0) -> Content:
        ending = _ENDINGS.get(media_type.partition(";")[0], "bin")
        name = f"{held.instance}{f'-{number}' if number else ''}.{ending}"
        return Content(media_type, "", f"{path_of(held)}{what}", (data,), len(data), name)
