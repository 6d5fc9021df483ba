"""Generated data sets in the DICOM JSON model, in the one form that the project writes (PS3.18 F)."""

import base64
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

_LETTERS = st.sampled_from("aZ09 .,_-+*?%&<>\"'/:;ßéŁЖ山田太郎ﾔﾏ한글אﷺ\u0301\u200b𝄞\U0010fffd")
_WORD = st.text(_LETTERS, min_size=1, max_size=16).map(lambda text: text.strip(" ")).filter(bool)
_ASCII = st.from_regex(r"[A-Za-z0-9_.+-]{1,16}", fullmatch=True)
_BYTES = st.binary(min_size=1, max_size=64).map(lambda data: data + b"\0" * (len(data) % 2))
_EXACT = 1 << 53


def _listed(values: Strategy, largest: int = 4) -> Strategy:
    return st.lists(values, min_size=1, max_size=largest)


def _gaps(values: Strategy) -> Strategy:
    """Lists in which a value may be missing; a lone missing one would be no value at all."""
    return _listed(st.none() | values).filter(lambda listed: listed != [None])


def _safe(number: int) -> int | str:
    return number if abs(number) <= _EXACT else str(number)


def _integers(low: int, high: int) -> Strategy:
    return _listed(st.integers(low, high).map(_safe))


def _reals(width: int) -> Strategy:
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    return _listed(finite | st.sampled_from(["NaN", "Infinity", "-Infinity"]))


_PART = st.text(_LETTERS, max_size=8).map(lambda text: text.strip(" "))
_GROUP = st.lists(_PART, min_size=1, max_size=6).map("^".join).filter(bool)
_NAME = st.fixed_dictionaries({}, optional={"Alphabetic": _GROUP, "Ideographic": _GROUP, "Phonetic": _GROUP})

VALUES: dict[str, Strategy] = {
    "AE": _gaps(_ASCII),
    "AS": _gaps(st.sampled_from(["034Y", "001M", "not an age"])),
    "AT": _listed(st.integers(0, 0xFFFFFFFF).map("{:08X}".format)),
    "CS": _gaps(_ASCII),
    "DA": _gaps(st.sampled_from(["20240131", "2024.01.31", "19000101"])),
    "DS": _gaps(
        st.floats(allow_nan=False, allow_infinity=False)
        | st.integers(-999, 999).map(float)
        | st.sampled_from(["1,5", "0.12345678901234567890", "NaN"])
    ),
    "DT": _gaps(st.sampled_from(["20240131101500.123456+0100", "2024"])),
    "FD": _reals(64),
    "FL": _reals(32),
    "IS": _gaps(st.integers(-(2**31), 2**31 - 1) | st.sampled_from(["1.5", "twelve"])),
    "LO": _gaps(_WORD),
    "LT": st.lists(_WORD, min_size=1, max_size=3).map(lambda words: ["\\\r\n  ".join(words)]),
    "PN": _listed(st.none() | _NAME.filter(bool)).filter(lambda listed: listed != [None]),
    "SH": _gaps(_WORD),
    "SL": _integers(-(2**31), 2**31 - 1),
    "SS": _integers(-(2**15), 2**15 - 1),
    "ST": _listed(_WORD, 1),
    "SV": _integers(-(2**63), 2**63 - 1),
    "TM": _gaps(st.sampled_from(["101500", "10:15", "101500.5"])),
    "UC": _gaps(_WORD),
    "UI": _gaps(st.sampled_from(["1.2.840.10008.1.1", "1.2.03", "not a UID"])),
    "UL": _integers(0, 2**32 - 1),
    "UR": _listed(st.just("https://example.org/a?b=c&d=%20"), 1),
    "US": _integers(0, 2**16 - 1),
    "UT": _listed(_WORD, 1),
    "UV": _integers(0, 2**64 - 1),
}
BINARY = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")


def elements(vr: str) -> Strategy:
    """Elements of a VR, empty ones among them."""
    if vr in BINARY:
        whole = _BYTES.map(lambda data: data * 4)
        full = whole.map(lambda data: {"vr": vr, "InlineBinary": base64.b64encode(data).decode()})
    else:
        full = VALUES[vr].map(lambda values: {"vr": vr, "Value": values})
    return st.just({"vr": vr}) | full


def _tags() -> Strategy:
    """Tags that PS3.6 does not list, so that no rule of the dictionary comes in between."""
    return st.integers(0x1000, 0xFFFE).map("7776{:04X}".format)


def _scopes(inner: Strategy | None) -> Strategy:
    """Data sets: attributes of every VR, a private block with its creator, sequences of `inner`."""
    vrs = st.sampled_from([*VALUES, *BINARY])
    public = st.dictionaries(_tags(), vrs.flatmap(elements), max_size=6)
    private = st.dictionaries(
        st.integers(0, 255).map(lambda element: f"000911{element:02X}"), vrs.flatmap(elements), max_size=3
    ).map(lambda block: block and {"00090011": {"vr": "LO", "Value": ["ROENTGATE TEST"]}, **block})
    parts = [public, private]
    if inner is not None:
        sequence = st.lists(inner, max_size=3).map(
            lambda items: {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        )
        parts.append(st.dictionaries(_tags(), sequence, max_size=2))
    return st.tuples(*parts).map(_merged)


def _merged(parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= part
    return {tag: merged[tag] for tag in sorted(merged)}


def datasets() -> Strategy:
    """Data sets with up to two levels of sequences, in UTF-8."""
    nested = _scopes(_scopes(None))
    return _scopes(nested).map(lambda dataset: {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}, **dataset})


def with_even_lengths(dataset: dict[str, Any]) -> dict[str, Any]:
    """The model, changed in place, with binary values of an even number of bytes, which PS3.5 7.1 demands of what is
    written."""
    for element in dataset.values():
        if "InlineBinary" in element:
            value = base64.b64decode(element["InlineBinary"])
            element["InlineBinary"] = base64.b64encode(value + b"\0" * (len(value) % 2)).decode()
        elif element["vr"] == "SQ":
            for item in element.get("Value", []):
                with_even_lengths(item)
    return dataset
