"""Frames as they are stored, out of a remote storage: several at a time, and kept near.

A way to an object store costs the same for one small frame as for a megabyte of them. So where frames of an object are
looked at one after the other, as a viewer plays them, the run of neighbours that a frame belongs to comes with it and
stays in memory. What is fetched a second time, a run or a frame by itself, stays on the shelf's files: what nobody
looks at twice costs no file. Objects never change, so nothing of it is ever out of date. Frames of a storage on this
machine are ranges of its files and nothing more.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dicomweb.archive import content
from dicomweb.archive.caches import Cache
from dicomweb.archive.content import Made, Segment, Stretch
from dicomweb.archive.shelf import Section
from dicomweb.deflate import crc32
from dicomweb.errors import Corrupt
from dicomweb.index import Held
from dicomweb.standard.frames import Layout
from dicomweb.storage import Storage

RUN = 1 << 20
"""Bytes of frames that are fetched together, about."""
_MOST = 64
"""Frames of a run."""
_NEAR = 2 << 20
"""Bytes of the largest frame that is kept near; with larger ones the way there matters less."""
_ASKED = 2 << 20
"""Bytes for remembering what was asked for lately: some 10,000 frames or runs."""


class Near:
    """Reads frames as they are stored.

    Args:
        storage: where they are.
        section: of the shelf, where frames of a remote storage are kept.
    """

    def __init__(self, storage: Storage, section: Section) -> None:
        self._storage = storage
        self._section = section
        self._run_bytes = min(RUN, section.largest)
        self._fetched: Cache[tuple[int, str], bool] = Cache(_ASKED)
        self._visited: Cache[tuple[int, int], int] = Cache(_ASKED)
        self._damaged: Cache[tuple[int, int], bool] = Cache(_ASKED)

    def read(self, layout: Layout, key: str, number: int) -> tuple[Segment, ...]:
        """Return what has to be read for a frame; out of a remote storage compared with its checksum, if it has one."""
        stretches = tuple(Stretch(key, start, stop) for start, stop in _joined(layout.spans(number)))
        checksum = layout.frame_checksum(number) if self._storage.remote else None
        return stretches if checksum is None else (content.compared(self._storage, stretches, checksum),)

    def frame(self, held: Held, layout: Layout, key: str, number: int) -> tuple[Segment, ...]:
        """Return a frame, which comes from near if it is there. A part of one is read alone, and brings nothing near.

        Args:
            held: the instance.
            layout: of the instance.
            key: of the object that the layout's ranges are in.
            number: of the frame, from 1.
        """
        segments = self.read(layout, key, number)
        far = segments[0] if segments else b""
        if not isinstance(far, Made) or far.size > _NEAR:
            return segments

        def make(start: int, stop: int) -> Iterable[bytes]:
            run = self._run_of(layout, number)
            if run is not None and self._damaged.get((held.version, run.number)):
                run = None
            found = self._find(held, layout, number, run)
            if found is None and (start, stop) == (0, far.size):
                found = self._bring(held, layout, key, number, run, far)
            return far.make(start, stop) if found is None else [found[start:stop]]

        return (Made(far.size, make),)

    def _find(self, held: Held, layout: Layout, number: int, run: "_Run | None") -> bytes | None:
        """A frame that is near."""
        fetched = self._section.look(held, run.form) if run is not None else None
        if run is None or fetched is None:
            return self._section.look(held, _form(number))
        self._visited.put((held.version, run.number), number, 0)
        return b"".join(run.cut(fetched, layout, number))

    def _bring(self, held: Held, layout: Layout, key: str, number: int, run: "_Run | None", far: Made) -> bytes | None:
        """Fetch a frame with its run if that is being looked at, or one that was fetched before; both stay near.
        None is another one."""
        if run is not None and self._is_looked_at(held, run, number):
            again = self._again(held, run.form)
            try:
                fetched = self._section.get(held, run.form, lambda: self._fetch(run, layout, key), files=again)
                return b"".join(run.cut(fetched, layout, number))
            except Corrupt:  # which of its frames is told to whoever asks for that; the run is not fetched again
                self._damaged.put((held.version, run.number), True, 0)
        form = _form(number)
        if not self._again(held, form):
            return None
        return self._section.get(held, form, lambda: b"".join(far.make(0, far.size)))

    def _again(self, held: Held, form: str) -> bool:
        """Whether this is not the first time lately that something is fetched."""
        asked = (held.version, form)
        again = self._fetched.get(asked) is not None
        self._fetched.put(asked, True, 0)
        return again

    def _is_looked_at(self, held: Held, run: "_Run", number: int) -> bool:
        """Whether another frame was asked for lately that is so near that a run has at least two of such steps. Whoever
        leaps through an object would get much that nobody looks at."""
        near = (run.last + 1 - run.first) // 2
        before = [self._visited.get((held.version, run.number + step)) for step in (-1, 0, 1)]
        self._visited.put((held.version, run.number), number, 0)
        return any(other is not None and 0 < abs(number - other) <= near for other in before)

    def _run_of(self, layout: Layout, number: int) -> "_Run | None":
        """The run that a frame belongs to; None if it has no neighbours that are small enough."""
        size = max(layout.frame_size(1), 1)
        count = min(self._run_bytes // size, _MOST)
        if count < 2 or layout.count < 2:
            return None
        which = (number - 1) // count
        first, last = which * count + 1, min((which + 1) * count, layout.count)
        run = _Run(which, first, last, layout.spans(first)[0].start, layout.spans(last)[-1].stop)
        return run if 0 < run.stop - run.start <= 2 * self._run_bytes else None

    def _fetch(self, run: "_Run", layout: Layout, key: str) -> bytes:
        """Fetch a run, and compare each of its frames with its checksum.

        Raises:
            Corrupt: other bytes came than were stored.
        """
        fetched = self._storage.read(key, run.start, run.stop)
        for number in range(run.first, run.last + 1):
            checksum = 0
            for piece in run.cut(fetched, layout, number):
                checksum = crc32(piece, checksum)
            if checksum != layout.frame_checksum(number):
                raise Corrupt("the stored bytes of an instance are not those that were stored")
        return fetched


class _Run(NamedTuple):
    """Neighbouring frames that are fetched together.

    Attributes:
        number: of the run, from 0.
        first, last: numbers of its frames.
        start, stop: bytes of the object from the first to the last, with what lies between them.
    """

    number: int
    first: int
    last: int
    start: int
    stop: int

    @property
    def form(self) -> str:
        """What it is called on the shelf."""
        return f"frames {self.first} to {self.last} as stored"

    def cut(self, fetched: bytes, layout: Layout, number: int) -> Iterator[bytes]:
        """Yield the pieces of one of its frames."""
        for start, stop in _joined(layout.spans(number)):
            yield fetched[start - self.start : stop - self.start]


def _form(number: int) -> str:
    return f"frame {number} as stored"


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
