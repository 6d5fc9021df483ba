"""The calls to the web layer, errors included: STOW-RS, QIDO-RS and WADO-RS as a client of any origin server.

Connections are kept alive and shared by all associations. A request that may be repeated without harm is repeated
once on a fresh connection if the old one broke before an answer; a body that is streamed cannot be.
"""

import base64
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

import orjson
import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError, NewConnectionError, SSLError, TimeoutError

from bridge import agents
from bridge.lines import Answer, Lines, Whole
from bridge.security import describe
from dicomweb import errors
from dicomweb.standard import multipart, outcomes
from dicomweb.standard.outcomes import Outcome
from dicomweb.telemetry import traces

_JSON = "application/dicom+json, application/json;q=0.5"
_FRAME = 'multipart/related; type="application/octet-stream"'
_PIECE = 1 << 18
_HEAD = 1 << 12
"""Bytes in which the head of a part is looked for, and the File Meta group of its file found with it."""
_COUNTED = 1 << 20
"""Bytes that are read at once where it is known how many there are."""
_SAFE = "/:[]@!$&'()*+,;=?%~"
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
_NEXT = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?')

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a Store request came to.

    Attributes:
        outcomes: of its instances.
        sentences: of its Warning headers.
        temporary: what failed may succeed later.
    """

    outcomes: Sequence[Outcome]
    sentences: Sequence[str]
    temporary: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some results of a search: rows in the DICOM JSON model, the URL of the next page or "", sentences."""

    rows: Sequence[Row]
    following: str
    sentences: Sequence[str]


def _trace() -> dict[str, str]:
    """The header that says which association this is for."""
    trace = traces.current.get()
    return {"traceparent": trace.write()} if trace is not None else {}


