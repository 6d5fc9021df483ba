"""A TCP connection that can be cut: a relay on loopback between a client and a server."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which a close sends RST, as a cable that is pulled looks in the end."""


class Relay:
    """Relays connections to a port of loopback.

    Args:
        target: the port.

    Attributes:
        port: where it listens.
        connections: how many there were.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._down = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Break every connection, and take none until `mend`."""
        with self._lock:
            self._down = True
            for sock in self._open:
                _break(sock)

    def mend(self) -> None:
        """Take connections again."""
        with self._lock:
            self._down = False

    def close(self) -> None:
        """Break every connection and listen no more."""
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                far = None if self._down else self._reach()
                if far is None:
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    near.close()
                    continue
                self.connections += 1
                self._open |= {near, far}
                thread = threading.Thread(target=self._serve, args=(near, far), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _reach(self) -> socket.socket | None:
        """A connection to the other side, or None."""
        return connected(self.target)

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=self._relay, args=(far, near), daemon=True)
        back.start()
        self._relay(near, far)
        back.join()
        with self._lock:
            self._open -= {near, far}
            near.close()
            far.close()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RD)


def connected(port: int) -> socket.socket | None:
    """Connect to a port of loopback; None if nobody listens there."""
    with contextlib.suppress(OSError):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    return None


def _break(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relayed(target: int) -> Iterator[Relay]:
    """Relay to a port while the context lasts."""
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
