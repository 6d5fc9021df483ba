"""One TCP or TLS connection as PDUs: bytes come in with deadlines and limits, and go out without delay (PS3.8 9.3).

A PDU that has begun must be complete within a time, whatever its length says nothing is allocated for it, and
between PDUs the caller says how long silence may last. TCP_NODELAY keeps small answers from waiting for the other
side's acknowledgement, TCP_QUICKACK keeps the other side from waiting for ours.
"""

import contextlib
import mmap
import select
import socket
import ssl
import struct
import time
from collections.abc import Sequence

from bridge.gathering import write_all
from dicomweb.errors import BadMessage, PeerLeft, PeerSilent

_BUFFER = 1 << 18
_HEADER = struct.Struct(">BxI")
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)

# PS3.8 9.3.1: PDU types
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


class Connection:
    """Reads and writes on a connected socket. Its methods block; one thread reads.

    Args:
        sock: connected; it is ours from now on.
        pdu_seconds: how long a PDU may take once it has begun, and how long sending may stand still.
    """

    def __init__(self, sock: socket.socket, pdu_seconds: float) -> None:
        self._socket = sock
        self._seconds = pdu_seconds
        self._secure = isinstance(sock, ssl.SSLSocket)
        self._plain = not self._secure and hasattr(sock, "sendmsg")
        self._buffer = mmap.mmap(-1, _BUFFER)  # costs nothing where nothing has been received
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._deadline = 0.0
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    # -- reading --------------------------------------------------------------------------------------------

    def header(self, idle_seconds: float) -> tuple[int, int]:
        """Read the type and length of the next PDU (PS3.8 9.3.1).

        Args:
            idle_seconds: how long nothing may come before it.

        Raises:
            PeerLeft: the connection ended.
            PeerSilent: nothing came in time.
        """
        if self._start == self._end:
            self._deadline = time.monotonic() + idle_seconds
            self._receive()
        self._deadline = time.monotonic() + self._seconds
        kind, length = _HEADER.unpack(self.take(6))
        return kind, length

    def take(self, count: int) -> memoryview:
        """Return the next bytes of the PDU, which hold until the next call.

        Args:
            count: how many; at most 64 KiB.
        """
        while self._end - self._start < count:
            if self._start and self._start + count > len(self._buffer):
                left = self._end - self._start
                self._view[:left] = bytes(self._view[self._start : self._end])
                self._start, self._end = 0, left
            self._receive()
        self._start += count
        return self._view[self._start - count : self._start]

    def some(self, most: int) -> memoryview:
        """Return at least one and at most `most` of the next bytes, which hold until the next call."""
        if self._start == self._end:
            self._receive()
        count = min(most, self._end - self._start)
        self._start += count
        return self._view[self._start - count : self._start]

    def whole(self, count: int) -> bytes:
        """Return the next bytes of the PDU, as many as the caller has found allowable."""
        data = bytearray()
        while len(data) < count:
            data += self.some(count - len(data))
        return bytes(data)

    def waits(self, seconds: float = 0.0) -> bool:
        """Say whether bytes of the other side wait to be read, or its end, within so many seconds."""
        if self._start != self._end or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            return True
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLIN)
        except ValueError:  # closed by another thread
            return True
        return bool(poll.poll(seconds * 1000))

    def _receive(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise PeerSilent("the other side did not go on in time")
        try:
            self._socket.settimeout(left)
            count = self._socket.recv_into(self._view[self._end :])
            if _QUICKACK is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except TimeoutError as error:
            raise PeerSilent("the other side did not go on in time") from error
        except (OSError, ValueError) as error:
            raise PeerLeft(f"the connection broke: {error}") from error
        if not count:
            raise PeerLeft("the other side closed the connection")
        self._end += count

    # -- writing --------------------------------------------------------------------------------------------

    def send(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send pieces of bytes, all of them.

        Raises:
            PeerLeft: the connection ended.
            PeerSilent: the other side takes nothing.
        """
        try:
            self._socket.settimeout(self._seconds)
            if not self._plain:
                self._socket.sendall(b"".join(pieces))
                return
            write_all(self._socket.sendmsg, pieces)
        except TimeoutError as error:
            raise PeerSilent("the other side does not take what is sent") from error
        except (OSError, ValueError) as error:
            raise PeerLeft(f"the connection broke: {error}") from error

    # -- the end --------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Make a thread that waits for the other side see its end; may be called from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def await_end(self, seconds: float) -> None:
        """Wait until the other side closes, so that what was sent last is not lost (PS3.8 9.1.4, Sta13)."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError, ValueError):
            self._socket.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv_into(self._view):
                    break

    def close(self) -> None:
        """Close; may be called twice."""
        with contextlib.suppress(OSError):
            self._socket.close()


def unexpected(kind: int) -> BadMessage:
    """Return the error about a PDU that has no business here (PS3.8 9.2.3, Evt19)."""
    known = {
        ASSOCIATE_RQ: "A-ASSOCIATE-RQ", ASSOCIATE_AC: "A-ASSOCIATE-AC", ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
        DATA: "P-DATA-TF", RELEASE_RQ: "A-RELEASE-RQ", RELEASE_RP: "A-RELEASE-RP", ABORT: "A-ABORT",
    }  # fmt: skip
    return BadMessage(f"a PDU that has no place here: {known.get(kind, f'of type {kind}')}")
