"""`/viewer`: installed viewers, listed for programs and served to browsers. An extension.

Only what lay in the viewer's folder when it was installed has an address: a path is looked up among those, never
opened. What a viewer's own pages are called the server does not know, so that any path that names no file is its
one page. Files named by their digest never change; everything else is revalidated.
"""

import base64
import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.errors import NotFound
from dicomweb.viewers import CONFIGURATION, KINDS, Installed, installed, listed
from dicomweb.viewers.ohif import INDEX, at_depth
from dicomweb.web import bodies
from dicomweb.web.bodies import REVALIDATED, WHOLE, Answer, accepts_gzip, tag, zipped_tag
from dicomweb.web.conditions import unchanged
from dicomweb.web.threads import hop_index

FOREVER = b"public, max-age=31536000, immutable"
"""Cache-Control of files that are named by their digest."""

_DIGEST = re.compile(r"(?:^|[.-])[0-9a-f]{16,}\.")
_CHUNK = 512 << 10
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".jsonc": "application/json",
    ".webapp": "application/manifest+json",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
# The glue of codecs, and what reads segmentations, make functions of text; previews, documents and films become blobs.
# Nothing else than this server may be loaded from or called, so that there is nowhere to take anything to.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'{more}; worker-src 'self' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:;"
    " connect-src 'self' data: blob:{issuer}; object-src 'self' blob:; frame-src 'self' blob:{issuer}; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'"
)
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file as it is served: where it lies, its size, the size of its gzipped form if there is one."""

    path: Path
    size: int
    zipped: int | None


class Viewers:
    """The viewers of this server. What is installed or removed while it runs is seen at the next request.

    Args:
        root: their folder, which need not be there.
        issuer: URL of who tells who somebody is, at which a viewer may log in; "" for none.
    """

    def __init__(self, root: Path, issuer: str = "") -> None:
        self.root = root
        parts = urlsplit(issuer)
        self._issuer = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Installed, dict[str, _Entry]]] = {}

    def policy(self, scripts: str = "") -> list[tuple[bytes, bytes]]:
        """The header field that says what a viewer may do; `scripts` are further sources of its scripts."""
        return [(b"content-security-policy", _POLICY.format(more=scripts, issuer=self._issuer).encode())]

    def find(self, name: str) -> tuple[Installed, dict[str, _Entry]]:
        """Return a viewer and its files by their paths.

        Raises:
            NotFound: there is none, or it is not installed; the sentence says how it is.
        """
        if name not in KINDS:
            raise NotFound(f"no viewer is called like that; there is {', '.join(KINDS)}")
        there = installed(self.root, name)
        if there is None:
            raise NotFound(f"{KINDS[name].title} is not installed; `roentgate viewer install {name}` does it")
        with self._lock:
            known = self._known.get(name)
            if known is None or known[0] != there:
                known = self._known[name] = there, _read_folder(there.files(self.root))
        return known


def _read_folder(folder: Path) -> dict[str, _Entry]:
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return {
        path.relative_to(folder).as_posix(): _Entry(path, size, sizes.get(path.with_name(f"{path.name}.gz")))
        for path, size in sizes.items()
        if path.suffix != ".gz"
    }


def _viewers(request: Request) -> Viewers:
    viewers: Viewers = request.app.state.viewers
    return viewers


async def listing(request: Request) -> Response:
    """GET /viewer: what is installed, and the address that shows a study, both relative to the server's root."""
    return await hop_index(_listing, request)


def _listing(request: Request) -> Response:
    viewers = _viewers(request)
    found = [
        {
            "name": there.name,
            "title": KINDS[there.name].title,
            "version": there.version,
            "path": f"viewer/{there.name}/",
            "study": f"viewer/{there.name}/{KINDS[there.name].study}",
        }
        for there in listed(viewers.root)
    ]
    return bodies.document(request, orjson.dumps({"viewers": found}), "application/json")


async def file(request: Request) -> Response:
    """GET /viewer/{viewer}/{path}: a file of a viewer, or its page."""
    return await hop_index(_file, request)


def _file(request: Request) -> Response:
    viewers = _viewers(request)
    name, path = request.path_params["viewer"], request.path_params.get("path", "")
    there, files = viewers.find(name)
    if path == CONFIGURATION:
        return _configuration(request, viewers.root / name / CONFIGURATION)
    entry = files.get(path)
    if entry is not None and path != INDEX:
        return _send(request, there, path, entry)
    if "." in path.rpartition("/")[2] and path != INDEX:
        raise NotFound("this viewer has no such file")
    return _page(request, files[INDEX].path, _way_back(request, name))


def _way_back(request: Request, name: str) -> str:
    """From the address that the browser has to the viewer's folder. Whatever a proxy puts before it or takes away
    there, its end is what relative links count from."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    _, found, after = raw.decode("latin-1").partition("?")[0].rpartition(f"/viewer/{name}/")
    if not found:
        return f"{name}/"
    return "../" * after.count("/") or "./"


def _page(request: Request, path: Path, way_back: str) -> Response:
    page = at_depth(path.read_text(encoding="utf-8"), way_back)
    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in _INLINE.findall(page)
    )
    return bodies.document(request, page.encode(), _TYPES[".html"], fields=_viewers(request).policy(hashes))


def _configuration(request: Request, path: Path) -> Response:
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{CONFIGURATION} of this viewer is not there; installing it again writes one") from error
    return bodies.document(request, text, _TYPES[".js"], fields=_viewers(request).policy())


def _send(request: Request, there: Installed, path: str, entry: _Entry) -> Response:
    asked = dict(request.scope["headers"])
    zipped = entry.zipped is not None and accepts_gzip(asked.get(b"accept-encoding", b"").decode("latin-1"))
    etag = tag(there.name, there.folder, path)
    if zipped:
        etag = zipped_tag(etag)
    lasting = _DIGEST.search(entry.path.name) is not None
    headers = [
        (b"etag", etag.encode()),
        (b"cache-control", FOREVER if lasting else REVALIDATED),
        (b"vary", b"Accept-Encoding"),
        *_viewers(request).policy(),
    ]
    if unchanged(asked.get(b"if-none-match", b"").decode("latin-1") or None, etag):
        return Answer(304, headers)
    size = entry.zipped if zipped and entry.zipped is not None else entry.size
    headers += [
        (b"content-type", _TYPES.get(entry.path.suffix, "application/octet-stream").encode()),
        (b"content-length", b"%d" % size),
    ]
    if zipped:
        headers.append((b"content-encoding", b"gzip"))
    if request.method == "HEAD":
        return Answer(200, headers)
    source = entry.path.with_name(f"{entry.path.name}.gz") if zipped else entry.path
    try:
        if size <= WHOLE:
            return Answer(200, headers, source.read_bytes())
        return Answer(200, headers, batches=_batches(source))
    except FileNotFoundError as error:
        raise NotFound("this viewer has just been replaced; load its page again") from error


def _batches(path: Path) -> Iterator[list[bytes]]:
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield [chunk]
