"""What a node is asked for by a viewer goes beside the archive (the web layer's `/aets/{node}/visit`), also where the
node can send it only by C-MOVE to us, so that it comes in like anything else, at whichever bridge it may be.

It is known by what the node repeats of our request: our AE title and a Message ID from the top of their range
(PS3.7 9.3.1, Q-092), where nobody's count arrives in practice. Requests whose objects belong into the archive have one
below. Some nodes give their own AE title for the originator's, which is taken as well.
"""

import secrets
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from bridge.client import Origin, Stored
from bridge.refusals import Peer

_TOP = 0xF000


def message_id(visit: bool) -> int:
    """Return a Message ID for a C-MOVE to ourselves."""
    return _TOP + 1 + secrets.randbelow(0xFFFF - _TOP) if visit else 1 + secrets.randbelow(_TOP)


class VisitOrigin(Origin):
    """Where what is fetched for a viewer goes: what came before under the same UID makes way for it. Only those who
    know the token are let in.

    Args:
        url: where that is.
        token: see Origin.
        connect_seconds, read_seconds, ca: see Origin.
    """

    def __init__(
        self, url: str, token: str, connect_seconds: float = 5.0, read_seconds: float = 120.0, ca: str = ""
    ) -> None:
        super().__init__(url, 8, connect_seconds, read_seconds, ca, token)
        self._headers["Authorization"] = f"Bearer {token}"

    def store(self, body: bytes | Iterable[bytes], content_type: str, conflict: str = "") -> Stored:
        """See Origin."""
        return super().store(body, content_type, "")


class Visits:
    """Finds where an object belongs.

    Args:
        server: root of the web layer.
        token: the secret that it and we share.
        aet: our AE title.
        connect_seconds, read_seconds, ca: see Origin.
    """

    def __init__(
        self, server: str, token: str, aet: str, connect_seconds: float = 5.0, read_seconds: float = 120.0, ca: str = ""
    ) -> None:
        self._server = server
        self._token = token
        self._aet = aet
        self._limits = (connect_seconds, read_seconds, ca)
        self._origins: dict[str, VisitOrigin] = {}
        self._lock = threading.Lock()

    def origin(self, command: Mapping[str, Any], peer: Peer) -> Origin | None:
        """Return where an object of a C-STORE request goes; None is the archive.

        Args:
            command: of the request.
            peer: who sends it; only a known node has what is beside the archive.
        """
        originator = str(command.get("MoveOriginatorApplicationEntityTitle") or "").strip()
        number = int(command.get("MoveOriginatorMessageID") or 0)
        if originator not in (self._aet, peer.calling) or number <= _TOP or not peer.node:
            return None
        return self.at(f"/aets/{peer.node}/visit")

    def at(self, path: str) -> Origin:
        """Return the origin below a path of the web layer."""
        with self._lock:
            if path not in self._origins:
                self._origins[path] = VisitOrigin(f"{self._server}{path}", self._token, *self._limits)
            return self._origins[path]
