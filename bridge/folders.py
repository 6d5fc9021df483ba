"""A folder as a place where instances are brought: `study/series/instance.dcm`, each whole or not there."""

import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from bridge.client import Origin, Stored
from bridge.places import Listed, Resource, WebPlace
from dicomweb.errors import BadObject, OutOfSpace
from dicomweb.standard import multipart, outcomes
from dicomweb.standard.elements import Limits
from dicomweb.standard.outcomes import Outcome
from dicomweb.standard.part10 import read_object
from dicomweb.standard.uids import read_uid


class FolderOrigin(Origin):
    """What stores into a folder as a DICOMweb server stores into its archive.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("http://folder.invalid")
        self.folder = folder

    def store(self, body: bytes | Iterable[bytes], content_type: str, conflict: str = "") -> Stored:
        """Write each part of a multipart body to a file.

        Raises:
            OutOfSpace: it cannot be written.
        """
        reader = multipart.PartReader(multipart.boundary_of(content_type))
        found: list[Outcome] = []
        path = self.folder / f".{secrets.token_hex(8)}.part"
        file: BinaryIO | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for chunk in [body] if isinstance(body, bytes) else body:
                for event in reader.feed(chunk):
                    if isinstance(event, multipart.PartStart):
                        file = path.open("wb")
                    elif isinstance(event, multipart.PartData):
                        assert file is not None
                        file.write(event.data)
                    else:
                        assert file is not None
                        file.close()
                        found.append(self._keep(path))
            reader.finish()
        except OSError as error:
            raise OutOfSpace(f"{self.folder} cannot be written: {error.strerror}") from error
        finally:
            if file is not None:
                file.close()
            path.unlink(missing_ok=True)
        return Stored(found, [], False)

    def _keep(self, path: Path) -> Outcome:
        data = path.read_bytes()
        try:
            read = read_object(data, Limits())
            uids = [read_uid(uid) for uid in (read.study, read.series, read.instance)]
        except BadObject as error:
            return outcomes.from_error(error)
        place = self.folder.joinpath(*uids[:2])
        place.mkdir(parents=True, exist_ok=True)
        os.replace(path, place / f"{uids[2]}.dcm")
        return Outcome("stored", read.sop_class, read.instance, read.study, read.series)


class FolderPlace(WebPlace):
    """A folder.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__(FolderOrigin(folder))

    def listed(self, resource: Resource) -> Iterator[Listed]:
        """See Place."""
        place = self._folder / resource["study"] / resource.get("series", "*")
        for path in sorted(self._folder.glob(f"{place.relative_to(self._folder)}/*.dcm")):
            yield Listed(path.parts[-3], path.parts[-2], path.stem)
