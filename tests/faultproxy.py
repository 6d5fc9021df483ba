"""An HTTP proxy on loopback in front of a real object store, which lets go wrong what goes wrong on the way there.

Requests pass as they are, so that signatures stay good. What a request suffers is what `fault` says for its method and
path; a fault that is named with a number holds for so many requests.
"""

import contextlib
import http.client
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from loopback import Quiet, serving

SLOW = 10_000
"""Bytes a second of a slow answer."""

_REFUSALS = {"500": "InternalError", "503": "SlowDown", "403": "AccessDenied"}


@dataclass
class Proxy:
    """The proxy.

    Attributes:
        target: host and port of the service.
        fault: what a request suffers, by its method and path: a status of `500`, `503`, `403`; `hang`; `lost` (it is
            done, and the answer does not come), `reset` (in the middle of the answer), `slow`, `wrong` (a byte is
            another one); "" for nothing.
        requests: method and path of each, with its fault.
        hanging: how many hang now.
    """

    target: str
    fault: Callable[[str, str], str] = lambda method, path: ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    hanging: int = 0
    url: str = ""

    def suffer(self, fault: str, methods: str = "PUT GET HEAD POST DELETE", count: int = 1 << 30, of: str = "") -> None:
        """Let the next requests with these methods, to paths with this text in them, suffer a fault; others none."""
        left, lock = count, threading.Lock()

        def next_fault(method: str, path: str) -> str:
            nonlocal left
            with lock:
                if method not in methods.split() or of not in path or not left:
                    return ""
                left -= 1
                return fault

        self.fault = next_fault

    def mend(self) -> None:
        """Let nothing go wrong any more, and what hangs go on."""
        self.fault = lambda method, path: ""
        self.released.set()
        self.released = threading.Event()

    def suffered(self, fault: str) -> int:
        """How many requests had this fault."""
        return sum(each == fault for _, _, each in self.requests)


@contextlib.contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Run a proxy to the service at a URL while the context lasts."""
    made = Proxy(urllib.parse.urlsplit(target).netloc)

    class Handler(_Handler):
        service = made

    with serving(Handler) as made.url:
        try:
            yield made
        finally:
            made.mend()


class _Handler(Quiet):
    service: Proxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.service.fault(self.command, self.path)
        self.service.requests.append((self.command, self.path, fault))
        if fault == "hang":
            released = self.service.released
            self.service.hanging += 1
            released.wait()
            self.service.hanging -= 1
            self.close_connection = True
        elif fault in _REFUSALS:
            text = f"<Error><Code>{_REFUSALS[fault]}</Code><Message>no</Message></Error>".encode()
            self._answer(int(fault), [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))], text)
        else:
            self._forward(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    def _forward(self, body: bytes, fault: str) -> None:
        connection = http.client.HTTPConnection(self.service.target, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if fault == "lost":
            self.close_connection = True
            return
        if fault == "wrong" and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        length = response.headers.get("Content-Length") if self.command == "HEAD" else str(len(data))
        passing = [(n, v) for n, v in response.headers.items() if n.lower() not in _HOP]
        self._answer(response.status, [*passing, ("Content-Length", length or "0")], data, fault)

    def _answer(self, status: int, fields: list[tuple[str, str]], data: bytes, fault: str = "") -> None:
        self.send_response_only(status)
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "reset":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif fault == "slow":
            released = self.service.released
            for start in range(0, len(data), SLOW // 10):
                self.wfile.write(data[start : start + SLOW // 10])
                self.wfile.flush()
                released.wait(0.1)
        else:
            self.wfile.write(data)


_HOP = {"content-length", "transfer-encoding", "connection", "keep-alive"}
