"""Import: what lies on disk goes in by the same door as everything else, several objects at a time.

Each file is read once, hashed on the way, and given to the store use case in batches, so that their commits
are shared. What the archive has already costs one reading and writes nothing; so an import that was
interrupted is simply run again. A file of the user is never moved: it is copied, into memory or into the
spool.
"""

import itertools
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from dicomweb.archive import sources
from dicomweb.archive.room import Room
from dicomweb.archive.sources import Bounds, Candidate, Refusal
from dicomweb.archive.spool import Spool, Upload
from dicomweb.errors import Error, OutOfSpace, TooLarge, Unavailable
from dicomweb.standard import media_directory
from dicomweb.standard.outcomes import Outcome

State: TypeAlias = Literal["stored", "already", "kept", "replaced", "refused", "passed over"]
Storing: TypeAlias = Callable[[list[Upload]], list[Outcome]]

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_BATCH_FILES = 32
_BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one file.

    Attributes:
        name: as `Candidate.name`.
        size: bytes.
        state: "kept" is stored beside another object with the same UID; "passed over" is what was found in a
            folder and is no DICOM object; the others as in `Outcome`, "refused" for failed.
        reason: a sentence for "refused", "kept" and warnings, else "".
        warned: stored, but `reason` says what is wrong with it.
    """

    name: str
    size: int
    state: State
    reason: str = ""
    warned: bool = False


def measure(paths: Iterable[Path], bounds: Bounds) -> tuple[int, int]:
    """Count files and bytes at and below the paths, for a progress bar."""
    files = size = 0
    for found in sources.find(paths, bounds):
        files += 1
        size += found.size if isinstance(found, Candidate) else 0
    return files, size


def run(
    paths: Sequence[Path], spool: Spool, store: Storing, bounds: Bounds, workers: int = 4, room: Room | None = None
) -> Generator[Step, None, None]:
    """Import what lies at and below the paths.

    Args:
        paths: files, folders, ZIP archives, DICOMDIRs.
        spool: where objects wait.
        store: the store use case, called from several threads.
        bounds: what an archive may contain.
        workers: threads that read and store.
        room: whether there is any for more; None does not ask.

    Yields:
        A step for each file, as they are done. Closing the iterator ends the import after the batches that
        are under way.

    Raises:
        OutOfSpace, Unavailable: there is no room for more, or the spool cannot take a file.
    """
    with ThreadPoolExecutor(workers, "import") as pool:
        running: set[Future[list[Step]]] = set()
        try:
            for batch in _batches(sources.find(paths, bounds)):
                if room is not None:
                    room.check()
                if isinstance(batch, Refusal):
                    yield Step(batch.name, 0, "refused", batch.reason)
                    continue
                while len(running) >= 2 * workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from itertools.chain.from_iterable(each.result() for each in done)
                running.add(pool.submit(_import, batch, spool, store))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from itertools.chain.from_iterable(each.result() for each in done)
        finally:
            for future in running:
                future.cancel()


def _batches(found: Iterator[Candidate | Refusal]) -> Iterator[list[Candidate] | Refusal]:
    batch: list[Candidate] = []
    size = 0
    for each in found:
        if isinstance(each, Refusal):
            yield each
            continue
        batch.append(each)
        size += each.size
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _import(batch: list[Candidate], spool: Spool, store: Storing) -> list[Step]:
    steps: list[Step] = []
    read: list[tuple[Candidate, Upload]] = []
    try:
        for candidate in batch:
            taken = _read(candidate, spool)
            if isinstance(taken, Step):
                steps.append(taken)
            else:
                read.append((candidate, taken))
        uploads = [upload for _, upload in read]
        steps += map(_step, read, store(uploads) if uploads else [])
    except Error:
        raise
    except Exception:
        if len(batch) == 1:
            log.exception("storing %s failed", batch[0].name)
            return [Step(batch[0].name, batch[0].size, "refused", "something went wrong inside; it was logged")]
        log.warning("storing a batch failed; its files are tried one by one")
        return [step for candidate in batch for step in _import([candidate], spool, store)]
    finally:
        for _, upload in read:
            upload.discard()
    return steps


def _step(read: tuple[Candidate, Upload], outcome: Outcome) -> Step:
    candidate, upload = read
    if outcome.state == "failed":
        return Step(candidate.name, upload.size, "refused", outcome.detail)
    warned = outcome.warning is not None
    return Step(candidate.name, upload.size, outcome.state, outcome.detail, warned)


def _read(candidate: Candidate, spool: Spool) -> Upload | Step:
    """Read a file into the spool, if it looks like a DICOM object."""
    reception = spool.receive()
    try:
        with candidate.open() as file:
            head = file.read(_CHUNK)
            if media_directory.is_directory(head[:1024]):
                return Step(candidate.name, candidate.size, "passed over")
            if not looks_like_dicom(head):
                if candidate.asked:
                    return Step(candidate.name, candidate.size, "refused", "it is not a DICOM file")
                return Step(candidate.name, candidate.size, "passed over")
            while head:
                reception.write(head)
                head = file.read(_CHUNK)
    except TooLarge as error:
        reception.discard()
        return Step(candidate.name, candidate.size, "refused", str(error))
    except (OutOfSpace, Unavailable):
        reception.discard()
        raise
    except Exception as error:  # a damaged archive raises what its codecs raise
        reception.discard()
        words = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        return Step(candidate.name, candidate.size, "refused", f"it cannot be read: {words}")
    return reception.finish()


def looks_like_dicom(head: bytes) -> bool:
    """Say whether a file may be a DICOM object: the prefix after a preamble (PS3.10 7.1), or a data set that
    begins without one with group 0002 or 0008, in either byte order."""
    if head[128:132] == b"DICM" or head[:4] == b"DICM":
        return True
    if len(head) < 8:
        return False
    little = head[0] in {2, 8} and head[1] == 0 and head[3] == 0
    big = head[0] == 0 and head[1] == 8 and head[2] == 0
    return little or big
