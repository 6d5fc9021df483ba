"""Whether more may be stored: disks keep a floor of free bytes, the archive a quota of stored ones.

Only what brings objects in asks. Reading, searching and deleting go on below the floor and above the quota: the floor
leaves them what they need (logs of the index, tombstones, caches), and deleting is the way out. Nothing is
remembered, so that whoever asks after there is room again is let in.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomweb.config import Config
from dicomweb.errors import Error, OutOfSpace
from dicomweb.index import Index, file_of
from dicomweb.storage import folder_of


@dataclass(frozen=True, slots=True)
class Space:
    """How much room there is.

    Attributes:
        free: bytes free on the fullest of our disks; None if none can be asked.
        floor: bytes that stay free there.
        used: bytes of all stored versions; None where nobody asks for them or the index does not answer.
        most: bytes that they may come to; None is no limit.
        problem: why nothing is stored now, a sentence, or "".
    """

    free: int | None
    floor: int
    used: int | None
    most: int | None
    problem: str


class Room:
    """The room of one archive.

    Args:
        folders: what lies on disks of ours, by the setting that says where; which of them share a disk is found out
            now.
        floor: bytes that stay free on each of those disks.
        most: bytes of all stored versions at most; 0 is no limit.
        used: tells how many those are.
    """

    def __init__(self, folders: Mapping[str, Path], floor: int, most: int, used: Callable[[], int]) -> None:
        self._disks = _disks({setting: os.path.abspath(folder) for setting, folder in folders.items()})
        self._floor = floor
        self._most = most
        self._used = used

    def of_disks(self) -> "Room":
        """Return the same without a quota, for what passes through."""
        return Room({name: Path(path) for name, path in self._disks.items()}, self._floor, 0, self._used)

    def check(self, coming: int = 0) -> None:
        """See that there is room for more at all.

        Args:
            coming: bytes that are about to come, as far as is known.

        Raises:
            OutOfSpace: a disk has less than the floor free, or would have; or the quota is used up.
            Unavailable: the index does not answer.
        """
        self._check_floor(coming)
        if self._most and (used := self._used()) >= self._most:
            raise OutOfSpace(self._full(used))

    def admit(self, sizes: Sequence[int]) -> list[OutOfSpace | None]:
        """Say for each of some objects, in order, whether it may be written: None, or why not.

        Processes that store at the same moment do not know of each other's, so that the quota may be exceeded by
        what is under way.

        Raises:
            Unavailable: the index does not answer.
        """
        try:
            self._check_floor(0)
        except OutOfSpace as error:
            return [error] * len(sizes)
        if not self._most or not sizes:
            return [None] * len(sizes)
        used = self._used()
        found: list[OutOfSpace | None] = []
        for size in sizes:
            fits = used + size <= self._most
            used += size if fits else 0
            found.append(None if fits else OutOfSpace(self._full(used, size)))
        return found

    def space(self) -> Space:
        """Return how much there is, for people and programs that look at the status."""
        problem, used = "", None
        frees = [free for folder in self._disks.values() if (free := free_bytes(folder)) is not None]
        try:
            used = self._used() if self._most else None
            self._check_floor(0)
            if used is not None and used >= self._most:
                problem = self._full(used)
        except OutOfSpace as error:
            problem = str(error)
        except Error:
            used = None
        return Space(min(frees, default=None), self._floor, used, self._most or None, problem)

    def _check_floor(self, coming: int) -> None:
        if not self._floor:
            return
        for setting, folder in self._disks.items():
            free = free_bytes(folder)
            if free is None or free - coming >= self._floor:
                continue
            request = f", and the request has {coming:,}" if coming and free >= self._floor else ""
            raise OutOfSpace(
                f"the disk of {setting} has {free:,} bytes free, of which limit_free_bytes keeps"
                f" {self._floor:,}{request}; nothing is stored until there is room, what is stored can be read"
            )

    def _full(self, used: int, size: int = 0) -> str:
        object_ = f", and the object has {size:,}" if size else ""
        return (
            f"the archive holds {used:,} bytes of the {self._most:,} that limit_archive_bytes allows{object_};"
            " nothing is stored until something is deleted, what is stored can be read"
        )


def open_room(config: Config, index: Index) -> Room:
    """Make the room of the archive that the settings name, over its index."""
    folders = {"storage": folder_of(config.storage), "scratch": config.scratch, "index": file_of(config.index)}
    named = {name: folder for name, folder in folders.items() if folder is not None}
    return Room(named, config.limit_free_bytes, config.limit_archive_bytes, index.used)


def _disks(folders: Mapping[str, str]) -> dict[str, str]:
    """Return of folders, by setting, the first on each disk: what is free for it is free for the others there. Each
    question is a system call, and every store asks twice."""
    found: dict[str, tuple[str, str]] = {}
    for setting, path in folders.items():
        found.setdefault(_disk(path), (setting, path))
    return dict(found.values())


def _disk(path: str) -> str:
    """Return where the disk of a folder is mounted, or the folder itself where it has a quota of its own (XFS, ext4):
    then it shows another size than what is mounted there."""
    there = path
    while not os.path.exists(there) and there != os.path.dirname(there):
        there = os.path.dirname(there)  # in which it will be made
    mounted = os.path.realpath(there)
    while not os.path.ismount(mounted):
        mounted = os.path.dirname(mounted)
    try:
        shared = os.statvfs(there).f_blocks == os.statvfs(mounted).f_blocks
    except OSError:
        shared = False
    return mounted if shared else path


def free_bytes(path: str) -> int | None:
    """Return the bytes free on the disk of a path, which need not be there yet; None if it cannot be asked."""
    try:
        facts = os.statvfs(path)
    except FileNotFoundError:
        above = os.path.dirname(path)
        return free_bytes(above) if above != path else None
    except OSError:
        return None
    return facts.f_bavail * facts.f_frsize
