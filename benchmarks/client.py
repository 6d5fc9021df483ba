"""A load generator that costs little: plain sockets, kept-alive connections, answers read and thrown away."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_DISCARD = getattr(socket, "MSG_TRUNC", 0) if sys.platform == "linux" else 0
"""Lets the kernel throw a body away without copying it to us (tcp(7))."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: bytes as they go over the wire."""

    head: bytes
    body: bytes = b""


def get(path: str, accept: str = "*/*", extra: str = "") -> Call:
    """Make a GET."""
    return Call(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n{extra}\r\n".encode())


def post(path: str, parts: Sequence[bytes]) -> Call:
    """Make a Store request of application/dicom parts (PS3.18 10.5)."""
    boundary = "benchmark-boundary"
    pieces = []
    for part in parts:
        pieces += [f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(), part, b"\r\n"]
    pieces.append(f"--{boundary}--".encode())
    body = b"".join(pieces)
    return Call(
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/dicom+json\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={boundary}\r\n'
        f"Content-Length: {len(body)}\r\n\r\n".encode(),
        body,
    )


class Connection:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = self._connect()
        self.buffer = bytearray(1 << 20)

    def _connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=600)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def send(self, call: Call) -> tuple[int, int]:
        """Send a request and read the answer; return status and body bytes."""
        try:
            return self._send(call)
        except (ConnectionError, _Closed):
            self.socket.close()
            self.socket = self._connect()
            return self._send(call)

    def _send(self, call: Call) -> tuple[int, int]:
        self.socket.sendall(call.head)
        if call.body:
            self.socket.sendall(call.body)
        got = bytearray()
        while (end := got.find(b"\r\n\r\n")) < 0:
            piece = self.socket.recv(65536)
            if not piece:
                raise _Closed
            got += piece
        lines = bytes(got[:end]).split(b"\r\n")
        status = int(lines[0].split()[1])
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        rest = bytes(got[end + 4 :])
        if status in (204, 304):
            size = 0
        elif b"content-length" in fields:
            size = int(fields[b"content-length"])
            left = size - len(rest)
            view = memoryview(self.buffer)
            while left > 0:
                count = self.socket.recv_into(view, min(left, len(view)), _DISCARD)
                if not count:
                    raise _Closed
                left -= count
        elif fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            size = self._chunks(rest)
        else:
            size = len(rest)
            while count := self.socket.recv_into(self.buffer):
                size += count
            fields[b"connection"] = b"close"
        if fields.get(b"connection", b"").lower() == b"close":
            self.socket.close()
            self.socket = self._connect()
        return status, size

    def _chunks(self, data: bytes) -> int:
        total, held = 0, bytearray(data)
        while True:
            while (end := held.find(b"\r\n")) < 0:
                held += self._more()
            size = int(bytes(held[:end]).split(b";")[0], 16)
            del held[: end + 2]
            while len(held) < size + 2:
                held += self._more()
            del held[: size + 2]
            total += size
            if size == 0:
                return total

    def _more(self) -> bytes:
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise _Closed
        return piece


class _Closed(Exception):
    pass


class BadAnswers(SystemExit):
    """Answers that a benchmark must not get; it ends with what they were."""


@dataclass(slots=True)
class Load:
    """What a load came to."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    received: int = 0


def drive(port: int, calls: Sequence[Call], clients: int = 1, check: Callable[[int], bool] | None = None) -> Load:
    """Send all calls, shared among so many clients; each status must satisfy `check` (default: below 300).

    Raises:
        BadAnswers: one does not.
    """
    load = Load(0.0)
    lock = threading.Lock()
    queue = iter(calls)

    def work() -> None:
        connection = Connection(port)
        while True:
            with lock:
                call = next(queue, None)
            if call is None:
                connection.socket.close()
                return
            begin = time.perf_counter()
            status, size = connection.send(call)
            spent = time.perf_counter() - begin
            with lock:
                load.latencies.append(spent)
                load.statuses[status] = load.statuses.get(status, 0) + 1
                load.received += size

    begin = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - begin
    bad = [status for status in load.statuses if not (check(status) if check else status < 300)]
    if bad or len(load.latencies) != len(calls):
        raise BadAnswers(f"answers that a benchmark must not get: statuses {load.statuses} of {len(calls)} calls")
    return load
