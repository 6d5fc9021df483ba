"""The Image Pixel Description is read leniently, kept in few bytes, and written back as attributes."""

import dicoms
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.standard.elements import Limits
from dicomweb.standard.frames import Layout
from dicomweb.standard.part10 import read_object
from dicomweb.standard.pixels import Format, read_format

FORMATS = st.builds(
    Format,
    rows=st.integers(0, 2**32 - 1),
    columns=st.integers(0, 2**32 - 1),
    samples=st.integers(1, 0xFFFF),
    photometric=st.sampled_from(["MONOCHROME1", "RGB", "YBR_FULL_422", "XYB", ""]),
    planar=st.integers(0, 1),
    allocated=st.integers(0, 0xFFFF),
    stored=st.integers(0, 0xFFFF),
    high=st.integers(0, 0xFFFF),
    signed=st.booleans(),
    kind=st.sampled_from(["integer", "float", "double"]),
)


@given(FORMATS)
def test_formats_are_read_back_as_written(format):
    assert Format.from_bytes(format.to_bytes()) == format
    layout = Layout("native", 3, size=8, pixels="7FE00010", format=format)
    assert Layout.from_bytes(layout.to_bytes()).format == format


def test_attributes_say_what_was_read():
    format = Format(4, 6, 3, "RGB", 1, 8, 8, 7, False)
    assert read_format(format.attributes(), "7FE00010") == format
    assert "00280006" not in Format(4, 6).attributes()
    assert "00280101" not in Format(4, 6, kind="float", allocated=32).attributes()


def test_what_is_missing_or_impossible_gets_a_sensible_value():
    assert read_format({}, "7FE00010") == Format(0, 0)
    odd = {
        "00280002": {"vr": "US", "Value": [3]},
        "00280004": {"vr": "CS"},
        "00280100": {"vr": "US", "Value": [8]},
        "00280101": {"vr": "US", "Value": [12]},
        "00280010": {"vr": "SL", "Value": [-5]},
    }
    assert read_format(odd, "7FE00010") == Format(0, 0, 3, "RGB", 0, 8, 8, 7, False)
    assert read_format({}, "7FE00009").kind == "double"


def test_the_layout_of_an_object_knows_its_format():
    found = read_object(dicoms.ct(BitsStored=12, HighBit=11, PixelRepresentation=1), Limits(), lambda: None)
    assert found.layout.format == Format(8, 8, 1, "MONOCHROME2", 0, 16, 12, 11, True)
