"""Frames from every transfer syntax into every other."""

import numpy as np
import pytest
from pictures import EVERY, name_of, picture

from dicomweb.imaging import native, targets
from dicomweb.imaging.colours import to_rgb
from dicomweb.imaging.decode import decode
from dicomweb.imaging.transcode import transcode
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import EXPLICIT, syntax_of

PAIRS = [
    pytest.param(format, wanted, id=f"{name_of(format)}-{wanted.removeprefix('1.2.840.10008.1.2.')}")
    for format in EVERY
    for wanted in sorted(targets.targets(EXPLICIT, format))
]


@pytest.mark.parametrize(("format", "wanted"), PAIRS)
def test_what_was_native_comes_back(format: Format, wanted: str) -> None:
    array = picture(format)
    data = native.write(array, format)
    frame = transcode(data, EXPLICIT, format, wanted)
    there = targets.described(format, EXPLICIT, wanted)
    back, after = decode(frame, wanted, there)
    assert after == native.numbers(targets.described(there, wanted, EXPLICIT))
    assert back.dtype == native.dtype_of(after)
    if not targets.loses(EXPLICIT, format, wanted):
        assert np.array_equal(back, array)
        return
    assert back.shape == array.shape
    before = to_rgb(array, native.numbers(format)) if after.photometric == "RGB" else array
    reached = np.abs(back.astype(float) - before.astype(float)).mean()
    assert reached < max(2 ** (after.stored - 5), 1.5)


@pytest.mark.parametrize(("format", "wanted"), PAIRS)
def test_native_bytes_of_what_was_made_are_as_described(format: Format, wanted: str) -> None:
    data = native.write(picture(format), format)
    frame = transcode(data, EXPLICIT, format, wanted)
    there = targets.described(format, EXPLICIT, wanted)
    again = transcode(frame, wanted, there, EXPLICIT)
    assert len(again) == native.size_of(targets.described(there, wanted, EXPLICIT))
    if syntax_of(wanted).lossy is False and targets.described(there, wanted, EXPLICIT) == format:
        assert again == data
