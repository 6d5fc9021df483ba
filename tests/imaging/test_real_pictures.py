"""Pictures of real files, each against a decoder that is not ours; `realpictures.tsv` names them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from realdata import FOLDER, needs_real_files, real, real_files
from seconddecoders import SECOND

from dicomweb.errors import BadObject, Undecodable
from dicomweb.imaging import native, targets
from dicomweb.imaging.decode import decode
from dicomweb.imaging.transcode import transcode
from dicomweb.standard import part10
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import EXPLICIT, syntax_of
from dicomweb.standard.walked import Limits

# pydicom warns of what is odd about these files.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

TABLE = [line.split("\t") for line in Path(__file__).with_name("realpictures.tsv").read_text().splitlines()[1:]]
READ = [pytest.param(name, ways.split(), int(levels), id=name) for name, ways, levels in TABLE if ways != "-"]
UNREAD = [pytest.param(name, reason, id=name) for name, ways, reason in TABLE if ways == "-"]


class Frames(NamedTuple):
    """The frames of a file: all of a few, of many the first, one in the middle and the last."""

    syntax: str
    format: Format
    encoded: dict[int, bytes]


def frames_of(path: Path) -> Frames:
    """As our own reader finds them; as pydicom does where ours refuses the object for other reasons."""
    data = path.read_bytes()
    try:
        read = part10.read_object(data, Limits())
    except BadObject:
        return _by_pydicom(path)
    layout = read.layout
    assert layout.format is not None
    numbers = _some(layout.count)
    encoded = {
        number: layout.finish(number, b"".join(bytes(read.data[start:stop]) for start, stop in layout.spans(number)))
        for number in numbers
    }
    return Frames(read.syntax.uid, layout.format, encoded)


def _some(count: int) -> list[int]:
    return list(range(1, count + 1)) if count <= 4 else [1, count // 2, count]


def _by_pydicom(path: Path) -> Frames:
    data = pydicom.dcmread(path, force=True)
    syntax = str(data.file_meta.TransferSyntaxUID)
    names = ("Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit")
    rows, columns, samples, planar, allocated, stored, high = (_first(data.get(name, 0)) for name in names)
    format = Format(
        rows, columns, samples, data.PhotometricInterpretation, planar, allocated, stored, high,
        bool(data.PixelRepresentation),
    )  # fmt: skip
    compressed = syntax_of(syntax).encapsulated
    frame = next(generate_frames(data.PixelData, number_of_frames=1)) if compressed else data.PixelData
    return Frames(syntax, format, {1: frame})


def _first(value: int | Sequence[int]) -> int:
    return value if isinstance(value, int) else value[0]


@pytest.mark.parametrize(("name", "ways", "levels"), READ)
def test_a_second_decoder_sees_the_same_picture(name: str, ways: list[str], levels: int, tmp_path: Path) -> None:
    path = real(name)
    found = frames_of(path)
    assert targets.decodable(found.syntax, found.format)
    for number, frame in found.encoded.items():
        array, after = decode(frame, found.syntax, found.format)
        assert after == native.numbers(targets.described(found.format, found.syntax, EXPLICIT))
        for way in ways:
            other = SECOND[way](path, number, found.format, tmp_path)
            other = other.reshape(-1)[: array.size].reshape(array.shape)
            assert np.abs(array.astype(np.float64) - other.astype(np.float64)).max() <= levels, (way, number)


@pytest.mark.parametrize(("name", "ways", "levels"), READ)
def test_native_bytes_hold_the_picture_that_was_decoded(name: str, ways: list[str], levels: int) -> None:
    found = frames_of(real(name))
    for frame in found.encoded.values():
        array, _ = decode(frame, found.syntax, found.format)
        there = targets.described(found.format, found.syntax, EXPLICIT)
        made = frame if found.syntax in targets.NATIVE else transcode(frame, found.syntax, found.format, EXPLICIT)
        assert np.array_equal(native.read(made, there), array, equal_nan=True)


@pytest.mark.parametrize(("name", "reason"), UNREAD)
def test_what_nobody_decodes_is_refused(name: str, reason: str) -> None:
    path = real(name)
    try:
        found = frames_of(path)
    except (TypeError, AttributeError, BadObject):
        return
    for frame in found.encoded.values():
        with pytest.raises(Undecodable):
            decode(frame, found.syntax, found.format)


@needs_real_files
def test_every_file_with_a_picture_is_named() -> None:
    named = {name for name, *_ in TABLE}
    for path in real_files():
        try:
            layout = part10.read_object(path.read_bytes(), Limits()).layout
        except BadObject:
            continue
        assert not layout.count or layout.format is None or str(path.relative_to(FOLDER)) in named
