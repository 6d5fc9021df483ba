"""The explorer: the web page for people, and the files that it is made of.

A page that may do nothing but ask this server: its Content-Security-Policy lets it load scripts, styles, pictures
and data from here only, and no text can become markup or a script (CSP Level 3; Trusted Types). Its addresses are
relative to its own, so that it works below every prefix.
"""

from functools import lru_cache
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.errors import NotFound
from dicomweb.standard import dictionary
from dicomweb.web import bodies
from dicomweb.web.threads import hop_index

_FOLDER = Path(__file__).parents[1] / "explorer"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:;"
    " connect-src 'self'; frame-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
NAMES = "dictionary.json"
"""The file of names of tags and UIDs, made of the dictionary; the page asks for it when attributes are shown."""
_FIELDS = [(b"content-security-policy", POLICY.encode())]


async def page(request: Request) -> Response:
    """GET /: the page. Where the prefix was asked for without a slash at its end, a redirection there, since what the
    page names relatively lies below."""
    asked: bytes = request.scope.get("raw_path") or b"/"
    last = asked.partition(b"?")[0].rpartition(b"/")[2]
    if last:
        return Response(status_code=308, headers={"location": f"{last.decode('latin-1')}/"})
    return await hop_index(_answer, request, "index.html")


async def file(request: Request) -> Response:
    """GET /explorer/{file}: a module, style or picture of the page."""
    return await hop_index(_answer, request, request.path_params["file"])


async def named(request: Request, name: str) -> Response:
    """Another page of the explorer's, under an address of its own."""
    return await hop_index(_answer, request, name)


def _answer(request: Request, name: str) -> Response:
    found = (_names(), _TYPES[".json"]) if name == NAMES else files().get(name)
    if found is None:
        raise NotFound("the explorer has no such file")
    data, kind = found
    return bodies.document(request, data, kind, fields=_FIELDS)


@lru_cache(maxsize=1)
def files() -> dict[str, tuple[bytes, str]]:
    """Return every file of the explorer: by its path there, what is in it and its media type."""
    return {
        path.relative_to(_FOLDER).as_posix(): (path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in _TYPES
    }


@lru_cache(maxsize=1)
def _names() -> bytes:
    """Names of tags by tag, of repeating groups by value and mask, of private tags by creator, of UIDs (PS3.6)."""
    return orjson.dumps(
        {
            "tags": {f"{tag:08X}": name for tag, name in dictionary.names().items()},
            "masks": dictionary.repeating_names(),
            "private": dictionary.private_names(),
            "uids": dictionary.uid_names(),
        }
    )
