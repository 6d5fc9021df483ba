"""Objects that arrive as metadata and bulk data, put together as Part 10 files (PS3.18 10.5.1.4).

A BulkDataURI is matched with the Content-Location of a part of the same request, and with nothing else: no
other URL is ever followed.

Compressed pixels are encapsulated as they came. PNG and GIF, which no transfer syntax can carry, become uncompressed
(PS3.18 Table 10.5.2-1); what they say of themselves must not contradict the metadata.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dicomweb.archive.spool import Spool, Upload
from dicomweb.errors import BadIdentity, BadObject, BadReference, BadRequest, Undecodable
from dicomweb.imaging.bitmaps import Bitmap
from dicomweb.standard import arriving, codestreams, dicomjson, encode, movies, syntaxes
from dicomweb.standard.pixels import Format

_PIXEL_DATA = "7FE00010"
_AVAILABLE = "00083002"
"""Available Transfer Syntax UID: what metadata add to a data set that is retrieved, and no part of it."""
_FRAMES = "00280008"
_PIECE = 1 << 20
_LARGEST_PICTURE = 256 << 20

Convert: TypeAlias = Callable[[bytes], bytes]
"""Decodes a PNG or GIF, as `imaging.unpacking.convert` does."""


@dataclass(frozen=True, slots=True)
class BulkPart:
    """One part of bulk data.

    Attributes:
        upload: its bytes.
        media_type: of the part, lower case, without parameters.
        syntax: the transfer syntax that the part names, or "".
    """

    upload: Upload
    media_type: str
    syntax: str = ""


def assemble(dataset: dict[str, Any], bulk: Mapping[str, list[BulkPart]], spool: Spool, convert: Convert) -> Upload:
    """Write one instance as a Part 10 file into the spool.

    Args:
        dataset: its metadata, DICOM JSON model.
        bulk: parts by Content-Location, those of one location in order: of compressed multi-frame pixel data
            there is one part per frame.
        spool: where the file goes.
        convert: decodes pixels that come as PNG or GIF.

    Raises:
        BadReference: a reference leads out of the request.
        BadObject: a UID is missing, a value does not fit its VR, pixels are not what the metadata say.
    """
    sop_class, instance = dicomjson.text(dataset, "00080016"), dicomjson.text(dataset, "00080018")
    if not instance:
        raise BadIdentity("the metadata have no SOP Instance UID", sop_class)
    uri = dataset.get(_PIXEL_DATA, {}).get("BulkDataURI")
    try:
        pixels = _pixels(_parts(uri, bulk), dataset, spool, convert)
    except (BadObject, Undecodable) as error:
        raise BadObject(str(error), sop_class, instance) from error

    def find(wanted: str, vr: str) -> encode.Bulk:
        if wanted == uri and pixels.bulk is not None:
            return pixels.bulk
        found = _parts(wanted, bulk)
        if not found:
            sentence = "a BulkDataURI names no part of the request, and other places are not read"
            raise BadReference(sentence, sop_class, instance)
        return _joined([part.upload for part in found])

    reception = spool.receive()
    try:
        reception.write(encode.write_meta(sop_class, instance, pixels.syntax))
        kept = {**pixels.attributes, **dataset, **pixels.fixed}
        kept.pop(_AVAILABLE, None)
        for piece in encode.write_dataset(kept, find):
            reception.write(piece)
        return reception.finish()
    except BadRequest as error:
        reception.discard()
        raise BadObject(str(error), sop_class, instance) from error
    except BaseException:
        reception.discard()
        raise
    finally:
        for upload in pixels.made:
            upload.discard()


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Pixel data as they go into the object.

    Attributes:
        syntax: transfer syntax of the object.
        bulk: their bytes, or None where they are a bulk value like any other.
        attributes: what they say of themselves, for metadata that do not say it.
        fixed: what stands in the object whatever the metadata say.
        made: files to be removed afterwards.
    """

    syntax: str = syntaxes.EXPLICIT
    bulk: encode.Bulk | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    made: tuple[Upload, ...] = ()


def _pixels(parts: list[BulkPart], dataset: dict[str, Any], spool: Spool, convert: Convert) -> _Pixels:
    """Find out what the pixel parts are, and convert those that must be."""
    if not parts:
        return _Pixels()
    if any(part.media_type in arriving.CONVERTED for part in parts):
        if not all(part.media_type in arriving.CONVERTED for part in parts):
            raise BadObject("frames come partly as PNG or GIF and partly as something else")
        return _converted(parts, dataset, spool, convert)
    syntax = _syntax(parts)
    known = syntaxes.syntax_of(syntax)
    if not known.encapsulated:
        return _Pixels(syntax)
    if known.video:
        return _video(parts[0], syntax)
    return _Pixels(syntax, encode.Frames([_frame(part) for part in parts]), _described(parts, syntax))


def _video(part: BulkPart, syntax: str) -> _Pixels:
    """A video as it is, with what its stream says of itself; a syntax that the part names holds."""
    with part.upload.open() as buffer:
        movie = movies.read_movie(buffer)
    frames = encode.Frames([_frame(part)], table=False)
    if movie is None:
        return _Pixels(syntax, frames)
    syntax = syntax if part.syntax else movies.syntax_of(movie, syntax)
    return _Pixels(syntax, frames, movie.attributes(syntax))


