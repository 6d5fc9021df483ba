"""Frames and looks of DICOM files, as the archive hands them to drawing, and pictures read back."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from dicomweb.errors import NotFound
from dicomweb.imaging.described import Fetch
from dicomweb.imaging.looks import Look, read_look
from dicomweb.imaging.render import render
from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import Part10, read_object
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import Rendering
from dicomweb.standard.values import swapped


class Stored(NamedTuple):
    """An object taken apart."""

    object: Part10
    data: bytes

    @property
    def fetch(self) -> Fetch:
        """The bytes of bulk values, little endian."""
        bulk = self.object.layout.bulk

        def fetched(path: str) -> bytes:
            if path not in bulk:
                raise NotFound("there is no such bulk data")
            place = bulk[path]
            data = bytes(self.object.data[place.start : place.stop])
            return swapped(data, place.swap) if place.swap else data

        return fetched

    @property
    def format(self) -> Format:
        found = self.object.layout.format
        assert found is not None
        return found

    def frame(self, number: int = 1) -> bytes:
        layout = self.object.layout
        data = b"".join(bytes(self.object.data[span.start : span.stop]) for span in layout.spans(number))
        return layout.finish(number, data)

    def look(self, number: int = 1) -> Look:
        return read_look(self.object.dataset, number, self.fetch)

    def rendered(self, rendering: Rendering | None = None, number: int = 1, look: Look | None = None) -> bytes:
        wanted = rendering or Rendering("image/png")
        return render(self.frame(number), self.object.syntax.uid, self.format, look or self.look(number), wanted)

    def picture(self, number: int = 1, look: Look | None = None, **wanted: Any) -> npt.NDArray[Any]:
        """The rendered frame as an array."""
        return opened(self.rendered(Rendering(**{"media_type": "image/png", **wanted}), number, look))


def stored(file: bytes | Path) -> Stored:
    """Take a Part 10 file apart."""
    data = file if isinstance(file, bytes) else file.read_bytes()
    return Stored(read_object(data, Limits()), data)


def opened(picture: bytes) -> npt.NDArray[Any]:
    """The pixels of a picture, by Pillow."""
    image = Image.open(io.BytesIO(picture))
    return np.asarray(image.convert("RGB") if image.mode == "P" else image)
