"""The bridge as the web layer sees it: how it proves that it is ours, and the calls to its inner HTTP face.

Both sides know `bridge_token`. Without one nobody is taken for the bridge. What is asked of it (`bridge.inside`):
find, retrieve, store and echo; answers that may be long come as JSON lines (`application/x-ndjson`).
"""

import contextlib
import hmac
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
import urllib3
from starlette.requests import Request
from urllib3.exceptions import HTTPError

from dicomweb.errors import BadRequest, Error, Forbidden, NotAcceptable, NotFound, TooBroad, Unavailable

_PIECE = 1 << 18
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 600.0
_STATUS_SECONDS = 3.0
_FRESH = 1.0
_ERRORS: dict[str, type[Error]] = {
    kind.__name__: kind for kind in (BadRequest, NotAcceptable, NotFound, TooBroad, Unavailable)
}


class Call:
    """Calls to the bridge that belong together, and can be given up from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._response: urllib3.BaseHTTPResponse | None = None
        self._stopped = False

    def stop(self) -> None:
        """Give up: who waits for an answer is told at once that there will be none."""
        with self._lock:
            self._stopped = True
            response = self._response
            if isinstance(response, urllib3.HTTPResponse):
                with contextlib.suppress(OSError, ValueError, RuntimeError):
                    response.shutdown()

    def follow(self, response: "urllib3.BaseHTTPResponse | None") -> None:
        """Remember which answer is being read; None is none.

        Raises:
            Unavailable: nobody wants it any more.
        """
        with self._lock:
            self._response = response
            if self._stopped and response is not None:
                raise Unavailable("whoever asked has left")


class Bridge:
    """The bridge, or where it would be.

    Args:
        url: of its inner HTTP face, without a slash at the end; "" where there is none.
        token: the secret that both know; "" for none.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._seen: float | None = None
        self._told: dict[str, Any] = {}
        self._until = 0.0
        self._lock = threading.Lock()
        self._pool = urllib3.PoolManager(
            maxsize=32,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            headers={"Authorization": f"Bearer {token}", "Accept": "application/x-ndjson"},
        )

    def is_calling(self, request: Request) -> bool:
        """Say whether a request comes from the bridge."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.knows(token.strip())

    def knows(self, token: str) -> bool:
        """Say whether a text is the secret that we and the bridge share."""
        if not self._token:
            return False
        ours = hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())
        if ours:
            self._seen = time.time()
        return ours

    def check(self, request: Request) -> None:
        """Let nobody pass but the bridge.

        Raises:
            Forbidden: somebody else asks, or no token is set.
        """
        if not self.is_calling(request):
            raise Forbidden("this is for the bridge, which shows the secret of the setting bridge_token")

    def status(self) -> dict[str, Any]:
        """Return how the bridge is, asking it at most once a second.

        Returns:
            `configured`: whether we know where it is; `answers`; `problem`: why not, or ""; `seen`: when we last
            heard of it (seconds since 1970, None: never since this process began); and what it tells itself.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                self._told = self._ask_status()
                self._until = time.monotonic() + _FRESH
            return {**self._told, "seen": self._seen}

    def _ask_status(self) -> dict[str, Any]:
        told: dict[str, Any] = {"configured": bool(self._url), "answers": False, "problem": ""}
        try:
            (said,) = self.lines("/status", b"{}", "application/json", seconds=_STATUS_SECONDS)
        except (Error, ValueError) as error:
            return told | {"problem": str(error)}
        self._seen = time.time()
        return told | {"answers": True} | said

    def ask(self, path: str, value: Mapping[str, Any], call: Call | None = None) -> list[dict[str, Any]]:
        """Ask for something and return the lines of the answer; see `lines`."""
        return list(self.lines(path, orjson.dumps(value), "application/json", call=call))

    def lines(
        self,
        path: str,
        body: bytes | Iterable[bytes],
        content_type: str,
        headers: Mapping[str, str] | None = None,
        seconds: float = _READ_SECONDS,
        call: Call | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Ask for something and yield the lines of the answer as they come.

        Args:
            path: with a slash before.
            body: of the request.
            content_type: of the body.
            headers: further header fields.
            seconds: for which the bridge may say nothing.
            call: what it belongs to.

        Raises:
            Unavailable: there is no bridge, it does not answer, or its answer breaks off.
            BadRequest, NotAcceptable, NotFound, TooBroad: the bridge says so, in its own words.
        """
        if not self._url:
            raise Unavailable("there is no bridge: bridge_url is not set, or start both with `roentgate up`")
        fields = {**self._pool.headers, "Content-Type": content_type, **(headers or {})}
        try:
            response = self._pool.request(
                "POST", f"{self._url}{path}", body=body, headers=fields, preload_content=False, redirect=False,
                chunked=not isinstance(body, bytes), timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=seconds),
            )  # fmt: skip
        except (HTTPError, OSError) as error:
            raise Unavailable("the bridge does not answer; `roentgate bridge` starts it") from error
        call, whole = call or Call(), False
        try:
            call.follow(response)
            if response.status == 403:
                raise Unavailable("the bridge does not know us: both need the same bridge_token")
            yield from _read_lines(response)
            whole = True
        except (HTTPError, OSError, ValueError) as error:
            raise Unavailable("the bridge broke off its answer") from error
        finally:
            call.follow(None)
            if not whole:
                response.close()
            response.release_conn()

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()


def _read_lines(response: urllib3.BaseHTTPResponse) -> Iterator[dict[str, Any]]:
    """Lines that are no errors; the last one says that the answer is whole."""
    rest = b""
    for piece in response.stream(_PIECE):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            value = orjson.loads(line)
            if "error" in value:
                raise _ERRORS.get(value["error"], Unavailable)(value.get("detail", ""))
            if "end" in value:
                return
            yield value
    raise Unavailable("the bridge broke off its answer")
