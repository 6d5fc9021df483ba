"""Objects that arrive as metadata and bulk data, put together as Part 10 files (PS3.18 10.5.1.4).

A BulkDataURI is matched with the Content-Location of a part of the same request, and with nothing else: no
other URL is ever followed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dicomweb.archive.spool import Spool, Upload
from dicomweb.errors import BadIdentity, BadObject, BadReference, BadRequest
from dicomweb.standard import codestreams, dicomjson, encode, media, syntaxes

_PIXEL_DATA = "7FE00010"
_AVAILABLE = "00083002"
"""Available Transfer Syntax UID: what metadata add to a data set that is retrieved, and no part of it."""
_PIECE = 1 << 20


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


def assemble(dataset: dict[str, Any], bulk: Mapping[str, list[BulkPart]], spool: Spool) -> Upload:
    """Write one instance as a Part 10 file into the spool.

    Args:
        dataset: its metadata, DICOM JSON model.
        bulk: parts by Content-Location, those of one location in order: of compressed multi-frame pixel data
            there is one part per frame.
        spool: where the file goes.

    Raises:
        BadReference: a reference leads out of the request.
        BadObject: a UID is missing, a value does not fit its VR.
    """
    sop_class, instance = dicomjson.text(dataset, "00080016"), dicomjson.text(dataset, "00080018")
    if not instance:
        raise BadIdentity("the metadata have no SOP Instance UID", sop_class)
    pixels = dataset.get(_PIXEL_DATA, {}).get("BulkDataURI")
    parts = _parts(pixels, bulk)
    syntax = _syntax(parts)

    def find(uri: str, vr: str) -> encode.Bulk:
        found = _parts(uri, bulk)
        if not found:
            sentence = "a BulkDataURI names no part of the request, and other places are not read"
            raise BadReference(sentence, sop_class, instance)
        if uri == pixels and syntaxes.syntax_of(syntax).encapsulated:
            return encode.Frames([_source(part.upload) for part in found], table=not syntaxes.syntax_of(syntax).video)
        return _joined(found)

    reception = spool.receive()
    try:
        reception.write(encode.write_meta(sop_class, instance, syntax))
        kept = {**_described(parts, syntax), **dataset}
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
    if not parts:
        return syntaxes.EXPLICIT
    named = {part.syntax or media.default_syntax(part.media_type) for part in parts}
    if len(named) != 1 or "" in named:
        raise BadObject("the parts of the pixel data are in no transfer syntax that we know, or in several")
    return named.pop()


def _described(parts: list[BulkPart], syntax: str) -> dict[str, Any]:
    """What compressed frames say of themselves, for metadata that do not say it (PS3.18 10.5.1.4)."""
    if not parts or not syntaxes.syntax_of(syntax).encapsulated:
        return {}
    with parts[0].upload.open() as buffer:
        picture = codestreams.read_picture(bytes(buffer[: codestreams.HEAD]), syntax)
    if picture is None:
        return {}
    if len(parts) == 1:
        return picture.attributes()
    return {**picture.attributes(), "00280008": {"vr": "IS", "Value": [len(parts)]}}


def _source(upload: Upload) -> encode.Source:
    return encode.Source(upload.size, lambda: _read(upload))


def _joined(parts: list[BulkPart]) -> encode.Source:
    def read() -> Iterable[bytes]:
        for part in parts:
            yield from _read(part.upload)

    return encode.Source(sum(part.upload.size for part in parts), read)


def _read(upload: Upload) -> Iterator[bytes]:
    if isinstance(upload.body, bytes):
        yield upload.body
        return
    with upload.body.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
