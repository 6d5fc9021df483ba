"""Everything that can go wrong, as one tree.

An error is named for the fact, never for a status: `web/problems.py`, `standard/outcomes.py` and
`bridge/statuses.py` say what a caller on each side is told. `str(error)` is one sentence that a user
understands; it holds no path, no SQL and no patient data.
"""


class Error(Exception):
    """Root of everything that Roentgate raises on purpose."""


class BadSetting(Error):
    """A setting is unknown, malformed, or does not go with another."""


class BadRequest(Error):
    """A request is not well formed: path, parameter, header or body."""


class BadFraming(BadRequest):
    """Where the request ends can be read in two ways, so nothing that follows it on its connection can be trusted."""


class Misdirected(BadRequest):
    """A request asks for another server than this one."""


class BadQuery(BadRequest):
    """A search parameter is not well formed."""


class BadNode(BadRequest):
    """The description of a node (in `nodes.toml` or at `/nodes`) is not well formed."""


class TooBroad(Error):
    """A search would have to read more than the limit allows."""


class TooLarge(Error):
    """A request is larger than a limit: body, part, header, number of parts."""


class TooSlow(Error):
    """A request body comes more slowly than the least rate."""


class UnsupportedMedia(Error):
    """The request's media type or content coding is not one that we read."""


class NotAcceptable(Error):
    """None of the forms that the client accepts can be made."""


class Undecodable(NotAcceptable):
    """Pixels cannot be decoded, or not be encoded as asked: the codestream is damaged, of a kind that nobody here
    reads, or above a limit on pixels, seconds or memory."""


class BadRange(Error):
    """A byte range lies outside of the representation."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class NotFound(Error):
    """There is no such resource, or no object under this key."""


class Gone(NotFound):
    """The resource was deleted, and that is still remembered."""


class Vanished(NotFound):
    """There is no object under a key, or no such version: what named it was read before it went, or its bytes are
    lost."""


class Conflict(Error):
    """The request contradicts the state of the archive."""


class AlreadyStored(Error):
    """Storage holds an object under this key already; it was left as it is."""


class Unavailable(Error):
    """A back end did not answer, or not in time; the same request may succeed later."""


class Incompatible(Unavailable):
    """A back end answers, but holds something else than this program, or the other back end, goes with."""


class TookTooLong(Unavailable):
    """The index worked on a question for longer than the limit, and was stopped."""


class Damaged(Unavailable):
    """The index's own file is damaged; it can be made anew from the objects."""


class OutOfSpace(Error):
    """The back end has no room for the bytes."""


class Corrupt(Error):
    """Stored bytes are not the bytes that were stored."""


class Lost(Corrupt):
    """The stored bytes of an instance are not in storage, where the index has them."""


class BadObject(Error):
    """A DICOM object cannot be understood, and nothing of it was stored.

    Attributes:
        sop_class: SOP Class UID, or "" as far as it is not known.
        instance: SOP Instance UID, or "" as far as it is not known.
    """

    def __init__(self, message: str, sop_class: str = "", instance: str = "") -> None:
        super().__init__(message)
        self.sop_class = sop_class
        self.instance = instance


class BadReference(BadObject):
    """Metadata refer to bulk data that are not in the request."""


class TruncatedObject(BadObject):
    """The bytes end before the data set does."""


class BadIdentity(BadObject):
    """A UID that identifies the object is missing or is no UID."""


class ObjectTooComplex(BadObject):
    """Nesting, elements or items are above the limits."""


class ObjectTooLarge(BadObject):
    """The data set is above a size limit, for example after inflating."""


class UnsupportedSyntax(BadObject):
    """The transfer syntax is one whose objects we do not keep."""


class WrongStudy(BadObject):
    """The object belongs to another study than the one named in the request."""


class ForeignStudy(BadObject):
    """The object belongs to a study or patient that whoever sends it may not store to."""

    def __init__(self, sop_class: str = "", instance: str = "") -> None:
        sentence = "the object belongs to a study or patient that whoever sends it may not store to"
        super().__init__(sentence, sop_class, instance)


class OtherContent(BadObject):
    """Another object with the same SOP Instance UID is stored already."""


class PeerLeft(Error):
    """The other side of an association closed its connection or aborted."""


class PeerSilent(Error):
    """The other side of an association did not go on in time."""


class BadMessage(Error):
    """The other side of an association sent what the protocol does not allow there, or more than a limit."""


class NotAssociated(Error):
    """No association came about: nobody listens, the other side refused, or it accepted none of the contexts.

    Attributes:
        lasting: the same attempt will fail again until somebody changes a setting.
    """

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class BadPackage(Error):
    """The package of a viewer is damaged, unsafe, or another one than was asked for."""


class Forbidden(Error):
    """Whoever asks may not have this."""


class NotIdentified(Error):
    """Nobody knows who asks: no key, token or certificate was shown, or one that is not valid.

    Attributes:
        shown: one was.
    """

    def __init__(self, message: str, shown: bool = False) -> None:
        super().__init__(message)
        self.shown = shown


class PassphraseWanted(NotIdentified):
    """What was shown is right, and the passphrase that is wanted beside it is missing or wrong."""


class TooOften(Error):
    """The same caller was refused so often lately that nobody listens for a while."""
