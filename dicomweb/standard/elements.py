"""The element walker: from the bytes of a data set to its DICOM JSON model and to where its bulk lies, in one
pass (PS3.5 7, PS3.18 F).

What a header looks like is looked up by its raw bytes (tag and VR, or tag alone in Implicit VR) in tables
that fill as they are asked; a usual element costs one `unpack_from`, one look-up and one converter. Values
that become bulk data are never touched, so that a mapped file of many gigabytes costs the pages of its
headers.

Declared lengths are held against the bytes that are there: a data set that was cut is never read as a shorter
one. Faults that old devices are known for are read and mentioned in `warnings`.
"""

from collections import Counter
from itertools import pairwise, repeat
from mmap import mmap
from typing import TypeAlias, cast

from dicomweb.errors import BadObject, ObjectTooComplex, TruncatedObject
from dicomweb.standard import headers
from dicomweb.standard.charsets import Decoder
from dicomweb.standard.fragments import find
from dicomweb.standard.frames import Bulk, Span
from dicomweb.standard.headers import (
    CHARSET,
    DROPPED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    IMPLICIT_META,
    LARGE,
    MARK,
    META,
    PIXELS,
    PRIVATE,
    SEQUENCE,
    SIGNED,
    STRANGE,
    UNDEFINED,
    UNKNOWN,
    WIDTHS,
    Buffer,
    Form,
)
from dicomweb.standard.leniency import Dataset, Element
from dicomweb.standard.recurring import Recurring
from dicomweb.standard.syntaxes import Syntax
from dicomweb.standard.values import BIG, BINARY, BULK, BULK_TEXT, LITTLE, LONG, UNITS
from dicomweb.standard.walked import Limits, Pixels, Walked

__all__ = ["Limits", "Pixels", "Walked", "walk"]

_HUGE = 1 << 16
_SHORT, _SHORT_SEQUENCE = 64, 1024
_MEMO = 8192
_RECURRING = Recurring()
"""Short elements of objects read lately in Explicit VR Little Endian. They are shared, so nobody may change an element
that a walk gave. Here is only plain ASCII, which is the same in every character set (PS3.5 6.1.2), and nothing that was
odd."""
_NONE: frozenset[bytes] = frozenset()
_HUGE_TEXT = 1 << 22
_CHARSET = "00080005"
_SIGN = "00280103"
_PIXEL_DATA = "7FE00010"
_TRAILING_PADDING = "FFFCFFFC"
_TWICE = "an attribute is there twice; the first one counts"

Up: TypeAlias = "tuple[Up, str, int] | None"
"""Where an item lies: place of its sequence's data set, tag of the sequence, index of the item."""


def walk(buffer: Buffer, start: int, stop: int, syntax: Syntax, limits: Limits, *, meta: bool = False) -> Walked:
    """Read the data set in bytes [start, stop) of a buffer (PS3.5 7, PS3.18 F).

    Group lengths, group 0002 and trailing padding are left out. Specific Character Set becomes ISO_IR 192
    where it is, and where text is not ASCII. Of elements that are there twice the first one counts.

    Args:
        buffer: holds the data set; of a deflated one the inflated.
        start: where it begins.
        stop: where the bytes end.
        syntax: what it is encoded in.
        limits: what it may hold.
        meta: whether it is a File Meta group: then group 0002 is read, and text left as it is.

    Raises:
        TruncatedObject: the bytes end before the data set does.
        ObjectTooComplex: it is above the limits.
        BadObject: it cannot be understood. Each error says which object it was, as far as that was read.
    """
    walker = Walker(buffer, syntax, limits, meta)
    try:
        return walker.walk(start, stop)
    except BadObject as error:
        error.sop_class = error.sop_class or walker.identity("00080016")
        error.instance = error.instance or walker.identity("00080018")
        raise