def _converted(parts: list[BulkPart], dataset: dict[str, Any], spool: Spool, convert: Convert) -> _Pixels:
    """PNG and GIF parts as uncompressed frames, one after the other."""
    made: list[Upload] = []
    format: Format | None = None
    frames, milliseconds = 0, 0.0
    try:
        for part in parts:
            if part.upload.size > _LARGEST_PICTURE:
                raise BadObject(f"a picture is larger than {_LARGEST_PICTURE:,} bytes")
            with part.upload.open() as buffer:
                bitmap = Bitmap.from_bytes(convert(bytes(buffer)))
            if format is not None and format != bitmap.format:
                raise BadObject("the pictures that are the frames differ in size, channels or bits")
            format, frames = bitmap.format, frames + bitmap.frames
            milliseconds = bitmap.milliseconds
            reception = spool.receive()
            reception.write(bitmap.pixels)
            made.append(reception.finish())
        assert format is not None
        fixed = _fixed(dataset, format, frames)
    except BaseException:
        for upload in made:
            upload.discard()
        raise
    attributes = format.attributes()
    if milliseconds and frames > 1:
        attributes["00181063"] = {"vr": "DS", "Value": [milliseconds]}
        attributes["00280009"] = {"vr": "AT", "Value": ["00181063"]}
    return _Pixels(syntaxes.EXPLICIT, _joined(made), attributes, fixed, tuple(made))


def _fixed(dataset: dict[str, Any], format: Format, frames: int) -> dict[str, Any]:
    """The number of frames and the VR of the pixels; metadata that describe other pixels are refused, as nothing
    is to be corrected in silence."""
    for tag, element in format.attributes().items():
        said = dicomjson.values(dataset, tag)
        if said and said != element["Value"] and not _agrees(tag, said[0], dataset, format):
            sentence = (
                f"the metadata have {said[0]!s:.40} in attribute {tag}, and the picture has {element['Value'][0]}"
            )
            raise BadObject(sentence)
    said = dicomjson.values(dataset, _FRAMES)
    if said and dicomjson.integer(dataset[_FRAMES]) != frames:
        raise BadObject(f"the metadata have {said[0]!s:.40} frames, and the pictures have {frames}")
    pixels = {**dataset[_PIXEL_DATA], "vr": "OB" if format.allocated == 8 else "OW"}
    fixed: dict[str, Any] = {_PIXEL_DATA: pixels}
    if frames > 1:
        fixed[_FRAMES] = {"vr": "IS", "Value": [frames]}
    return fixed


def _agrees(tag: str, said: object, dataset: dict[str, Any], format: Format) -> bool:
    """Whether metadata give samples of the same width another meaning, which a picture cannot tell."""
    if tag == "00280004":
        return format.samples == 1 and said in {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
    if tag == "00280103":
        return said == 1
    stored, high = (dicomjson.integer(dataset.get(each)) for each in ("00280101", "00280102"))
    inside = stored is not None and 0 < stored <= format.allocated
    return tag in {"00280101", "00280102"} and inside and high == (stored or 0) - 1


def _parts(uri: str | None, bulk: Mapping[str, list[BulkPart]]) -> list[BulkPart]:
    """The parts of one BulkDataURI, or of its frames (`.../frames/1`, `.../frames/2`, ...)."""
    if uri is None:
        return []
    if found := bulk.get(uri):
        return found
    frames: list[BulkPart] = []
    while found := bulk.get(f"{uri}/frames/{len(frames) + 1}"):
        frames += found
    return frames


def _syntax(parts: list[BulkPart]) -> str:
    """The transfer syntax that the pixel parts call for (PS3.18 Table 8.7.3-5)."""
    named = {part.syntax or arriving.syntax_of(_head(part), part.media_type) for part in parts}
    if len(named) != 1 or "" in named:
        raise BadObject("the parts of the pixel data are in no transfer syntax that we know, or in several")
    return named.pop()


def _head(part: BulkPart) -> bytes:
    with part.upload.open() as buffer:
        return bytes(buffer[: codestreams.HEAD])


def _described(parts: list[BulkPart], syntax: str) -> dict[str, Any]:
    """What compressed frames say of themselves, for metadata that do not say it (PS3.18 10.5.1.4)."""
    head = _head(parts[0])
    picture = codestreams.read_picture(head, syntax)
    if picture is None:
        return {}
    described = arriving.described(picture, head, syntax)
    return described if len(parts) == 1 else {**described, _FRAMES: {"vr": "IS", "Value": [len(parts)]}}


def _frame(part: BulkPart) -> encode.Source:
    """The bytes of a part that become a frame."""
    with part.upload.open() as buffer:
        start, stop = arriving.codestream(buffer, part.media_type)
    return encode.Source(stop - start, lambda: _read(part.upload, start, stop))


def _joined(uploads: list[Upload]) -> encode.Source:
    def read() -> Iterable[bytes]:
        for upload in uploads:
            yield from _read(upload)

    return encode.Source(sum(upload.size for upload in uploads), read)


def _read(upload: Upload, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    stop = upload.size if stop is None else stop
    if isinstance(upload.body, bytes):
        yield upload.body[start:stop]
        return
    with upload.body.open("rb") as file:
        file.seek(start)
        while piece := file.read(min(_PIECE, stop - start)):
            start += len(piece)
            yield piece
