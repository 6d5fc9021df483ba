"""Data sets as bytes, made from a seed, with what sloppy writers do: tags out of order, odd lengths, wrong VRs,
group lengths, stray delimiters, private blocks, numbers cut short. Most of them can be read."""

import random
import struct

_TAGS = (
    0x00020010, 0x00080000, 0x00080005, 0x00080060, 0x00081140, 0x00089459, 0x00090010, 0x00091001, 0x00091010,
    0x00100010, 0x00189810, 0x00200013, 0x00204000, 0x00280010, 0x00280103, 0x00280106, 0x00281201, 0x00282000,
    0x00283006, 0x00290010, 0x00290011, 0x00291008, 0x00291060, 0x00291102, 0x52009230, 0x77770001, 0x7FE00010,
    0xFFFCFFFC,
)  # fmt: skip
_VRS = ("SQ", "UN", "US", "SS", "OW", "OB", "LO", "FD", "UL", "AT", "ZZ", "PN", "OF", "DS", "UT")
_LONG = frozenset({"OB", "OF", "OW", "SQ", "UN", "UT"})
_FIXED = {0x00090010: b"GEMS_IDEN_01", 0x00290010: b"SIEMENS CSA HEADER"}
_SQ = (0x00081140, 0x52009230)
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


class Oddity:
    """One data set in Explicit VR Big Endian or Implicit VR Little Endian."""

    def __init__(self, seed: int, big: bool) -> None:
        self.random = random.Random(seed)
        self.big = big
        self.data = self._dataset(big, 3)

    def _some(self, share: float) -> bool:
        return self.random.random() < share

    def _mark(self, tag: int, length: int, big: bool) -> bytes:
        return struct.pack(">HHI" if big else "<HHI", tag >> 16, tag & 0xFFFF, length)

    def _bytes(self, length: int) -> bytes:
        if self._some(0.3):
            return bytes(self.random.choices(b"\0\1\2\xff", k=length))
        return b"1.5 "[:length] if self._some(0.4) else self.random.randbytes(length)

    def _dataset(self, big: bool, depth: int) -> bytes:
        tags = self.random.choices(_TAGS, k=self.random.randrange(6))
        if self._some(0.9):
            tags = sorted(set(tags))
        data = b"".join(self._element(tag, big, depth) for tag in tags)
        if self._some(0.03):
            data += self._mark(self.random.choice((_ITEM, _ITEM_END, _SEQUENCE_END)), 0, big)
        return data

    def _items(self, big: bool, depth: int) -> bytes:
        data = b""
        for _ in range(self.random.randrange(3)):
            inner = self._dataset(big, depth - 1)
            if self._some(0.5):
                end = _SEQUENCE_END if self._some(0.05) else _ITEM_END
                data += self._mark(_ITEM, 0xFFFFFFFF, big) + inner + self._mark(end, 0, big)
            else:
                data += self._mark(_ITEM, len(inner), big) + inner
        return data

    def _element(self, tag: int, big: bool, depth: int) -> bytes:
        vr = self.random.choice(_VRS)
        value = self._bytes(self.random.choice((0, 0, 1, 2, 2, 3, 4, 4, 5, 8, 12, 16)))
        undefined = False
        if tag in _FIXED:
            vr, value = "LO", _FIXED[tag]
        elif tag == 0x00280103:
            vr, value = "US", struct.pack(">H" if big else "<H", self.random.choice((0, 1, 1)))
        elif tag == 0x00080005:
            vr, value = "CS", self.random.choice((b"", b"ISO_IR 100", b"ISO_IR 192"))
        elif tag == 0x7FE00010:
            vr = self.random.choice(("OB", "OW", "UN"))
        elif depth and (vr == "SQ" or tag in _SQ or self._some(0.2)):
            vr = "UN" if vr == "UN" else "SQ"
            undefined = self._some(0.5)
            inside = big and vr == "SQ"
            value = self._items(inside, depth) + (self._mark(_SEQUENCE_END, 0, inside) if undefined else b"")
        elif self._some(0.02):
            value = self._bytes(self.random.choice((4096, 5001, 65534, 65536, 70001)))
        if vr == "ZZ" and tag >> 16 & 1:
            vr = "LO"
        if vr == "UN" and not undefined:
            value = value[: len(value) & ~1]
        length = 0xFFFFFFFF if undefined else len(value) + (2 if self._some(0.01) else 0)
        if not big:
            return self._mark(tag, length, big) + value
        head = struct.pack(">HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
        if vr in _LONG:
            return head + struct.pack(">HI", 0, length) + value
        return head + struct.pack(">H", length) + value if length < 0x10000 else b""
