"""The body of a GET, read by the clock, with an eye on whether all of it comes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from dicomweb.storage.patience import Attempt

if TYPE_CHECKING:
    from botocore.response import StreamingBody


class BrokenOff(Exception):
    """The body ended, or stopped coming, before all bytes were there."""


class Answer:
    """The body of an answer, of which `left` bytes are wanted."""

    def __init__(self, body: "StreamingBody", etag: str, left: int) -> None:
        self.etag = etag
        self.left = left
        self._body = body
        # One read of the socket a call, where the client offers it, so that the clock is looked at often.
        raw = getattr(body, "_raw_stream", body)
        self._read: Callable[[int], bytes] = getattr(raw, "read1", body.read)

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None:
        # A body that was not read to its end takes its connection with it.
        self._body.close()

    def skip(self, count: int, attempt: Attempt) -> None:
        """Drop bytes that were not asked for."""
        if count < 0:
            raise BrokenOff
        left, self.left = self.left, count
        while self.left:
            self.take(min(self.left, 1 << 20), attempt)
        self.left = left

    def take(self, count: int, attempt: Attempt) -> bytes:
        """Return exactly the next `count` bytes.

        Raises:
            BrokenOff: they did not come.
            TooSlow: they did not come by the deadline.
        """
        pieces: list[bytes] = []
        while count:
            attempt.hurry()
            try:
                piece = self._read(count)
            except Exception as error:  # of the HTTP client below boto3, whatever it is
                raise BrokenOff from error
            if not piece:
                raise BrokenOff
            pieces.append(piece)
            count -= len(piece)
            self.left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
