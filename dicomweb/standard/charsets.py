"""Specific Character Set: bytes of a text value to characters (PS3.5 6.1, PS3.3 C.12.1.1.2).

One value names a plain encoding. Several values mean code extension by ISO 2022: escape sequences switch the
sets G0 (bytes below 80H) and G1 (above) until the end of the value. What old devices write is read as well:
misspelt terms, escape sequences of sets that were not announced, UTF-8 without a word about it.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

# PS3.3 Tables C.12-2 to C.12-5: sets that a single value, or the first of several, puts in place for high
# bytes: number of the ISO registration to Python codec
_SINGLE_BYTE = {
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "144": "iso8859_5",
    "127": "iso8859_6",
    "126": "iso8859_7",
    "138": "iso8859_8",
    "148": "iso8859_9",
    "203": "iso8859_15",
    "166": "iso8859_11",
    "13": "shift_jis",
}
# PS3.3 Table C.12-4: sets of two bytes each; those of Japan are put in place for low bytes, by escape only
_G1_DOUBLE = {"149": "euc_kr", "58": "gb2312"}
# PS3.3 Table C.12-5: encodings that stand alone
_WHOLE = {"ISO_IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}
# Spellings that devices use in place of the defined terms
_ALIASES = {
    "UTF8": "ISO_IR 192",
    "UTF-8": "ISO_IR 192",
    "ISO 10646": "ISO_IR 192",
    "GB2312": "GB18030",
    "LATIN1": "ISO_IR 100",
    "LATIN-1": "ISO_IR 100",
    "ASCII": "ISO_IR 6",
    "US-ASCII": "ISO_IR 6",
    "SHIFT_JIS": "ISO_IR 13",
    "SHIFT-JIS": "ISO_IR 13",
    "EUC-KR": "ISO 2022 IR 149",
}
_TERM = re.compile(r"ISO[ _-]?(2022)?[ _-]*IR[ _-]*([0-9]{1,3})", re.ASCII)
_PART = re.compile(r"ISO[ _-]?8859[ _-]([0-9]{1,2})", re.ASCII)
_PARTS = {
    "1": "100",
    "2": "101",
    "3": "109",
    "4": "110",
    "5": "144",
    "6": "127",
    "7": "126",
    "8": "138",
    "9": "148",
    "11": "166",
    "15": "203",
}

# PS3.3 Tables C.12-3 and C.12-4: escape sequence (without ESC) to the set that it puts in place
_ESCAPES: dict[bytes, tuple[str, str]] = {
    b"(B": ("G0", "ascii"),
    b"(J": ("G0", "ascii"),  # ISO_IR 14: 5CH and 7EH are yen and overline; DICOM treats 5CH as backslash
    b"(I": ("G0", "katakana"),  # JIS X 0201 katakana in G0, which DICOM has in G1 only
    b"$B": ("G0", "0208"),
    b"$@": ("G0", "0208"),
    b"$(D": ("G0", "0212"),
    b")I": ("G1", "shift_jis"),
    b"-A": ("G1", "latin_1"),
    b"-B": ("G1", "iso8859_2"),
    b"-C": ("G1", "iso8859_3"),
    b"-D": ("G1", "iso8859_4"),
    b"-L": ("G1", "iso8859_5"),
    b"-G": ("G1", "iso8859_6"),
    b"-F": ("G1", "iso8859_7"),
    b"-H": ("G1", "iso8859_8"),
    b"-M": ("G1", "iso8859_9"),
    b"-b": ("G1", "iso8859_15"),
    b"-T": ("G1", "iso8859_11"),
    b"$)C": ("G1", "euc_kr"),
    b"$)A": ("G1", "gb2312"),
}
_ESCAPE = re.compile(rb"\x1b([\x20-\x2f]*[\x30-\x7e])")
_DELIMITERS = re.compile(rb"([\\\t\n\f\r]+)")
_NAME_DELIMITERS = re.compile(rb"([\\^=\t\n\f\r]+)")
_RUNS = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")


class _Plan(NamedTuple):
    """What the values of (0008,0005) ask for.

    Attributes:
        codec: of an encoding that stands alone or of a single-byte set, or "" for the default repertoire.
        extends: whether escape sequences are interpreted.
        announced: codecs of the sets for high bytes, those of the first value first.
        known: whether each value was understood.
    """

    codec: str
    extends: bool
    announced: tuple[str, ...]
    known: bool


def normalised(term: str) -> str:
    """Return the defined term (PS3.3 C.12.1.1.2) that a value of (0008,0005) stands for: "ISO-IR 100" is
    "ISO_IR 100". A text in which none can be seen comes back in capitals."""
    text = " ".join(term.strip(" \0").upper().split())
    text = _ALIASES.get(text, text)
    if match := _TERM.fullmatch(text):
        return f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"
    if (match := _PART.fullmatch(text)) and match[1] in _PARTS:
        return f"ISO_IR {_PARTS[match[1]]}"
    return text


@lru_cache(maxsize=256)
def _plan(terms: tuple[str, ...]) -> _Plan:
    names = [normalised(term) for term in terms]
    if names[:1] == [""] and len(names) == 1:
        names = []
    for place, name in enumerate(names):
        # UTF-8 and the like stand alone; beside a first value they are an error that the first value wins
        if name in _WHOLE and (place == 0 or not any(names[:place])):
            return _Plan(_WHOLE[name], False, (), len(names) == 1)
    numbers = [name.rpartition(" ")[2] if name.startswith("ISO") else name for name in names]
    sets = {**_SINGLE_BYTE, **_G1_DOUBLE}
    announced = tuple(sets[number] for number in numbers if number in sets)
    known = all(number in sets or number in ("", "6", "14", "87", "159") for number in numbers)
    first = _SINGLE_BYTE.get(numbers[0], "") if numbers else ""
    extends = len(names) > 1 or any(name.startswith("ISO 2022") for name in names)
    return _Plan(first, extends, announced, known)


class Decoder:
    """Decodes the text values of one data set (PS3.5 6.1.2).

    Args:
        terms: the values of (0008,0005); none is the default repertoire.

    Attributes:
        faulty: set once something was not what the terms say.
        seen: set once something was not plain ASCII.
    """

    __slots__ = ("_announced", "_codec", "_extends", "_single", "faulty", "seen")

    def __init__(self, terms: Iterable[str] = ()) -> None:
        plan = _plan(tuple(terms))
        self._codec = plan.codec
        self._extends = plan.extends
        self._announced = plan.announced
        self._single = not plan.codec or plan.codec in _SINGLE_BYTE.values()
        self.faulty = not plan.known
        self.seen = False

    def decode(self, data: bytes, name: bool = False) -> str:
        """Return the characters of a whole value field, values still separated by backslashes.

        Bytes that mean nothing become replacement characters (D-085: the object itself is kept untouched).

        Args:
            data: the value field. Values must not be split before (PS3.5 6.1.2.3: a byte 5CH may be half of
                a character).
            name: whether it is of VR PN, where code extension ends at `^` and `=` as well (PS3.5 6.1.2.5.3).
        """
        escapes = 27 in data
        if not escapes and data.isascii():
            return data.decode("ascii")
        self.seen = True
        if self._single and (escapes or (self._extends and not self._codec)):
            return self._extended(data, name)
        if not self._codec:
            return self._undeclared(data)
        try:
            return data.decode(self._codec)
        except UnicodeDecodeError:
            self.faulty = True
            if self._codec == "utf_8":
                return data.decode("utf_8", "replace")
            return data.decode(self._codec, "replace")

    def _undeclared(self, data: bytes) -> str:
        """High bytes where only ASCII was announced: UTF-8 if it can be, else Latin alphabet No. 1."""
        self.faulty = True
        for codec in self._announced:
            try:
                return data.decode(codec)
            except UnicodeDecodeError:
                continue
        try:
            return data.decode("utf_8")
        except UnicodeDecodeError:
            return data.decode("latin_1")

    def _extended(self, data: bytes, name: bool) -> str:
        """ISO 2022 (PS3.5 6.1.2.5)."""
        text: list[str] = []
        delimiters = _NAME_DELIMITERS if name else _DELIMITERS
        g0, g1, recent = "ascii", self._codec, ""
        position = 0
        for escape in [*_ESCAPE.finditer(data), None]:
            run = data[position : escape.start() if escape else len(data)]
            if g0 in ("0208", "0212"):
                text.append(self._doubles(run, g0, g1))
            elif g0 == "katakana":
                text.append(bytes(byte | 0x80 for byte in run if byte > 0x20).decode("shift_jis", "replace"))
            else:
                for place, piece in enumerate(delimiters.split(run)):
                    if place & 1:  # a delimiter: back to what the first value says
                        text.append(piece.decode("ascii"))
                        g1 = self._codec
                    else:
                        text.append(self._high(piece, g1 or recent))
            if escape is None:
                break
            position = escape.end()
            found = _ESCAPES.get(escape[1])
            if found is None:
                self.faulty = True
            elif found[0] == "G0":
                g0 = found[1]
            else:
                g1 = recent = found[1]
        return "".join(text)

    def _high(self, run: bytes, codec: str) -> str:
        """ASCII, and high bytes of the set that is in place."""
        if run.isascii():
            return run.decode("ascii")
        if not codec:
            return self._undeclared(run)
        try:
            return run.decode(codec)
        except UnicodeDecodeError:
            self.faulty = True
            return run.decode(codec, "replace")

    def _doubles(self, run: bytes, g0: str, g1: str) -> str:
        """Pairs of low bytes from JIS X 0208 or 0212; EUC-JP has the same pairs with their high bits set."""
        text = []
        for match in _RUNS.finditer(run):
            part = match[0]
            if part[0] & 0x80:
                text.append(self._high(part, g1))
                continue
            place = 0
            while place < len(part):
                if part[place] <= 0x20:  # control characters and space are in every G0 set (PS3.5 6.1.3)
                    text.append(chr(part[place]))
                    place += 1
                    continue
                pair = bytes(byte | 0x80 for byte in part[place : place + 2])
                place += 2
                try:
                    text.append((b"\x8f" + pair if g0 == "0212" else pair).decode("euc_jp"))
                except UnicodeDecodeError:
                    self.faulty = True
                    text.append("\ufffd")
        return "".join(text)


# -- writing ------------------------------------------------------------------------------------------------


def encode(text: str, terms: Iterable[str], name: bool = False) -> bytes | None:
    """Encode a value in a Specific Character Set (PS3.5 6.1.2, PS3.3 C.12.1.1.2).

    Args:
        text: one or several values with backslashes between.
        terms: the values of (0008,0005); none is the default repertoire.
        name: whether it is of VR PN, where a set that an escape sequence put in place ends at `^` and `=` too.

    Returns:
        The bytes, or None if the character set cannot say it.
    """
    if text.isascii():
        return text.encode("ascii")
    terms = tuple(terms)
    plan = _plan(terms)
    if not plan.extends:
        return _single(text, plan.codec or "ascii")
    names = [normalised(term) for term in terms]
    japanese = "iso2022_jp" if "ISO 2022 IR 87" in names else ""  # JIS X 0208; with 159 JIS X 0212 beside it
    japanese = "iso2022_jp_1" if "ISO 2022 IR 159" in names else japanese
    delimiters = "\\^=\t\n\f\r" if name else "\\\t\n\f\r"
    pieces = re.split(f"([{re.escape(delimiters)}])", text)
    encoded = [_extend(piece, plan, japanese) for piece in pieces]
    return None if None in encoded else b"".join(piece for piece in encoded if piece is not None)


def _single(text: str, codec: str) -> bytes | None:
    """Text in one encoding; of Shift JIS only the bytes that are JIS X 0201 (PS3.3 Table C.12-2)."""
    try:
        encoded = text.encode(codec)
    except UnicodeEncodeError:
        return None
    return None if codec == "shift_jis" and len(encoded) != len(text) else encoded


def _extend(piece: str, plan: _Plan, japanese: str) -> bytes | None:
    """One piece by ISO 2022 in a single set beside ASCII: that of the first value, or one that its escape sequence
    puts in place (PS3.5 6.1.2.5.3)."""
    if piece.isascii():
        return piece.encode("ascii")
    if plan.codec and (encoded := _single(piece, plan.codec)) is not None:
        return encoded
    for codec in plan.announced:
        if codec != plan.codec and (encoded := _single(piece, codec)) is not None:
            escape = next(escape for escape, place in _ESCAPES.items() if place == ("G1", codec))
            return b"\x1b" + escape + encoded
    if not japanese:
        return None
    encoded = _single(piece, japanese)
    return encoded and encoded.replace(b"\x1b(J", b"\x1b(B")