class Origin:
    """A DICOMweb origin server.

    Args:
        url: root of its services, without a slash at the end; may hold `user:password@`.
        connections: how many are kept.
        connect_seconds: for a connection.
        read_seconds: for an answer to begin, and to go on.
        ca: PEM file of the authorities of its certificate; "" for those of the system.
        token: secret by which Roentgate's own services know us; "" for none.

    Attributes:
        url: root without a login.
        links: it has named a next page, so that there is none where it names none.
        server: what stands before `/dicom-web`, where Roentgate has its other services; "" if it ends otherwise.
    """

    def __init__(
        self,
        url: str,
        connections: int = 64,
        connect_seconds: float = 5.0,
        read_seconds: float = 120.0,
        ca: str = "",
        token: str = "",
    ) -> None:
        parts = urlsplit(url.rstrip("/"))
        self.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self.server = self.url.removesuffix("/dicom-web") if self.url.endswith("/dicom-web") else ""
        self.links = False
        self._headers = {"User-Agent": "Roentgate-bridge"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        elif token and self.server:  # whoever else speaks DICOMweb is not told
            self._headers["Authorization"] = f"Bearer {token}"
        self._token = token
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._pool = urllib3.PoolManager(
            num_pools=4,
            maxsize=connections,
            retries=False,
            ca_certs=ca or None,
        )
        self._root = len(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        self._lines: Lines | None = None
        if self.server and parts.scheme == "http" and parts.hostname:
            with contextlib.suppress(ValueError):  # what is no port is none for anybody
                self._lines = Lines(parts.hostname, parts.port or 80, connections, connect_seconds)

    # -- requests -------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None = None,
        stream: bool = False,
        repeat: bool = True,
        seconds: float = 0.0,
    ) -> urllib3.BaseHTTPResponse:
        headers = {**headers, **self._agent()}
        whole = body is None or is_held(body)
        repeatable = repeat and whole
        length = {"Content-Length": str(sum(map(len, body)))} if isinstance(body, list) else {}
        for last in (not repeatable, True):
            try:
                return self._pool.request(
                    method,
                    url,
                    headers={**self._headers, **_trace(), **headers, **length},
                    body=body,
                    chunked=not whole,
                    preload_content=not stream,
                    redirect=False,
                    timeout=urllib3.Timeout(connect=self._connect_seconds, read=seconds or self._read_seconds),
                )
            except (NewConnectionError, MaxRetryError, LocationParseError) as error:
                raise errors.Unavailable("the DICOMweb server cannot be reached") from error
            except SSLError as error:
                raise errors.Unavailable(f"the DICOMweb server: {describe(root_of(error))}") from error
            except TimeoutError as error:
                raise errors.Unavailable("the DICOMweb server does not answer in time") from error
            except (HTTPError, OSError) as error:
                if last:
                    raise errors.Unavailable("the connection to the DICOMweb server broke") from error
        raise AssertionError("one of two attempts is the last")

    def _agent(self) -> dict[str, str]:
        """The header that says for whom this is; others' servers are not told."""
        agent = agents.current() if self.server else ""
        return {agents.FIELD: agent} if agent else {}

    def store(self, body: bytes | Iterable[bytes], content_type: str, conflict: str = "keep") -> Stored:
        """Store instances (PS3.18 10.5).

        Args:
            body: of the request, whole or as a list of pieces; anything else is sent as it comes and only once.
            content_type: of the request.
            conflict: what to do with other content under a known SOP Instance UID; "" leaves it to the server.
                Other servers than ours do not know the header and do as they do.

        Raises:
            Unavailable, OutOfSpace, TooLarge, Forbidden, UnsupportedMedia, BadRequest: the request as a whole
                failed.
        """
        headers = {"Content-Type": content_type, "Accept": _JSON}
        if conflict:
            headers["On-Conflict"] = conflict
        url = f"{self.url}/studies"
        response: urllib3.BaseHTTPResponse | Whole
        if self._lines is not None and isinstance(body, list):
            fields = {**self._headers, **_trace(), **headers, "Accept-Encoding": "identity", **self._agent()}
            response = self._lines.post(url[self._root :], fields, body, self._read_seconds)
        else:
            response = self._ask("POST", url, headers, body)
        sentences = _sentences(response)
        found: list[Outcome] = []
        if "json" in response.headers.get("Content-Type", "") and "problem" not in response.headers["Content-Type"]:
            with contextlib.suppress(ValueError):
                model = _rows(response.data)
                found = outcomes.read(model[0] if isinstance(model, list) and model else model)
        if not found and response.status >= 300:
            raise _error(response)
        return Stored(found, sentences, response.status in (503, 507, 429))

    def search(self, path: str, params: Sequence[tuple[str, str]]) -> Page:
        """Fetch one page of a search (PS3.18 10.6); `path` begins with a slash, values are percent-encoded."""
        query = "&".join(f"{name}={value}" for name, value in params)
        return self.follow(f"{self.url}{path}{'?' if query else ''}{query}")

    def follow(self, url: str) -> Page:
        """Fetch a page by its URL, see `Page.following`.

        Raises:
            NotFound, BadQuery, TooBroad, Unavailable, Forbidden: there is none.
        """
        response = self._ask("GET", url, {"Accept": _JSON, "Accept-Encoding": "identity"})
        if response.status == 204:
            return Page([], "", _sentences(response))
        if response.status != 200:
            raise _error(response, search=True)
        try:
            rows = _rows(response.data)
        except ValueError as error:
            raise errors.Unavailable("the DICOMweb server answers a search with something else than JSON") from error
        link = _NEXT.search(response.headers.get("Link", ""))
        self.links = self.links or link is not None
        # The server may call itself otherwise than we reach it
        following = f"{url.partition('?')[0]}?{urlsplit(link[1]).query}" if link else ""
        return Page(rows if isinstance(rows, list) else [], following, _sentences(response))

    def retrieve(self, path: str, syntax: str) -> "Parts":
        """Fetch the instances of a resource (PS3.18 10.4).

        Args:
            path: of a study, series or instance, with a slash before.
            syntax: transfer syntax wanted, or `*` for that in which each is stored.

        Returns:
            Their Part 10 files one after the other, to be closed.

        Raises:
            NotFound, NotAcceptable, Unavailable, Forbidden: there are none.
        """
        return self._open(path, f'multipart/related; type="application/dicom"; transfer-syntax={syntax}')

    def _open(self, path: str, accept: str) -> "Parts":
        url = f"{self.url}{path}"
        response: urllib3.BaseHTTPResponse | Answer
        if self._lines is not None and self.server:
            headers = {**self._headers, **_trace(), **self._agent(), "Accept": accept, "Accept-Encoding": "identity"}
            response = self._lines.get(quote(url[self._root :], safe=_SAFE), headers, self._read_seconds)
        else:
            response = self._ask("GET", url, {"Accept": accept}, stream=True)
        try:
            if response.status == 200:
                return Parts(response)
            raise _error(response)
        except BaseException:
            response.close()
            raise

    def frame(self, path: str, number: int) -> bytes:
        """Fetch one frame of an instance, decoded (PS3.18 10.4.1.1.6).

        Raises:
            NotFound, NotAcceptable, Unavailable, Forbidden: there is none.
        """
        with self._open(f"{path}/frames/{number}", _FRAME) as parts:
            for part in parts:
                return b"".join(bytes(piece) for piece in part)
        raise errors.Unavailable("the answer of the DICOMweb server has no part")

    def delete(self, path: str, reason: str) -> None:
        """Delete a study, series or instance, where the server does that (no clause of the Standard), and say why.

        Raises:
            NotFound: there is none.
            Forbidden: it may not be deleted by us, or the server deletes nothing.
            Unavailable, BadRequest: as it answers.
        """
        response = self._ask("DELETE", f"{self.url}{path}?{urlencode({'reason': reason})}", {"Accept": _JSON})
        if response.status in (405, 501):
            raise errors.Forbidden("the DICOMweb server deletes nothing")
        if response.status >= 300:
            raise _error(response)

    def call(self, method: str, path: str, value: Any = None, seconds: float = 0.0) -> Any:
        """Ask one of Roentgate's own services for JSON.

        Args:
            method: of HTTP.
            path: after the server's root, with a slash before.
            value: what is sent, as JSON.
            seconds: for the answer, where that takes longer than others do.

        Raises:
            NotFound: the server has no such service; for one it is not ours.
            Unavailable, BadRequest, Forbidden: as it answers.
        """
        if not self.server:
            raise errors.NotFound("the DICOMweb server is none of ours")
        body = None if value is None else json.dumps(value).encode()
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body else {})
        headers |= {"Authorization": f"Bearer {self._token}"} if self._token else {}
        response = self._ask(method, f"{self.server}{path}", headers, body, repeat=method == "GET", seconds=seconds)
        if 300 <= response.status < 400 or response.status in (405, 501):  # not served there, as some servers say it
            raise errors.NotFound("the DICOMweb server is none of ours")
        if response.status >= 300:
            raise _error(response)
        try:
            return json.loads(response.data) if response.data else None
        except ValueError as error:
            raise errors.NotFound("the DICOMweb server is none of ours") from error

    def is_ours(self) -> bool:
        """Say whether the server is Roentgate, by its `/nodes`. Raises Unavailable."""
        try:
            told = self.call("GET", "/nodes")
        except (errors.NotFound, errors.Forbidden, errors.BadRequest):
            return False
        return isinstance(told, dict) and isinstance(told.get("nodes"), list)

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()
        if self._lines is not None:
            self._lines.close()


