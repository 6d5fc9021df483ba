"""The spool: what C-STORE brought is durable on the bridge's own disk before it is acknowledged, and goes to the web
layer later, in the order in which it came.

One file an object, named by a number, so that a restart knows the order. It is synced, or its name says that it is not
and that it is durable by the journal (see `journal`). Many share a request. An object that the
web layer refuses for good is set aside with the reason, so that it blocks nothing and nothing is lost; while the web
layer is away everything waits. The folder has a limit, and its disk a floor of free bytes: beyond either senders are
told to come again.
"""

import contextlib
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bridge import statuses
from bridge.client import Origin
from bridge.courier import stream
from bridge.journal import SUFFIX, Journal, replay, sync
from bridge.statuses import Verdict
from bridge.strict import anew
from dicomweb.errors import BadObject, Error, Forbidden, OutOfSpace, TooLarge, Unavailable, UnsupportedMedia
from dicomweb.standard.outcomes import SYNTAX_NOT_SUPPORTED, Outcome

log = logging.getLogger(__name__)

_BATCH_BYTES = 16 << 20
_BATCH = 50
_PIECE = 1 << 20
_LONGEST_PAUSE = 30.0
_OLD = 200
"""Files in full segments of the journal before they are synced instead, so that they lie there once."""
_LOOK_BYTES = 32 << 20
"""Of an object that comes in, between looks for how much is free."""
_LOOK_SECONDS = 5.0
"""Between looks for what a command put back."""
_NAME = re.compile(r"([0-9]{16})\.(?:dcm|held)")
_HELD = ".held"
"""Ends the name of a file that only the journal makes durable."""
_JOURNAL_BYTES = 4 << 20
"""Objects up to this size go to the journal."""