class Walker:
    """One walk. What is in force (character set) changes as it goes; see `walk`."""

    def __init__(self, buffer: Buffer, syntax: Syntax, limits: Limits, meta: bool) -> None:
        self.buffer = cast("bytes", buffer)  # slices of the other kinds are not all bytes, see `sliced`
        self.sliced = isinstance(buffer, bytes | mmap)
        if syntax.implicit:
            self.form = IMPLICIT_META if meta else IMPLICIT_LITTLE
        elif syntax.big_endian:
            self.form = EXPLICIT_BIG
        else:
            self.form = META if meta else EXPLICIT_LITTLE
        self.limits = limits
        self.inline = limits.inline
        self.meta = meta
        self.budget = limits.elements
        self.decoder = Decoder()
        self.decode = self.decoder.decode
        self.misread = False
        self.memo: dict[bytes, Element] = {}
        self.recent: dict[str, tuple[bytes, int, int, Element]] = {}
        self.sequences = 0
        self.root: Dataset = {}
        self.bulk: list[tuple[str, Bulk]] = []
        self.pixels: Pixels | None = None
        self.ambiguous: list[tuple[Element, bytes]] = []
        self.faults: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    # -- the whole ------------------------------------------------------------------------------------------

    def walk(self, start: int, stop: int) -> Walked:
        """Read the data set, see the function `walk` (PS3.5 7)."""
        if not 0 <= start <= stop <= len(self.buffer):
            raise TruncatedObject("the data set ends before it begins")
        first = self.decoder
        if self.form is EXPLICIT_LITTLE:
            _RECURRING.begin()
        dataset, end = self.dataset(self.form, start, stop, None, self.limits.depth, False)
        if first.seen and not self.meta and _CHARSET not in dataset:
            dataset[_CHARSET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
            dataset = {tag: dataset[tag] for tag in sorted(dataset)}
        self.misread |= first.faulty
        bulk: dict[str, Bulk] = {}
        for path, one in self.bulk:
            bulk.setdefault(path, one)
        return Walked(dataset, bulk, self.pixels, self.sentences(), end)

    def identity(self, name: str) -> str:
        """Return the first value of a top-level UID that was read so far (PS3.5 9), or ""."""
        values = self.root.get(name, {}).get("Value") or [""]
        return values[0] if isinstance(values[0], str) else ""

    def sentences(self) -> list[str]:
        """Return the faults that were overlooked (PS3.5 6.2, 7.1), one sentence each."""
        sentences = [
            sentence if count == 1 else f"{sentence} ({count} times)" for sentence, count in self.notes.items()
        ]
        if self.faults:
            kinds = ", ".join(sorted(self.faults))
            sentences.append(f"{self.faults.total()} values are not what their VR allows ({kinds})")
        if self.misread:
            sentences.append("text is not in the Specific Character Set that the object names")
        return sentences

    def fault(self, vr: str) -> None:
        """Count a value that its VR does not allow (PS3.5 6.2)."""
        self.faults[vr] += 1

    # -- data sets and items --------------------------------------------------------------------------------

    def dataset(self, form: Form, position: int, stop: int, up: Up, depth: int, undefined: bool) -> tuple[Dataset, int]:
        """Read a data set or an item (PS3.5 7.1, 7.5).

        Args:
            form: how it is encoded.
            position: where its first element begins.
            stop: where it ends, or of undefined length must have ended.
            up: where it lies; None is the top level.
            depth: how many sequences more may be nested.
            undefined: whether it ends with an Item Delimitation Item.

        Returns:
            The model and where it ended.
        """
        head, table = form.head, form.table
        buffer, sliced = self.buffer, self.sliced
        outer = self.decoder
        memo, varied = (_RECURRING.known, _RECURRING.varied) if up is None else (self.memo, _NONE)
        repeats = sliced and (up is not None or form is EXPLICIT_LITTLE)
        mark = len(self.ambiguous)
        result: Dataset = {}
        if up is None:
            self.root = result
        start = position
        edge = stop - 8
        last = ""
        ordered = True
        ended = False
        for _ in repeat(None, min(self.budget, self.limits.attributes) + 1):
            if position > edge:
                break
            key, length = head(buffer, position)
            name, vr, convert, kind = table[key]
            position += 8
            if kind or length > _HUGE:
                if kind == MARK:
                    position, ended = self.mark(name, position, stop, up, undefined)
                    if ended:
                        break
                    continue
                element, position = self.special(form, result, key, length, position, stop, up, depth)
                if up is not None:
                    memo = self.memo
                if element is None:
                    continue
            else:
                end = position + length
                if end > stop:
                    raise TruncatedObject(f"the data set ends inside of the value of {name}")
                if not length:
                    element = {"vr": vr}
                elif repeats and length <= _SHORT and key not in varied:
                    written = buffer[position - 8 : end]
                    element = memo.get(written)
                    if element is None:
                        element = convert(written[8:], self)  # type: ignore[misc]
                        if up is None:
                            self.remember(key, written, element)
                        elif len(memo) < _MEMO:
                            memo[written] = element
                    position = end
                else:
                    raw = buffer[position:end]
                    element = convert(raw if sliced else bytes(raw), self)  # type: ignore[misc]
                    position = end
            if name > last:
                last = name
            elif name in result:
                self.notes[_TWICE] += 1
                continue
            else:
                ordered = False
            result[name] = element
        else:
            raise ObjectTooComplex("the object has more elements than the limit")
        if not ended and (undefined or position != stop):
            position = self.rest(start, position, stop, up, undefined)
        self.budget -= len(result)
        if self.budget < 0:
            raise ObjectTooComplex("the object has more elements than the limit")
        if not ordered or self.decoder is not outer or len(self.ambiguous) > mark:
            result = self.finished(result, outer, mark, ordered)
        return result, position

    def remember(self, key: bytes, written: bytes, element: Element) -> None:
        """Keep an element of the top level for objects to come, if it says the same in each."""
        if not self.faults and written.isascii() and 27 not in written:
            _RECURRING.keep(key, written, element)

    def finished(self, result: Dataset, outer: Decoder, mark: int, ordered: bool) -> Dataset:
        """Settle what only the end of a data set decides, and leave its character set (PS3.5 6.1.2.5.4)."""
        if not ordered:
            self.notes["attributes are not in ascending order"] += 1
            result = {tag: result[tag] for tag in sorted(result)}
        if len(self.ambiguous) > mark and (sign := result.get(_SIGN)) is not None:
            if sign.get("Value") == [1]:
                for element, raw in self.ambiguous[mark:]:
                    element.update(LITTLE["SS"](raw, self))
            del self.ambiguous[mark:]
        if self.decoder is not outer:
            self.misread |= self.decoder.faulty
            self.put(outer)
        return result

    def rest(self, start: int, position: int, stop: int, up: Up, undefined: bool) -> int:
        """Judge a data set that did not end where it should: return where it ended, or raise.

        A few zero bytes may follow the top level (old devices pad their files); a single one only behind an
        odd number of bytes, as it could be the first of a tag.
        """
        if undefined:
            raise TruncatedObject("the data set ends inside of an item")
        if up is not None:
            raise BadObject("an item is longer or shorter than its elements")
        if not any(self.buffer[position:stop]) and (stop - position > 1 or (position - start) & 1):
            return position
        raise TruncatedObject("the data set ends inside of the header of an element")

    # -- elements that are no plain short values ------------------------------------------------------------

    def mark(self, name: str, position: int, stop: int, up: Up, undefined: bool) -> tuple[int, bool]:
        """Judge a delimiter or padding among elements (PS3.5 7.5.2, PS3.10 7.2): where to go on, and whether
        the data set ended."""
        if undefined and name == "FFFEE00D":
            return position, True
        if undefined and name == "FFFEE0DD":
            self.notes["an item has no delimiter"] += 1
            return position - 8, True
        if up is None and (
            name == _TRAILING_PADDING or (name == "00000000" and headers.are_zero(self.buffer, position - 8, stop))
        ):
            return position - 8, True
        if name not in ("FFFEE00D", "FFFEE0DD") or (up is not None and position != stop):
            raise BadObject("an item begins or ends where an element should be")
        return position, False

    def special(
        self,
        form: Form,
        result: Dataset,
        key: bytes,
        length: int,
        position: int,
        stop: int,
        up: Up,
        depth: int,
    ) -> tuple[Element | None, int]:
        """Read an element that the loop of `dataset` cannot just convert.

        Returns:
            The element, or None where it is left out, and where the next one begins.
        """
        name, vr, convert, kind = form.table[key]
        explicit, big = form.explicit, form.big
        if kind == STRANGE:
            self.notes["an element has a VR that does not exist"] += 1
            vr, length, position = headers.guess(self.buffer, form, name, vr, position, stop)
            kind = DROPPED if name[4:] == "0000" or name[:4] in ("0000", "0002") else LARGE
        elif explicit and (kind < SIGNED or vr in LONG):
            if position + 4 > stop:
                raise TruncatedObject(f"the data set ends inside of the header of {name}")
            (length,) = form.long(self.buffer, position)
            position += 4
        end = position + length
        if kind == SEQUENCE and (end <= stop or length == UNDEFINED):
            return self.repeated(form, name, position, length, stop, up, depth)
        unsure = kind in (PRIVATE, UNKNOWN)
        width = 1
        if unsure:
            big = False
            if kind == UNKNOWN:
                convert, width = LITTLE.get(vr), WIDTHS.get(vr, 1)
            else:
                values = result[vr].get("Value") if vr in result else None
                creator = values[0] if values else None
                vr, convert, width = headers.private(creator, name) if isinstance(creator, str) else headers.NOBODY
            if vr == "US or SS":
                vr, kind = "US", SIGNED
            elif 0 < length <= self.inline and end <= stop and convert is not None and not length % width:
                return convert(bytes(self.buffer[position:end]), self), end
        if length == UNDEFINED:
            return self.undefined(form, name, vr, unsure and explicit, position, stop, up, depth)
        if end > stop:
            if end != stop + 1 or up is not None or name not in PIXELS:
                raise TruncatedObject(f"the data set ends inside of the value of {name}")
            end = stop
        if kind == DROPPED:
            return None, end
        if kind == CHARSET:
            self.charset(self.buffer[position:end])
            return {"vr": "CS", "Value": ["ISO_IR 192"]}, end
        if unsure and (vr == "SQ" or length % width):
            return self.doubtful(name, vr, position, length, up, depth), end
        if vr == "SQ":
            return self.sequence(form, name, position, end, up, depth, False)[0], end
        return self.value(name, vr, position, end, length, up, big, kind == SIGNED), end

    def charset(self, raw: bytes) -> None:
        """Put Specific Character Set in force until the end of the data set (PS3.3 C.12.1.1.2)."""
        self.put(Decoder(bytes(raw).decode("latin-1").split("\\")))

    def put(self, decoder: Decoder) -> None:
        """Put a decoder in force; what was read under another one cannot be used again."""
        self.decoder = decoder
        self.decode = decoder.decode
        self.forget()

    def forget(self) -> None:
        """Forget what could be used again."""
        self.memo = {}
        self.recent = {}

    # -- values ---------------------------------------------------------------------------------------------

    def value(
        self, name: str, vr: str, start: int, stop: int, length: int, up: Up, big: bool, ambiguous: bool
    ) -> Element:
        """Convert a value field, or say where it is (PS3.18 10.4.3.3.2, F.2.6, F.2.7)."""
        if up is None and name in PIXELS:
            self.pixels = self.pixels or Pixels(name, vr, start, stop, length)
            limit = 0
        elif vr in BINARY:
            limit = self.inline
        elif vr in BULK_TEXT:
            limit = _HUGE_TEXT
        else:
            limit = _HUGE if vr in BULK else length
        if not length:
            return {"vr": vr}
        if length > limit:
            return self.reference(name, up, Bulk(vr, start, stop, UNITS.get(vr, 0) if big else 0))
        raw = bytes(self.buffer[start:stop])
        element = (BIG if big else LITTLE)[vr](raw, self)
        if ambiguous:
            self.ambiguous.append((element, raw))
        return element

    def reference(self, name: str, up: Up, bulk: Bulk) -> Element:
        """Note a bulk value and return the element that refers to it (PS3.18 F.2.6)."""
        path = name
        while up is not None:
            up, sequence, index = up
            path = f"{sequence}/{index}/{path}"
        self.bulk.append((path, bulk))
        return {"vr": bulk.vr, "BulkDataURI": f"bulkdata/{path}"}

    def doubtful(self, name: str, vr: str, start: int, length: int, up: Up, depth: int) -> Element:
        """Read what a dictionary takes for a sequence, or for numbers, and the file did not say; bytes of
        no known kind (UN) if it cannot be (PS3.5 6.2.2)."""
        decoder, bulk, ambiguous = self.decoder, len(self.bulk), len(self.ambiguous)
        if vr == "SQ":
            try:
                return self.sequence(IMPLICIT_LITTLE, name, start, start + length, up, depth, False)[0]
            except ObjectTooComplex:
                raise
            except BadObject:
                self.put(decoder)
                del self.bulk[bulk:], self.ambiguous[ambiguous:]
        return self.value(name, "UN", start, start + length, length, up, False, False)

    # -- sequences and fragments ----------------------------------------------------------------------------

    def undefined(
        self, form: Form, name: str, vr: str, unsure: bool, position: int, stop: int, up: Up, depth: int
    ) -> tuple[Element, int]:
        """Read a value of undefined length (PS3.5 7.5, 6.2.2, A.4); return where it ended as well."""
        if name == _PIXEL_DATA or (vr in BINARY and not unsure and form.explicit):
            return self.fragments(form, name, vr, position, stop, up)
        if unsure:
            form = IMPLICIT_LITTLE
            if headers.is_explicit(self.buffer, position, stop):
                self.notes["a sequence of unknown VR is in Explicit VR"] += 1
                self.forget()
                read = self.sequence(EXPLICIT_LITTLE, name, position, stop, up, depth, True)
                self.forget()
                return read
        elif vr != "SQ" and form.explicit:
            raise BadObject(f"{name} has an undefined length, which VR {vr} cannot have")
        return self.sequence(form, name, position, stop, up, depth, True)

    def repeated(
        self, form: Form, name: str, position: int, length: int, stop: int, up: Up, depth: int
    ) -> tuple[Element, int]:
        """Read a sequence; one inside of an item that is byte for byte as the last one with this tag is that
        one. Most functional groups of most frames are (PS3.3 C.7.6.16). What other attributes decide, bulk,
        and sequences that hold sequences are always read."""
        undefined = length == UNDEFINED
        recent = self.recent.get(name)
        if recent is not None and up is not None:
            written, known, cost, element = recent
            end = position + len(written)
            if known == length and end <= stop and self.buffer[position:end] == written:
                self.budget -= cost
                return element, end
        before = self.sequences, len(self.bulk), len(self.ambiguous)
        budget = self.budget
        element, end = self.sequence(
            form, name, position, stop if undefined else position + length, up, depth, undefined
        )
        if end - position <= _SHORT_SEQUENCE and self.sliced:
            after = self.sequences - 1, len(self.bulk), len(self.ambiguous)
            if before == after:
                self.recent[name] = self.buffer[position:end], length, budget - self.budget, element
        return element, end

    def sequence(
        self, form: Form, name: str, position: int, stop: int, up: Up, depth: int, undefined: bool
    ) -> tuple[Element, int]:
        """Read the items of a sequence (PS3.5 7.5); return where they ended as well.

        Args:
            form: how they are encoded.
            name: tag of the sequence.
            position: where the first item begins.
            stop: where the sequence ends, or of undefined length must have ended.
            up: where the sequence lies.
            depth: how many sequences may be nested, this one counted.
            undefined: whether it ends with a Sequence Delimitation Item.
        """
        if depth <= 0:
            raise ObjectTooComplex("sequences are nested deeper than the limit")
        self.sequences += 1
        buffer, header = self.buffer, form.item
        items: list[Dataset] = []
        while undefined or position < stop:
            if position + 8 > stop:
                raise TruncatedObject(f"the data set ends inside of the sequence {name}")
            group, number, length = header(buffer, position)
            position += 8
            if group != 0xFFFE:
                raise BadObject(f"the sequence {name} holds something other than items")
            if number == 0xE000:
                place = (up, name, len(items))
                if length == UNDEFINED:
                    item, position = self.dataset(form, position, stop, place, depth - 1, True)
                elif length:
                    if position + length > stop:
                        raise TruncatedObject(f"an item of the sequence {name} ends behind its end")
                    item, _ = self.dataset(form, position, position + length, place, depth - 1, False)
                    position += length
                else:
                    item = {}
                items.append(item)
                if len(items) > self.limits.items:
                    raise ObjectTooComplex("a sequence has more items than the limit")
            elif number == 0xE0DD:
                break
            elif number != 0xE00D:
                raise BadObject(f"the sequence {name} holds something other than items")
        self.budget -= len(items)
        return ({"vr": "SQ", "Value": items} if items else {"vr": "SQ"}), position

    def fragments(self, form: Form, name: str, vr: str, position: int, stop: int, up: Up) -> tuple[Element, int]:
        """Find the items of an encapsulated value (PS3.5 A.4); return where it ended as well."""
        items = find(self.buffer, form, name, position, stop, self.limits.items)
        begin, position = position, items[-1]
        if not form.explicit:
            vr = "OB"  # PS3.5 A.4, where Implicit VR has OW
        first = items[1] if len(items) > 2 else position - 8
        bulk = Bulk(vr, first, position - 8)
        if up is None and name in PIXELS:
            self.pixels = self.pixels or Pixels(name, vr, begin, position, position - begin, items)
        else:
            spans = (Span(here, following - 8) for here, following in pairwise(items[1:]))
            bulk = bulk._replace(pieces=tuple(spans))
        if len(items) == 1:
            return {"vr": vr}, position
        return self.reference(name, up, bulk), position
