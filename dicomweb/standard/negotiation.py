"""Choosing what is sent among what can be made (PS3.18 8.7.8, 10.4.4, 10.5.4, 10.6.4).

The caller says what an instance is stored as and which transfer syntaxes can be made of it; each
representation takes the q of the most specific entry of the client's list that covers it, and the best one
is sent. Between equals, a type that the client names goes before a wildcard, stored bytes before transcoded
ones, and the client's order decides the rest. As long as one entry fits, the others never make a request
fail.

Where the Standard's editions and practice differ:

* no Accept header is `*/*`;
* frames for `*/*` are decoded, little endian, if that loses nothing and can be done; else as stored;
* `application/dicom` without `transfer-syntax` is Explicit VR Little Endian; as stored if the pixels exist
  only in lossy form or cannot be decoded (PS3.18 8.7.3.4);
* `transfer-syntax=*` is as stored, but Implicit VR and Big Endian leave as Explicit VR Little Endian;
* `application/octet-stream; transfer-syntax=*` is as stored too, with the media type of what is stored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias

from dicomweb.errors import BadRequest, NotAcceptable
from dicomweb.standard import media, syntaxes
from dicomweb.standard.media import AS_STORED, DICOM, EXPLICIT, JSON, OCTETS, XML, ZIP, Accepted, Range

Document: TypeAlias = Literal["json", "xml"]

_NEVER_SENT = {syntaxes.IMPLICIT, syntaxes.BIG_ENDIAN}  # PS3.18 8.6.2.1
_BARE_FRAMES = {*_NEVER_SENT, EXPLICIT, syntaxes.DEFLATED, syntaxes.ENCAPSULATED_UNCOMPRESSED}
_RENDERED = {"image/png", "image/gif", "image/jph", "text/html", "text/plain", "text/xml", "text/rtf"}
_DICOM = {DICOM, JSON, XML, OCTETS}


@dataclass(frozen=True, slots=True)
class Source:
    """What there is of one instance, or of its pixels, and what can be made of it.

    Attributes:
        syntax: transfer syntax UID as stored.
        native: the data set is not encapsulated: nothing needs a codec.
        lossy: the pixels exist only in lossy form.
        video: the pixels are one stream.
        makes: transfer syntaxes of the pixels that can be made besides; EXPLICIT: they can be decoded.
    """

    syntax: str
    native: bool = True
    lossy: bool = False
    video: bool = False
    makes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Choice:
    """What to send.

    Attributes:
        media_type: of the body, or of each part.
        multipart: as parts of multipart/related.
        syntax: transfer syntax UID of what is sent, or "" where there is none to speak of.
        q: how welcome it is.
    """

    media_type: str
    multipart: bool
    syntax: str = ""
    q: float = 1.0

    @property
    def content_type(self) -> str:
        """Content-Type of the body, or of each part; states what is inside (PS3.18 8.7.9)."""
        return f"{self.media_type}; transfer-syntax={self.syntax}" if self.syntax else self.media_type


@dataclass(frozen=True, slots=True)
class _Offer:
    """One representation that can be made.

    Attributes:
        media_type, syntax: as in Choice.
        wraps: as parts (True) or bare (False), in order of preference.
        stored: nothing has to be transcoded for it.
        plain: it goes out for a range that names no transfer syntax.
    """

    media_type: str
    wraps: tuple[bool, ...]
    syntax: str = ""
    stored: bool = True
    plain: bool = True


# How good a representation is; smaller is better. See `_rank`.
_Rank: TypeAlias = tuple[float, bool, bool, int, int, int]
_Ranked: TypeAlias = tuple[_Rank, Choice]

_DOCUMENTS = (
    _Offer(JSON, (False,)),
    _Offer(XML, (True,)),
    _Offer(XML, (False,), stored=False),  # the right type in the wrong wrapping is still understood
    _Offer(JSON, (True,), stored=False),
)


def for_metadata(accepted: Accepted) -> Document:
    """Choose the form of metadata and of search results (PS3.18 8.7.3.2, 10.6.4; W-054, W-055, W-062, W-063): JSON, or
    XML in parts.

    `application/json` is taken for application/dicom+json.

    Raises:
        NotAcceptable: neither is accepted.
    """
    for ranges in (accepted.query, accepted.header):
        best = _best([_as_json(range_) for range_ in ranges], _DOCUMENTS)
        if best:
            return "xml" if best[1].media_type == XML else "json"
    raise NotAcceptable(f"none of the accepted types can be made; there is {_list(_DOCUMENTS[:2])}")


def described_syntax(accepted: Accepted, form: Document) -> str:
    """Return the transfer syntax whose instances metadata are to describe, or "" for those that are stored.

    An extension: `application/dicom+json; transfer-syntax=UID` asks for metadata that fit instances and frames which
    are asked for in that transfer syntax (PS3.18 8.7.3.5.2 has the parameter, and no meaning for it here).

    Args:
        accepted: by the client.
        form: what `for_metadata` chose.
    """
    kind = {"json": JSON, "xml": XML}[form]
    for range_ in map(_as_json, (*accepted.query, *accepted.header)):
        if range_.media_type == kind and range_.q > 0 and range_.syntax in syntaxes.SYNTAXES:
            return range_.syntax
    return ""


@lru_cache(maxsize=256)
def for_store(accepted: Accepted) -> Document:
    """Choose the form of a Store response (PS3.18 10.5.4, W-260): JSON, unless the client would rather have
    XML. What was stored is stored, so an answer that is not accepted is better than none."""
    try:
        return for_metadata(accepted)
    except NotAcceptable:
        return "json"


def for_instances(accepted: Accepted, sources: Sequence[Source], single: bool) -> list[Choice]:
    """Choose the form of whole instances (PS3.18 8.7.3.2, 10.4.4; W-050 to W-052).

    All go out in one wrapping: parts, one bare instance, or a ZIP file (extension; as stored unless it
    names a transfer syntax). Transfer syntaxes are chosen for each (PS3.18 8.7.8.2).

    Args:
        accepted: by the client.
        sources: of the instances, in order; at least one.
        single: the target is one instance, so that it may go out bare (W-041).

    Returns:
        One choice per source, in order.

    Raises:
        NotAcceptable: no accepted form can be made of all of them.
        BadRequest: nor does the client know whether it wants instances or rendered images (W-025).
    """
    distinct = list(dict.fromkeys(sources))
    for ranges in (accepted.query, accepted.header):
        ways = [
            [_best(ranges, _instance_offers(source, (True,))) for source in distinct],
            [_best(ranges, _instance_offers(source, (False,))) for source in distinct] if single else [None],
            [_best(_for_zip(ranges), _zip_offers(source)) for source in distinct],
        ]
        whole = [found for way in ways if len(found := [one for one in way if one]) == len(way)]
        if whole:
            best = min(whole, key=lambda way: max(rank for rank, _ in way))
            chosen = dict(zip(distinct, (choice for _, choice in best), strict=True))
            return [chosen[source] for source in sources]
    offers = [*_instance_offers(distinct[0], (True, False) if single else (True,)), _Offer(ZIP, (False,))]
    raise _refusal(accepted, offers, _RENDERED, _why(distinct))


def wants_bulkdata(accepted: Accepted) -> bool:
    """Say whether a client that asks for a study, series or instance names bulk data types: it means the bulk
    data of that resource, a historic form that servers still answer (PS3.18 Table 10.4.4-1, W-051, W-053).

    Args:
        accepted: by the client; `for_instances` has found nothing in it, or has not been asked.
    """
    named = {range_.media_type for range_ in (*accepted.query, *accepted.header) if range_.multipart and range_.q}
    return bool(named & {"image/*", "video/*", *map(str.lower, media.SYNTAXES)})


def for_frames(accepted: Accepted, source: Source, single: bool) -> Choice:
    """Choose the form of frames (PS3.18 8.7.3.3, 10.4.4; W-056 to W-058, W-070 to W-082).

    Args:
        accepted: by the client.
        source: of their instance.
        single: one frame is asked for, so that it may go out bare (W-041).

    Raises:
        NotAcceptable: no accepted form can be made, or the pixels are a video, which has none of its own.
        BadRequest: nor does the client know whether it wants frames or rendered images (W-025).
    """
    if source.video:
        raise NotAcceptable(
            "a video has no frames that can be sent one by one; there are its bulk data and its rendered form"
        )
    return _choose(accepted, _frame_offers(source, (True, False) if single else (True,)), _RENDERED, [source])


def for_pixels(accepted: Accepted, source: Source, single: bool) -> Choice:
    """Choose the form of Pixel Data as a bulk data value (PS3.18 10.4.1.1.5, W-081 to W-083).

    As frames, but videos have one too, and what is one thing goes out bare for `*/*`, which is what people's
    tools ask for.

    Args:
        accepted: by the client.
        source: of the instance.
        single: the value is one thing: native, one frame, or a video; compressed frames are a part each.

    Raises:
        NotAcceptable, BadRequest: as `for_frames`.
    """
    return _choose(accepted, _frame_offers(source, (False, True) if single else (True,)), _RENDERED, [source])


def for_value(accepted: Accepted, media_type: str = OCTETS, single: bool = True) -> Choice:
    """Choose the form of any other bulk data value (PS3.18 10.4.1.1.5, 10.5.1.4; W-056, W-057).

    Args:
        accepted: by the client; transfer syntaxes that it names say nothing about such a value.
        media_type: what the value is, where the data set says that, such as "application/pdf".
        single: no other value is asked for, so that it may go out bare (W-041).

    Raises:
        NotAcceptable: the client accepts neither that type nor application/octet-stream.
    """
    own = media.plain_name(media_type) or OCTETS
    offers = [_Offer(kind, (False, True) if single else (True,)) for kind in dict.fromkeys((own, OCTETS))]
    choice = _choose(accepted, offers, set(), [])
    return replace(choice, syntax=EXPLICIT) if choice.media_type == OCTETS else choice


def for_rendered(accepted: Accepted, media_types: Sequence[str], single: bool, representative: bool = False) -> Choice:
    """Choose the form of rendered images, texts, videos, and thumbnails (PS3.18 8.7.4, W-059, W-060).

    Args:
        accepted: by the client; a transfer syntax has no meaning here (W-036).
        media_types: what can be made, the default first.
        single: the target is one thing.
        representative: a target of several may be stood for by one image, if a bare type is asked for.

    Raises:
        NotAcceptable: none of them is accepted.
        BadRequest: nor does the client know whether it wants DICOM or rendered images (W-025).
    """
    wraps = (False, True) if single else (True, False) if representative else (True,)
    offers = [_Offer(kind, wraps) for kind in media_types]
    return _choose(accepted, offers, _DICOM, [])


def _instance_offers(source: Source, wraps: tuple[bool, ...]) -> list[_Offer]:
    """What can be made of an instance as application/dicom; what `*/*` gets stands first."""
    decoded = source.native or EXPLICIT in source.makes
    kept = not source.native and (source.lossy or source.video or not decoded)
    offers = []
    if source.syntax not in _NEVER_SENT:
        plain = kept or source.syntax == EXPLICIT
        offers.append(_Offer(DICOM, wraps, source.syntax, True, plain))
    if decoded and source.syntax != EXPLICIT:
        as_good_as_stored = source.syntax in _NEVER_SENT
        offers.insert(len(offers) if kept else 0, _Offer(DICOM, wraps, EXPLICIT, as_good_as_stored))
    return offers + [_Offer(DICOM, wraps, syntax, False, False) for syntax in _others(source)]


def _frame_offers(source: Source, wraps: tuple[bool, ...]) -> list[_Offer]:
    """What can be made of frames; what `*/*` gets stands first."""
    if source.syntax in _BARE_FRAMES or source.native:
        offers = [_Offer(OCTETS, wraps, EXPLICIT)]
    else:
        kind = media.type_of(source.syntax)
        default = media.default_syntax(kind)
        kept = source.lossy or source.video
        plain = source.syntax == default or (kind != OCTETS and (kept or default not in source.makes))
        offers = [_Offer(kind, wraps, source.syntax, True, plain)]
        if EXPLICIT in source.makes:
            offers.insert(len(offers) if kept else 0, _Offer(OCTETS, wraps, EXPLICIT, False))
    for syntax in _others(source):
        kind = media.type_of(syntax)
        offers.append(_Offer(kind, wraps, syntax, False, syntax == media.default_syntax(kind)))
    return offers


def _others(source: Source) -> list[str]:
    """Compressed transfer syntaxes that can be made, in a stable order, defaults of their types first."""
    rows = enumerate(media.SYNTAXES.values())
    order = {syntax: (place, row) for row, uids in rows for place, syntax in enumerate(uids)}
    made = source.makes - {EXPLICIT, source.syntax} - _NEVER_SENT
    return sorted(made, key=lambda syntax: (order.get(syntax, (len(order), 0)), syntax))


def _zip_offers(source: Source) -> list[_Offer]:
    return [replace(offer, media_type=ZIP) for offer in _instance_offers(source, (False,))]


def _for_zip(ranges: Iterable[Range]) -> list[Range]:
    """Entries that ask for a ZIP file by name; instances in it are as stored unless one says otherwise."""
    return [replace(r, syntax=r.syntax or AS_STORED) for r in ranges if r.media_type == ZIP]


def _as_json(range_: Range) -> Range:
    return replace(range_, media_type=JSON) if range_.media_type == "application/json" else range_


def _choose(accepted: Accepted, offers: Sequence[_Offer], others: set[str], sources: Sequence[Source]) -> Choice:
    for ranges in (accepted.query, accepted.header):
        best = _best(ranges, offers)
        if best:
            return best[1]
    raise _refusal(accepted, offers, others, _why(sources))


def _best(ranges: Iterable[Range], offers: Sequence[_Offer]) -> _Ranked | None:
    """Return the best representation with its rank; None if no range covers any (PS3.18 8.7.8.1)."""
    ranges = tuple(ranges)
    best: _Ranked | None = None
    for number, offer in enumerate(offers):
        for place, multipart in enumerate(offer.wraps):
            rank = _rank(ranges, offer, multipart, number, place)
            if rank and (best is None or rank < best[0]):
                best = rank, Choice(offer.media_type, multipart, offer.syntax, -rank[0])
    return best


def _rank(ranges: Sequence[Range], offer: _Offer, multipart: bool, number: int, place: int) -> _Rank | None:
    """Rank a representation by the most specific range that covers it; None if that says no.

    Returns:
        How unwelcome; whether only by a wildcard; whether transcoded; the place of the range; those of the
        offer and of its wrapping. Under a wildcard the order of the offers decides instead.
    """
    covering = [
        (fit, range_.q, -order, range_)
        for order, range_ in enumerate(ranges)
        if (fit := _fit(range_, offer, multipart, place == 0)) is not None
    ]
    if not covering:
        return None
    _, q, order, range_ = max(covering, key=lambda one: one[:3])
    if q <= 0:
        return None
    if range_.media_type == "*/*" and range_.syntax != AS_STORED:
        return -q, True, False, 0, number, place
    return -q, range_.media_type == "*/*", not offer.stored, -order, number, place


def _fit(range_: Range, offer: _Offer, multipart: bool, usual: bool) -> tuple[int, int] | None:
    """How specifically a range covers a representation (RFC 9110 12.5.1): by type, by transfer syntax; None
    if it does not. A bare `*/*` covers it in its usual wrapping only (PS3.18 8.7.7)."""
    if range_.multipart != multipart and (range_.multipart is not None or not usual):
        return None
    kind, wanted = offer.media_type.lower(), range_.media_type
    if wanted == kind:
        level = 3
    elif wanted == OCTETS and range_.syntax and offer.syntax and offer.media_type not in {DICOM, ZIP}:
        level = 2  # the bytes as they are, whatever their own type
    elif wanted == "*/*":
        level = 0
    elif wanted.endswith("/*") and kind.startswith(wanted[:-1]):
        level = 1
    else:
        return None
    if not offer.syntax:
        return level, 0
    if not range_.syntax:
        return (level, 2) if offer.plain or not level else None
    if range_.syntax == AS_STORED:
        return level, 1
    return (level, 3) if range_.syntax == offer.syntax else None


def _why(sources: Sequence[Source]) -> str:
    """Say which of the sources cannot be decoded, if that may be the reason."""
    for source in sources:
        if not source.native and source.syntax not in _BARE_FRAMES and EXPLICIT not in source.makes:
            return f"; the pixels are in transfer syntax {source.syntax}, which cannot be decoded here"
    return ""


def _refusal(accepted: Accepted, offers: Sequence[_Offer], others: set[str], why: str) -> BadRequest | NotAcceptable:
    """Say what there is; or, of a list that mixes DICOM and rendered types, that it does (W-025)."""
    asked = {range_.media_type for range_ in (*accepted.query, *accepted.header)}
    ours = {offer.media_type for offer in offers}
    if asked & others and (asked & (_DICOM | _RENDERED | set(media.SYNTAXES) | ours)) - others:
        return BadRequest(
            f"the Accept header mixes DICOM and rendered media types, and none fits; there is {_list(offers)}"
        )
    return NotAcceptable(f"none of the accepted types can be made; there is {_list(offers)}{why}")


def _list(offers: Sequence[_Offer]) -> str:
    """Spell media types as a client would ask for them."""
    texts = []
    for offer in offers:
        syntax = f"; transfer-syntax={offer.syntax}" if offer.syntax else ""
        for multipart in offer.wraps:
            kind = f'multipart/related; type="{offer.media_type}"' if multipart else offer.media_type
            texts.append(kind + syntax)
    return ", ".join(dict.fromkeys(texts))
