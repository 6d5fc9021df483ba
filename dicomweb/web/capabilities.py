"""What the services can do, told to programs: OPTIONS on the base URL (PS3.18 8.9, Annexes G and H).

One model serves both forms: the WADL document, and its JSON mapping (Annex G.2), where the XML attribute x is
the member "@x" and an element that can repeat is an array.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias
from xml.sax.saxutils import quoteattr

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.errors import NotAcceptable
from dicomweb.web import bodies
from dicomweb.web.addresses import base_url

WADL = "application/vnd.sun.wadl+xml"
JSON = "application/json"
_NAMESPACE = "http://wadl.dev.java.net/2009/02"

Node: TypeAlias = dict[str, Any]

_ANY_SYNTAX = "; transfer-syntax=*"
_METADATA = ("application/dicom+json", 'multipart/related; type="application/dicom+xml"')
_OBJECTS = (
    f'multipart/related; type="application/dicom"{_ANY_SYNTAX}',
    'multipart/related; type="application/dicom"',
    "application/zip",
)
_BULK = (
    'multipart/related; type="application/octet-stream"',
    f'multipart/related; type="application/octet-stream"{_ANY_SYNTAX}',
    "application/octet-stream",
    *(f'multipart/related; type="{kind}"' for kind in (
        "image/jpeg", "image/dicom-rle", "image/jls", "image/jp2", "image/jpx", "image/jphc", "image/jxl",
    )),
)  # fmt: skip
_VIDEO = tuple(f'multipart/related; type="{kind}"' for kind in ("video/mpeg", "video/mp4", "video/H265"))
_STORE = (
    'multipart/related; type="application/dicom"',
    'multipart/related; type="application/dicom+json"',
    'multipart/related; type="application/dicom+xml"',
    "application/dicom",
)
_SEARCH = (
    ("limit", "at most so many results"),
    ("offset", "pass over so many results"),
    ("includefield", "keywords, tags, dotted paths or all"),
    ("fuzzymatching", "true: each word of a name may begin any word of the stored one"),
    ("emptyvaluematching", 'true: "" matches attributes without value'),
    ("multiplevaluematching", "true: several values of an attribute may be asked for"),
    ("orderby", "extension: keyword, with - in front for descending order"),
    ("cursor", "extension: the place after which to go on, from a Link header"),
    ("{attributeID}", "any attribute: keyword, tag or dotted path; standard attributes are indexed"),
)
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/jp2", "image/jph", "image/jxl")
_RENDERED = (
    *_PICTURES,
    *(f'multipart/related; type="{kind}"' for kind in _PICTURES),
    "text/html",
    "text/plain",
    "application/pdf",
    "image/svg+xml",
    "video/mp4",
)
_VIEWPORT = (("viewport", "width,height of the picture; of rendered resources also x,y,width,height of the region"),)
_RENDERING = (
    *_VIEWPORT,
    ("window", "center,width,function: linear, linear-exact or sigmoid"),
    ("quality", "1 to 100, of JPEG and JPEG XL, 90 without; from 90 on colour has its full resolution"),
    ("iccprofile", "no, yes, srgb, adobergb or rommrgb"),
    ("annotation", "patient, technique"),
    ("bits", "extension: 16 gives grayscale with 16 bits a sample"),
)
_ACCEPT = (("accept", "media types, before those of the Accept header"),)
_DICOM_JSON_ONLY = ("application/dicom+json",)


def _method(
    name: str,
    identity: str,
    gives: Iterable[str],
    takes: Iterable[str] = (),
    params: Iterable[tuple[str, str]] = (),
) -> Node:
    request: Node = {}
    if params:
        request["param"] = [
            {"@name": key, "@style": "query", "doc": [{"@xml:lang": "en", "@title": key, "value": text}]}
            for key, text in params
        ]
    if takes:
        request["representation"] = [{"@mediaType": kind} for kind in takes]
    method: Node = {"@name": name, "@id": identity}
    if request:
        method["request"] = request
    method["response"] = [{"@status": "200", "representation": [{"@mediaType": kind} for kind in gives]}]
    return method


def _resource(path: str, *methods: Node, below: Iterable[Node] = ()) -> Node:
    resource: Node = {"@path": path}
    if methods:
        resource["method"] = list(methods)
    if children := list(below):
        resource["resource"] = children
    return resource


def _search(path: str, level: str, *more: Node, below: Iterable[Node] = ()) -> Node:
    return _resource(path, _method("GET", f"SearchFor{level}", _METADATA, params=_SEARCH), *more, below=below)


def _retrieve(path: str, level: str, objects: tuple[str, ...], below: Iterable[Node]) -> Node:
    return _resource(
        path,
        _method("GET", f"Retrieve{level}", objects, params=_ACCEPT),
        _method("DELETE", f"Delete{level}", ()),
        below=[
            _resource("metadata", _method("GET", f"Retrieve{level}Metadata", _METADATA, params=_ACCEPT)),
            _resource("bulkdata", _method("GET", f"Retrieve{level}Bulkdata", (*_BULK, *_VIDEO), params=_ACCEPT)),
            _resource("pixeldata", _method("GET", f"Retrieve{level}PixelData", (*_BULK, *_VIDEO), params=_ACCEPT)),
            *_looks(level, _RENDERED),
            *below,
        ],
    )


def _looks(level: str, rendered: tuple[str, ...]) -> list[Node]:
    return [
        _resource("rendered", _method("GET", f"RetrieveRendered{level}", rendered, params=(*_ACCEPT, *_RENDERING))),
        _resource("thumbnail", _method("GET", f"Retrieve{level}Thumbnail", _PICTURES, params=(*_ACCEPT, *_VIEWPORT))),
    ]


def _store(identity: str) -> Node:
    return _method("POST", identity, _METADATA, _STORE)


def _tree() -> list[Node]:
    frames = _resource(
        "frames/{frames}", _method("GET", "RetrieveFrames", _BULK, params=_ACCEPT), below=_looks("Frames", _PICTURES)
    )
    bulk = _resource("bulkdata/{path}", _method("GET", "RetrieveBulkdataValue", (*_BULK, *_VIDEO), params=_ACCEPT))
    instance = _retrieve("{instance}", "Instance", (*_OBJECTS, "application/dicom"), [frames, bulk])
    instances = _search("instances", "InstancesOfSeries", below=[instance])
    series = _retrieve("{series}", "Series", _OBJECTS, [instances])
    study = _retrieve(
        "{study}",
        "Study",
        _OBJECTS,
        [_search("series", "SeriesOfStudy", below=[series]), _search("instances", "InstancesOfStudy")],
    )
    study["method"].append(_store("StoreStudyInstances"))
    return [
        _search("studies", "Studies", _store("StoreInstances"), below=[study]),
        _search("series", "Series"),
        _search("instances", "Instances"),
        _resource("patients", _method("GET", "SearchForPatients", _DICOM_JSON_ONLY, params=_SEARCH)),
    ]


def model(base: str) -> Node:
    """Return the capabilities in the JSON form of Annex G.2; capabilities themselves are left out (Annex H).

    Args:
        base: base URL of the services.
    """
    return {"application": {"@xmlns": _NAMESPACE, "resources": {"@base": base, "resource": _tree()}}}


def paths(node: Node | None = None, above: str = "") -> dict[str, set[str]]:
    """Return every path below the base URL with its methods."""
    found: dict[str, set[str]] = {}
    for resource in _tree() if node is None else node.get("resource", []):
        path = f"{above}/{resource['@path']}"
        if "method" in resource:
            found[path] = {method["@name"] for method in resource["method"]}
        found |= paths(resource, path)
    return found


def write_wadl(node: Node) -> str:
    """Write the JSON form as the XML that it stands for (Annex G.2)."""
    return '<?xml version="1.0" encoding="UTF-8"?>' + "".join(_element(name, child) for name, child in node.items())


def _element(name: str, node: Node) -> str:
    attributes = "".join(f" {key[1:]}={quoteattr(text)}" for key, text in node.items() if key[0] == "@")
    inside = []
    for key, value in node.items():
        if key == "value":
            inside.append(quoteattr(value)[1:-1])
        elif key[0] != "@":
            inside += [_element(key, child) for child in (value if isinstance(value, list) else [value])]
    return f"<{name}{attributes}>{''.join(inside)}</{name}>" if inside else f"<{name}{attributes}/>"


async def capabilities(request: Request) -> Response:
    """OPTIONS {base}: what can be asked here (PS3.18 8.9)."""
    accept = request.headers.get("accept", "*/*").lower()
    described = model(base_url(request))
    wanted = [entry.partition(";")[0].strip() for entry in accept.split(",")]
    for kind in wanted:
        if kind in {JSON, "*/*", "application/*", "application/dicom+json"}:
            return bodies.document(request, orjson.dumps(described), JSON)
        if kind in {WADL, "application/xml", "text/xml"}:
            return bodies.document(request, write_wadl(described).encode(), WADL)
    raise NotAcceptable(f"capabilities are told as {JSON} or {WADL}")
