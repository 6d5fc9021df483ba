"""Ports for servers that a test starts as processes."""

import errno
import random
import socket

_PORTS = range(20_000, 32_768)
"""Below those that systems give to connections: what was free stays free until the server that is to have it starts."""


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """As many different ones."""
    chance, found = random.SystemRandom(), set[int]()
    while len(found) < count:
        port = chance.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                found.add(port)
    return list(found)
