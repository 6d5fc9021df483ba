"""Values as people read them."""

import subprocess
import sys

import pytest

from dicomweb.imaging import readable
from dicomweb.imaging.readable import Code


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"Alphabetic": "Adams^John Robert Quincy^^Rev.^B.A. M.Div."}, "Adams, John Robert Quincy, Rev., B.A. M.Div."),
        (
            {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"},
            "Yamada, Tarou (山田, 太郎, やまだ, たろう)",
        ),
        ({"Ideographic": "山田^太郎"}, "山田, 太郎"),
        ("Doe^Jane", "Doe, Jane"),
        ({}, ""),
        (None, ""),
    ],
)
def test_names_are_written_family_first(value, words):
    assert readable.person(value) == words


@pytest.mark.parametrize(
    ("say", "value", "words"),
    [
        (readable.date, "20010213", "2001-02-13"),
        (readable.date, "2001.02.13", "2001-02-13"),
        (readable.date, "2001", "2001"),
        (readable.date, "yesterday", "yesterday"),
        (readable.time, "184746.123", "18:47:46"),
        (readable.time, "1847", "18:47"),
        (readable.moment, "20010213184746.5+0130", "2001-02-13 18:47:46 +01:30"),
        (readable.moment, "20010213", "2001-02-13"),
        (readable.moment, "", ""),
        (readable.age, "042Y", "42 years"),
        (readable.age, "001D", "1 day"),
        (readable.sex, "F", "female"),
        (readable.number, 3.0, "3"),
        (readable.number, "1e5000", "1e5000"),
        (readable.number, 1e300, "1e+300"),
        (readable.number, None, ""),
        (readable.rounded, 64.4505437945691, "64.4505"),
        (readable.rounded, 0.25, "0.25"),
        (readable.rounded, 12345678.25, "12345678.2"),
        (readable.class_name, "1.2.840.10008.5.1.4.1.1.2", "CT Image"),
        (readable.class_name, "1.2.3", "object"),
    ],
)
def test_values_are_written_for_people(say, value, words):
    assert say(value) == words


@pytest.mark.parametrize(
    ("value", "meaning", "scheme", "words"),
    [
        ("mm", "millimeter", "UCUM", "mm"),
        ("cm2", "square centimeter", "UCUM", "cm²"),
        ("1", "no units", "UCUM", ""),
        ("1", "px", "UCUM", "px"),
        ("1", "", "UCUM", ""),
        ("[hnsf'U]", "Hounsfield unit", "UCUM", "HU"),
        ("{ratio}", "ratio", "UCUM", "ratio"),
        ("{no}", "no units", "UCUM", ""),
        ("mGy.cm", "mGy.cm", "UCUM", "mGy.cm"),
        ("m/s2", "", "UCUM", "m/s²"),
        ("cm", "Length Unit", "99_X", "Length Unit"),
    ],
)
def test_units_are_written_as_on_paper(value, meaning, scheme, words):
    assert readable.unit(Code(value, scheme, meaning)) == words


def test_text_cannot_play_tricks():
    assert readable.clean("a\x1b[31mb\x00c\x85d") == "a␛[31mb␀c\ufffdd"
    assert readable.clean("x\u202egpj.exe\u2066y\u2069") == "xgpj.exey"
    assert readable.clean("a\r\nb\rc\td") == "a\nb\nc\td"
    assert readable.clean("שלום\u200f") == "שלום\u200f"
    assert readable.clean("\ud800\uffff").encode() == "\ufffd\ufffd".encode()
    assert len(readable.clean("x" * 1_000_000)) < readable.LONGEST + 100


@pytest.mark.parametrize("name", ["reports", "listing", "encapsulated", "video", "waveforms", "bitmaps"])
def test_what_the_web_process_needs_loads_no_codecs(name):
    code = (
        f"import sys, dicomweb.imaging.{name}; print([each for each in ('imagecodecs', 'av') if each in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