class Spool:
    """A folder of objects on their way, and the thread that delivers them.

    Args:
        folder: made if it is not there.
        origin: where objects go.
        most_bytes: what may lie there.
        free_bytes: what stays free on the disk.
    """

    def __init__(self, folder: Path, origin: Origin, most_bytes: int, free_bytes: int = 0) -> None:
        self._folder = folder
        self._aside = folder / "refused"
        self._aside.mkdir(parents=True, exist_ok=True)
        self._origin = origin
        self._most = most_bytes
        self._floor = free_bytes
        self._condition = threading.Condition()
        self._stopping = False
        self._delivered = 0
        self._problem = ""
        _recover(folder)
        self._journal = Journal(folder)
        self._sizes: dict[str, int] = {}
        self._arriving: set[str] = set()
        self._bytes = 0
        self._find()
        last = max((int(match[1]) for name in self._sizes if (match := _NAME.fullmatch(name))), default=0)
        self._number = max(last, time.time_ns() // 1000)
        self._thread = threading.Thread(target=self._deliver, name="spool", daemon=True)
        self._thread.start()

    def take(self, head: bytes, pieces: Iterable[bytes | memoryview]) -> Verdict:
        """Write an object, sync it and return success.

        Args:
            head: what stands before the data set.
            pieces: the data set.

        Raises:
            OutOfSpace: the spool is full, or the disk.
        """
        path = self._folder / f"{secrets.token_hex(8)}.part"
        small: list[bytes] | None = []
        size = looked = 0
        try:
            self._look()
            with path.open("xb") as file:
                for piece in _chain(head, pieces):
                    size += len(piece)
                    if size - looked >= _LOOK_BYTES:
                        self._look()
                        looked = size
                    if self._bytes + size > self._most:
                        raise OutOfSpace("the spool is full; the DICOMweb server has not taken what waits there")
                    file.write(piece)
                    if small is not None:
                        small.append(bytes(piece))
                        small = small if size <= _JOURNAL_BYTES else None
            self._keep(path, size, small)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise OutOfSpace(f"the spool cannot be written: {os.strerror(error.errno or 0)}") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Verdict(statuses.SUCCESS)

    def _keep(self, path: Path, size: int, small: list[bytes] | None) -> None:
        """Give a file its number, and return when it is durable. Raises OSError.

        One that comes alone goes to the journal, which costs one commit of the file system instead of two. Those that
        come meanwhile sync their own files: the file system makes one commit for all of them, and the journal, which
        writes their bytes once more, would take longer.
        """
        with self._condition:
            self._number += 1
            number = self._number
            journaled = small is not None and not self._arriving
            name = f"{number:016d}{_HELD if journaled else '.dcm'}"
            self._arriving.add(name)
        try:
            if journaled and small is not None:
                self._journal.append(number, small)
                path.rename(self._folder / name)
            else:
                _sync_file(path)
                path.rename(self._folder / name)
                sync(self._folder)
        except BaseException:
            self._journal.done(number)
            with self._condition:
                self._arriving.remove(name)
            raise
        with self._condition:
            self._arriving.remove(name)
            self._sizes[name] = size
            self._bytes += size
            self._condition.notify_all()

    def _look(self) -> None:
        """Raise OutOfSpace if the disk has fewer bytes free than are to stay so."""
        if self._floor and (free := self._free()) < self._floor:
            raise OutOfSpace(
                f"the disk of the spool has {free:,} bytes free, of which limit_free_bytes keeps {self._floor:,}"
            )

    def _free(self) -> int:
        facts = os.statvfs(self._folder)
        return facts.f_bavail * facts.f_frsize

    def mark(self) -> int:
        """Return what tells those that have come so far from those that will come; see `waits`."""
        with self._condition:
            return self._number

    def waits(self, mark: int) -> bool:
        """Say whether an object that had come at a mark is not delivered yet."""
        with self._condition:
            return any(_number_of(name) <= mark for name in self._sizes)

    def status(self) -> dict[str, object]:
        """Return what waits, as JSON for people and programs."""
        with self._condition:
            oldest = _arrival(self._folder / next(iter(self._sizes))) if self._sizes else None
            return {
                "waiting": len(self._sizes),
                "bytes": self._bytes,
                "oldest": oldest,
                "limit_bytes": self._most,
                "free_bytes": self._free(),
                "floor_bytes": self._floor,
                "delivered": self._delivered,
                "refused": sum(1 for _ in self._aside.glob("*.dcm")),
                "problem": self._problem,
            }

    def close(self) -> None:
        """Stop delivering; what waits is delivered after the next start."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        self._thread.join(10.0)
        if not self._thread.is_alive():
            with contextlib.suppress(OSError):  # then the journal has it
                self._settle(self._journal.needed())
        self._journal.close()

    # -- delivery -------------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        pause = 0.0
        while True:
            with self._condition:
                if pause:
                    self._condition.wait_for(lambda: self._stopping, pause)
                elif not self._condition.wait_for(lambda: self._stopping or bool(self._sizes), _LOOK_SECONDS):
                    self._find()
                if self._stopping:
                    return
                batch = self._batch()
            if not batch:
                continue
            try:
                old = self._journal.needed(full=True)
                if old and (pause or len(old) > _OLD):
                    self._settle(old)
                    with self._condition:
                        batch = self._batch()
                self._send(batch)
                pause, self._problem = 0.0, ""
            except Error as error:
                if str(error) != self._problem:
                    log.warning("%d objects wait in the spool: %s", len(self._sizes), error)
                self._problem = str(error)
                pause = min(_LONGEST_PAUSE, max(0.5, pause * 2))
            except Exception:
                log.exception("the spool could not deliver")
                pause = _LONGEST_PAUSE

    def _settle(self, numbers: Iterable[int]) -> None:
        """Sync files that only the journal makes durable, where they cannot be delivered: it needs them no longer.
        Raises OSError."""
        with self._condition:  # others are about to come
            held = {number: f"{number:016d}{_HELD}" for number in numbers}
            held = {number: name for number, name in held.items() if name in self._sizes}
        names: dict[str, str] = {}
        try:
            for number, name in held.items():
                _sync_file(self._folder / name)
                (self._folder / name).rename(self._folder / f"{number:016d}.dcm")
                names[name] = f"{number:016d}.dcm"
            sync(self._folder)
        finally:
            with self._condition:
                self._sizes = {names.get(name, name): size for name, size in self._sizes.items()}
        for number in held:
            self._journal.done(number)

    def _find(self) -> None:
        """Take in what lies in the folder and is not known: after a start, or put back by a command."""
        for path in sorted(self._folder.glob("*.dcm")):
            if path.name not in self._sizes and path.name not in self._arriving:
                self._sizes[path.name] = path.stat().st_size
                self._bytes += self._sizes[path.name]

    def _batch(self) -> list[str]:
        names: list[str] = []
        size = 0
        for name in self._sizes:
            size += self._sizes[name]
            if names and size > _BATCH_BYTES:
                break
            names.append(name)
            if len(names) == _BATCH:
                break
        return names

    def _send(self, names: list[str]) -> None:
        """Deliver files in one request; one by one if it does not tell them apart or fails as a whole."""
        try:
            stored = stream(self._origin, map(self._read, names))
        except (Unavailable, Forbidden):  # who is not let in, for want of a key, says nothing about the objects
            raise
        except (OutOfSpace, TooLarge):
            if len(names) == 1:
                raise
            self._one_by_one(names)
            return
        except Error as error:
            if len(names) == 1 and isinstance(error, UnsupportedMedia) and self._send_anew(names[0]):
                self._remove(names)
            elif len(names) == 1:
                self._set_aside(names[0], str(error))
            else:
                self._one_by_one(names)
            return
        failed = [outcome for outcome in stored.outcomes if outcome.reason is not None]
        if not failed and len(stored.outcomes) == len(names):
            self._remove(names)
        elif len(names) > 1:
            self._one_by_one(names)
        elif failed and failed[0].reason == SYNTAX_NOT_SUPPORTED and self._send_anew(names[0]):
            self._remove(names)
        elif failed and not statuses.from_outcome(failed[0], "", stored.temporary).temporary:
            self._set_aside(names[0], _why(failed[0], stored.sentences))
        else:
            raise Unavailable(_why(failed[0], stored.sentences) if failed else "the DICOMweb server tells no outcome")

    def _send_anew(self, name: str) -> bool:
        """Deliver a file in Explicit VR Little Endian, where the web does not have what it is in; false if that is of
        no use either."""
        try:
            pieces = anew(self._folder / name)
        except BadObject:
            pieces = None
        if pieces is None:
            return False
        try:
            stored = stream(self._origin, [pieces])
        except (Unavailable, Forbidden, OutOfSpace, TooLarge):
            raise
        except Error:
            return False
        done = bool(stored.outcomes) and stored.outcomes[0].reason is None
        if stored.temporary and not done:
            raise Unavailable(next(iter(stored.sentences), "the DICOMweb server cannot store now"))
        return done

    def _one_by_one(self, names: list[str]) -> None:
        for name in names:
            if self._stopping:
                return
            self._send([name])

    def _read(self, name: str) -> Iterator[bytes]:
        with (self._folder / name).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def _remove(self, names: list[str]) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)
            self._journal.done(_number_of(name))
        with self._condition:
            for name in names:
                self._bytes -= self._sizes.pop(name, 0)
            self._delivered += len(names)

    def _set_aside(self, name: str, reason: str) -> None:
        log.error(
            "an object that was acknowledged was refused by the DICOMweb server, and lies in %s: %s",
            self._aside,
            reason,
        )
        (self._aside / name).with_suffix(".json").write_text(json.dumps({"reason": reason, "time": time.time()}))
        _sync_file(self._folder / name)
        (self._folder / name).rename((self._aside / name).with_suffix(".dcm"))
        sync(self._aside)
        sync(self._folder)
        self._journal.done(_number_of(name))
        with self._condition:
            self._bytes -= self._sizes.pop(name, 0)


def survey(folder: Path) -> dict[str, Any]:
    """Return what lies in a spool's folder: how many objects wait, their bytes, when the oldest came (None: none
    waits), and each that was refused with when and why. A bridge may be at work there."""
    waiting, size, oldest = 0, 0, None
    for path in (*folder.glob("*.dcm"), *folder.glob(f"*{_HELD}")):
        with contextlib.suppress(OSError):  # delivered meanwhile
            size += path.stat().st_size
            waiting += 1
            oldest = min(filter(None, (oldest, _arrival(path))), default=None)
    refused = []
    for path in sorted((folder / "refused").glob("*.dcm")):
        with contextlib.suppress(OSError, ValueError):
            told = json.loads(path.with_suffix(".json").read_text())
            refused.append({"name": path.name, "bytes": path.stat().st_size, **told})
    return {"waiting": waiting, "bytes": size, "oldest": oldest, "refused": refused}


def put_back(folder: Path) -> int:
    """Let a bridge deliver once more what was refused; return how many objects those are."""
    count = 0
    for path in sorted((folder / "refused").glob("*.dcm")):
        path.rename(folder / path.name)
        path.with_suffix(".json").unlink(missing_ok=True)
        count += 1
    if count:
        sync(folder)
        sync(folder / "refused")
    return count


def _arrival(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _chain(head: bytes, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    yield head
    yield from pieces


def _why(outcome: Outcome, sentences: Iterable[str]) -> str:
    sentence = next(iter(sentences), "") or "no reason given"
    return f"{sentence} (reason {outcome.reason or 0:04X})"


def _recover(folder: Path) -> None:
    """Make files of what the journal has, and throw away what was never acknowledged."""
    for leftover in folder.glob("*.part"):
        leftover.unlink()
    segments = sorted(folder.glob(f"*{SUFFIX}"))
    for segment in segments:
        for number, content in replay(segment):
            made = folder / f"{number:016d}{_HELD}"
            if not made.exists() or made.read_bytes() != content:  # there was a loss of power
                made.write_bytes(content)
            _sync_file(made)
            made.rename(made.with_suffix(".dcm"))
    if segments:
        sync(folder)
    for path in (*segments, *folder.glob(f"*{_HELD}")):
        path.unlink()


def _number_of(name: str) -> int:
    """The number of a file; one that somebody else put there has none."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else -1


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