class Parts:
    """The Part 10 files of an answer, while they arrive. A context manager.

    Args:
        response: of status 200, its body unread.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse | Answer) -> None:
        self._response = response
        self._reader: multipart.PartReader | None = None
        kind = response.headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            boundary = multipart.boundary_of(kind)
            self._reader = multipart.PartReader(boundary, counted=multipart.is_ours(boundary))
        self._done = False

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._done:
            self._response.close()
        if isinstance(self._response, urllib3.BaseHTTPResponse):
            self._response.release_conn()

    def __iter__(self) -> Iterator[Iterator[bytes | memoryview]]:
        """Yield for each file an iterator over its bytes; what is left of one is passed over."""
        if self._reader is None:
            yield self._pieces()
            return
        events = self._read()
        for event in events:
            if isinstance(event, multipart.PartStart):
                body = self._body(events)
                yield body
                for _ in body:
                    pass

    def _body(self, events: Iterator["multipart.Event"]) -> Iterator[bytes | memoryview]:
        for event in events:
            if isinstance(event, multipart.PartData):
                yield event.data
            elif isinstance(event, multipart.PartEnd):
                return

    def _read(self) -> Iterator["multipart.Event"]:
        assert self._reader is not None
        try:
            for piece in self._pieces():
                yield from self._reader.feed(piece)
            self._reader.finish()
        except errors.BadRequest as error:
            raise errors.Unavailable("the answer of the DICOMweb server ends too early or is malformed") from error

    def _pieces(self) -> Iterator[bytes]:
        if isinstance(self._response, Answer):
            while piece := self._piece(self._response):
                yield piece
        else:
            try:
                yield from self._response.stream(_PIECE)
            except (HTTPError, OSError) as error:
                raise errors.Unavailable("the connection to the DICOMweb server broke") from error
        self._done = True

    def _piece(self, answer: Answer) -> bytes:
        """The next bytes of an answer: the head of a part, then all of its data, which so stay in one piece."""
        if self._reader is None or not self._reader.counted:
            return answer.read(_PIECE)
        if left := self._reader.left:
            return answer.read(min(left, _COUNTED), fill=True)
        return answer.read(_HEAD)


def _rows(data: bytes) -> Any:
    """The JSON of an answer; what only the lenient reader reads is taken too (NaN, above all)."""
    try:
        return orjson.loads(data)
    except ValueError:
        return json.loads(data)


def is_held(body: object) -> bool:
    """Say whether a body is in memory, so that its length is known and it can be sent again."""
    return isinstance(body, bytes | list)


def root_of(error: BaseException) -> BaseException:
    """What an error of the HTTP client is about."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error.__cause__
    return root_of(inner) if inner is not None else error


