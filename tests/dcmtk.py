"""DCMTK's servers as processes."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator


@contextlib.contextmanager
def dcmtk(*arguments: object, port: int) -> Iterator[int]:
    """One of DCMTK's servers, until the context ends."""
    process = subprocess.Popen([str(each) for each in arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server does not listen"
        yield port
    finally:
        process.terminate()
        process.wait(30)
