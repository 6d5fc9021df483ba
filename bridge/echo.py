"""C-ECHO (PS3.4 A, PS3.7 9.1.5)."""

from bridge import statuses
from bridge.association import Association, Message
from bridge.refusals import Peer


class EchoService:
    """Serves C-ECHO."""

    def serve(self, association: Association, message: Message, _peer: Peer) -> None:
        """Answer that we are here."""
        association.respond(message, statuses.SUCCESS)