def _sentences(response: urllib3.BaseHTTPResponse | Whole) -> list[str]:
    """The texts of Warning headers (RFC 7234 5.5)."""
    texts = []
    for header in response.headers.getlist("Warning"):
        texts += [re.sub(r"\\(.)", r"\1", text) for text in _WARNING.findall(header)]
    return texts


def _error(response: urllib3.BaseHTTPResponse | Answer | Whole, search: bool = False) -> errors.Error:
    """The error that a status stands for, with the server's own sentence where it gives one."""
    sentence = ""
    with contextlib.suppress(ValueError, AttributeError, HTTPError, errors.Unavailable):
        told = json.loads(response.data)
        sentence = str(told.get("detail") or told.get("title") or told.get("Message") or "")
    sentence = sentence or f"the DICOMweb server answers {response.status}"
    match response.status:
        case 401 | 403:
            return errors.Forbidden(sentence)
        case 404 | 410:
            return errors.NotFound(sentence)
        case 406:
            return errors.NotAcceptable(sentence)
        case 409:
            return errors.Conflict(sentence)
        case 413:
            return errors.TooBroad(sentence) if search else errors.TooLarge(sentence)
        case 415:
            return errors.UnsupportedMedia(sentence)
        case 507:
            return errors.OutOfSpace(sentence)
        case status if status >= 500 or status in (408, 425, 429):
            return errors.Unavailable(sentence)
    return errors.BadQuery(sentence) if search else errors.BadRequest(sentence)
