"""Encapsulated documents: PDF, CDA, STL, OBJ and what else lies in an object as a file of its own (PS3.3 C.24,
PS3.18 8.7.4).

Their bytes are a bulk value like any other; this module says which, and as what they are handed out. A document
of a stranger is never something that a browser would run as part of this site: `SHOWN` are those that a browser may
open at all (A20).
"""

import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

from dicomweb.imaging import readable
from dicomweb.standard import dicomjson, media

PATH = "00420011"
"""Encapsulated Document, as the path of a bulk value."""

# PS3.3 A.45.1, A.45.2, A.85, A.104, A.105: what the classes hold, where the object does not say
_BY_CLASS = {
    "1.2.840.10008.5.1.4.1.1.104.1": "application/pdf",
    "1.2.840.10008.5.1.4.1.1.104.2": "text/xml",
    "1.2.840.10008.5.1.4.1.1.104.3": "model/stl",
    "1.2.840.10008.5.1.4.1.1.104.4": "model/obj",
    "1.2.840.10008.5.1.4.1.1.104.5": "model/mtl",
}
_ENDINGS = {
    "application/pdf": "pdf", "text/xml": "xml", "model/stl": "stl", "model/obj": "obj", "model/mtl": "mtl",
    "text/plain": "txt", "image/jpeg": "jpg", "image/png": "png",
}  # fmt: skip
_SAME = {
    "application/xml": "text/xml",
    "text/cda+xml": "text/xml",
    "application/hl7-cda+xml": "text/xml",
    "application/sla": "model/stl",
    "model/x.stl-binary": "model/stl",
    "application/x-pdf": "application/pdf",
}
_TYPES = frozenset(_ENDINGS)

POLICY = "sandbox; default-src 'none'"
"""The Content-Security-Policy under which every document goes out: whoever opens it runs no script in our name.
Chromium's viewer shows a PDF under it."""


SHOWN = frozenset(("application/pdf", "text/plain", "image/jpeg", "image/png"))
"""Types that a browser may show; it saves documents of all others."""


class Document(NamedTuple):
    """An encapsulated document.

    Attributes:
        media_type: what `/rendered` gives.
        title: in words, cleaned; may name the patient.
        file_ending: proposed, without a dot.
        inline: Base64 of the bytes where the data set holds them, with padding; None where they are the bulk
            value of `PATH`.
        size: bytes of the document without its padding, or None where the object does not say.
    """

    media_type: str
    title: str
    file_ending: str
    inline: str | None
    size: int | None


def bytes_of(document: Document) -> bytes:
    """Return the bytes of a document that the data set holds, without its padding (PS3.3 C.24.2); b"" if they are no
    Base64."""
    try:
        data = binascii.a2b_base64(document.inline or "")
    except (binascii.Error, ValueError):
        return b""
    return data[: document.size] if document.size == len(data) - 1 else data


def read(dataset: Mapping[str, Any]) -> Document | None:
    """Say what is encapsulated in an object (PS3.3 C.24.2), or None if nothing is.

    A media type that nobody knows, or that a browser would run, goes out as application/octet-stream.

    Args:
        dataset: DICOM JSON model with relative BulkDataURIs.
    """
    element = dataset.get(PATH)
    if not element or not ("BulkDataURI" in element or "InlineBinary" in element):
        return None
    said = media.plain_name(dicomjson.text(dataset, "00420012"))
    kind = _SAME.get(said, said) or _BY_CLASS.get(dicomjson.text(dataset, "00080016"), "")
    kind = kind if kind in _TYPES else media.OCTETS
    size = dicomjson.integer(dataset.get("00420015"))
    return Document(
        kind,
        readable.clean(dicomjson.text(dataset, "00420010")) or readable.class_name(dicomjson.text(dataset, "00080016")),
        _ENDINGS.get(kind, "bin"),
        element.get("InlineBinary"),
        size if size is not None and size > 0 else None,
    )
