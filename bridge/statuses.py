"""DIMSE statuses: our errors and outcomes as such, and in words what those of others mean (PS3.4 B.2.3, C.4, PS3.7
Annex C)."""

from dataclasses import dataclass

from dicomweb import errors
from dicomweb.standard import outcomes
from dicomweb.standard.outcomes import MEANINGS, Outcome

SUCCESS = 0x0000
PENDING = 0xFF00
PENDING_OPTIONAL = 0xFF01
CANCELLED = 0xFE00
NOT_AUTHORIZED = 0x0124
NO_SUCH_CLASS = 0x0122
UNRECOGNIZED_OPERATION = 0x0211
INVALID_INSTANCE = 0x0117
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123
PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
RESOURCE_LIMITATION = 0x0213
DUPLICATE_TRANSACTION = 0x0131

OUT_OF_RESOURCES = 0xA700
CANNOT_COUNT = 0xA701
CANNOT_PERFORM = 0xA702
UNKNOWN_DESTINATION = 0xA801
DOES_NOT_MATCH = 0xA900
UNABLE = 0xC000
DUPLICATE = 0xC111
"""Other content under a known SOP Instance UID; 0111 is none of C-STORE's."""
SUBOPERATIONS_FAILED = 0xB000


def kind_of(status: int | None) -> str:
    """Return which kind of status it is (PS3.7 Annex C.1 to C.5); None is that of a request without an answer."""
    if status is None:
        return "none"
    if status == SUCCESS:
        return "success"
    if status == CANCELLED:
        return "cancel"
    if status in {PENDING, PENDING_OPTIONAL}:
        return "pending"
    return "warning" if status >> 12 == 0xB or status in {0x0001, 0x0107, 0x0116} else "failure"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status and the sentence that goes with it, "" where none is needed.

    Attributes:
        temporary: the same request may succeed later.
    """

    status: int
    comment: str = ""
    temporary: bool = False


# What C-STORE and C-FIND, C-MOVE, C-GET say about an error that ended the whole request; the nearest ancestor counts
_ERRORS: dict[type[Exception], int] = {
    errors.OutOfSpace: OUT_OF_RESOURCES,
    errors.TooLarge: OUT_OF_RESOURCES,
    errors.TooBroad: OUT_OF_RESOURCES,
    errors.Unavailable: OUT_OF_RESOURCES,
    errors.BadQuery: DOES_NOT_MATCH,
    errors.UnsupportedMedia: outcomes.SYNTAX_NOT_SUPPORTED,
    errors.Forbidden: NOT_AUTHORIZED,
}


def from_error(error: Exception) -> Verdict:
    """Return what to answer when an error of ours ended a request."""
    status = next((_ERRORS[kind] for kind in type(error).__mro__ if kind in _ERRORS), UNABLE)
    comment = str(error) if isinstance(error, errors.Error) else "an error inside of the bridge"
    temporary = isinstance(error, errors.Unavailable | errors.OutOfSpace)
    return Verdict(status, comment, temporary)


def from_outcome(outcome: Outcome, sentence: str = "", temporary: bool = False) -> Verdict:
    """Return what C-STORE answers about an instance (PS3.4 Table B.2-1).

    Reason codes of STOW-RS are those of C-STORE, but for the ones of N-services.

    Args:
        outcome: as the web layer told it.
        sentence: of a Warning header, or "".
        temporary: the web layer said that it may succeed later.
    """
    if outcome.reason is None:
        return Verdict(outcome.warning or SUCCESS, sentence if outcome.warning else "")
    reason = outcome.reason
    if reason == outcomes.PROCESSING_FAILURE:
        reason = OUT_OF_RESOURCES if temporary else UNABLE
    elif reason == outcomes.DUPLICATE_INSTANCE:
        reason = DUPLICATE
    comment = sentence or outcome.detail or MEANINGS.get(outcome.reason, "the DICOMweb server refused the object")
    return Verdict(reason, comment, temporary or reason == OUT_OF_RESOURCES)


# What a node means by a status (PS3.4 B.2.3, C.4; PS3.7 Annex C), in words for whoever asked it
_WORDS = {
    OUT_OF_RESOURCES: "it is out of resources",
    CANNOT_COUNT: "it is out of resources and cannot count what matches",
    CANNOT_PERFORM: "it is out of resources and cannot send what was asked for",
    UNKNOWN_DESTINATION: "it does not know the move destination; its administrator must add that AE title",
    DOES_NOT_MATCH: "it says that the request does not match the SOP class",
    PROCESSING_FAILURE: "it failed",
    outcomes.DUPLICATE_INSTANCE: "it has another object with this SOP Instance UID",
    INVALID_INSTANCE: "it takes the SOP Instance UID for invalid",
    NO_SUCH_CLASS: "it does not support the SOP class",
    NOT_AUTHORIZED: "it does not allow this to us",
    CANCELLED: "it was cancelled",
}


def describe(status: int, comment: str = "") -> str:
    """Say in words what a status means (PS3.4 C.4, B.2.3); `comment` is what the node said itself."""
    words = _WORDS.get(status)
    if words is None:
        words = {0xA: "it is out of resources or refuses", 0xC: "it is unable to process the request"}.get(
            status >> 12, "it answers with a failure"
        )
    return f"{words} (status {status:04X}{f': {comment}' if comment else ''})"
