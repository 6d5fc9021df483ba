"""What became of each instance of a Store request: reason codes, the response and its status (PS3.18 10.5.3,
Annex I; PS3.4 B.2.3).

An instance that is refused is no error of the request: it ends as an Outcome beside its neighbours'. The
Standard has codes, and no place for a sentence in the response module; sentences go out in Warning headers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from dicomweb import errors
from dicomweb.standard import resources

State: TypeAlias = Literal["stored", "already", "kept", "replaced", "failed"]
"""Of an object: written and visible; the same one was there; written, but another one stays visible;
written in place of another one; refused."""

# Warning Reason (0008,1196) and Failure Reason (0008,1197): PS3.18 Table I.2-1, I.2-2, PS3.7 Annex C.
COERCED = 0xB000
DISCARDED = 0xB006
MISMATCH = 0xB007
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
SYNTAX_NOT_SUPPORTED = 0xC122
PROCESSING_FAILURE = 0x0110
DUPLICATE_INSTANCE = 0x0111
CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORIZED = 0x0124

MEANINGS: dict[int, str] = {
    COERCED: "elements were coerced",
    DISCARDED: "elements were discarded",
    MISMATCH: "the data set does not match its SOP Class",
    OUT_OF_RESOURCES: "out of resources",
    DOES_NOT_MATCH: "the data set does not match its SOP Class or its study",
    CANNOT_UNDERSTAND: "the object cannot be understood",
    SYNTAX_NOT_SUPPORTED: "the transfer syntax is not supported",
    PROCESSING_FAILURE: "the archive could not process the object",
    DUPLICATE_INSTANCE: "another object with this SOP Instance UID is stored already",
    CLASS_NOT_SUPPORTED: "the SOP Class is not supported",
    NOT_AUTHORIZED: "whoever sends the object may not store it",
}

# Which of our errors is which reason; one that is not listed is as its nearest listed ancestor.
_REASONS: dict[type[Exception], int] = {
    errors.OutOfSpace: OUT_OF_RESOURCES,
    errors.TooLarge: OUT_OF_RESOURCES,
    errors.ObjectTooLarge: OUT_OF_RESOURCES,
    errors.ForeignStudy: NOT_AUTHORIZED,
    errors.WrongStudy: DOES_NOT_MATCH,
    errors.BadIdentity: DOES_NOT_MATCH,
    errors.UnsupportedSyntax: SYNTAX_NOT_SUPPORTED,
    errors.OtherContent: DUPLICATE_INSTANCE,
    errors.BadObject: CANNOT_UNDERSTAND,
    errors.BadRequest: CANNOT_UNDERSTAND,
    errors.UnsupportedMedia: CANNOT_UNDERSTAND,
}
# Kinds of what a reader of objects remarks on; any other kind is a mismatch. We never change what we store,
# so the code for coerced elements is used only where a remark says so.
_REMARKS = {"coerced": COERCED, "discarded": DISCARDED}


class Remark(Protocol):
    """Something about an object that did not keep it from being stored."""

    @property
    def kind(self) -> str:
        """What sort of thing, such as "class"."""

    @property
    def sentence(self) -> str:
        """For people."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object.

    Attributes:
        state: in a word; "failed" exactly when there is a reason.
        sop_class, instance, study, series: UIDs, each "" as far as it is not known.
        reason: Failure Reason (0008,1197), or None.
        warning: Warning Reason (0008,1196), or None.
        detail: a sentence for people about the failure or warning, or "".
        temporary: the same request may succeed later.
        malformed: the request itself is wrong, not only the object.
    """

    state: State
    sop_class: str = ""
    instance: str = ""
    study: str = ""
    series: str = ""
    reason: int | None = None
    warning: int | None = None
    detail: str = ""
    temporary: bool = False
    malformed: bool = False


def accepted(
    study: str, series: str, instance: str, sop_class: str, state: State, remarks: Iterable[Remark] = ()
) -> Outcome:
    """Make the outcome of an object that the archive has now (PS3.18 10.5.3.3).

    Args:
        study, series, instance, sop_class: its UIDs.
        state: any but "failed".
        remarks: what was odd about it. There is one code per instance: coerced elements come before discarded
            ones, those before a mismatch.
    """
    remarks = list(remarks)
    codes = sorted(_REMARKS.get(remark.kind, MISMATCH) for remark in remarks)
    sentences = list(dict.fromkeys(remark.sentence for remark in remarks))
    if state == "kept":
        sentences.append("another object with this SOP Instance UID stays the one that is found and retrieved")
    return Outcome(
        state,
        sop_class,
        instance,
        study,
        series,
        warning=codes[0] if codes else None,
        detail="; ".join(sentences),
    )


def from_error(error: Exception) -> Outcome:
    """Make the outcome of an object that was refused or could not be stored (PS3.18 Table I.2-2).

    Args:
        error: why. Sentences of our own errors are for people; those of others are not shown.
    """
    reason = next((_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS), PROCESSING_FAILURE)
    detail = str(error) if isinstance(error, errors.Error) else ""
    return Outcome(
        "failed",
        getattr(error, "sop_class", ""),
        getattr(error, "instance", ""),
        reason=reason,
        detail=detail or MEANINGS[reason],
        temporary=isinstance(error, errors.OutOfSpace | errors.Unavailable),
        malformed=isinstance(error, errors.BadReference),
    )


def respond(outcomes: Sequence[Outcome], base: str) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the body of a Store response (PS3.18 10.5.3).

    Args:
        outcomes: of all objects of the request, at least one.
        base: base URL, for Retrieve URLs.
    """
    return status_of(outcomes), write(outcomes, base)


def status_of(outcomes: Sequence[Outcome]) -> int:
    """Return the HTTP status of a Store response (PS3.18 Table 10.5.3-1).

    The Standard leaves 503 and 507 to servers; we answer them when everything failed for want of a back end
    or of room, so that a client sends it all again.
    """
    failed = [outcome for outcome in outcomes if outcome.reason is not None]
    if len(failed) < len(outcomes):
        clean = not failed and all(outcome.warning is None for outcome in outcomes)
        return 200 if clean else 202
    if failed and all(outcome.temporary for outcome in failed):
        return 507 if all(outcome.reason == OUT_OF_RESOURCES for outcome in failed) else 503
    if all(outcome.malformed or (outcome.reason == CANNOT_UNDERSTAND and not outcome.instance) for outcome in failed):
        return 400
    return 409


def write(outcomes: Sequence[Outcome], base: str) -> dict[str, Any]:
    """Return the Store Instances Response Module as DICOM JSON model (PS3.18 Table I.1-1).

    Args:
        outcomes: of all objects of the request.
        base: base URL, for Retrieve URLs.
    """
    stored, failed, others = [], [], []
    for outcome in outcomes:
        if outcome.reason is None:
            item = _reference(outcome)
            url = resources.instance_url(base, outcome.study, outcome.series, outcome.instance)
            item["00081190"] = {"vr": "UR", "Value": [url]}
            if outcome.warning is not None:
                item["00081196"] = {"vr": "US", "Value": [outcome.warning]}
            stored.append(item)
        elif outcome.sop_class and outcome.instance:
            failed.append(_reference(outcome) | _reason(outcome))
        else:
            others.append(_reason(outcome))
    studies = {outcome.study for outcome in outcomes if outcome.reason is None}
    retrieve: dict[str, Any] = {"vr": "UR"}
    if len(studies) == 1:
        retrieve["Value"] = [resources.study_url(base, studies.pop())]
    dataset: dict[str, Any] = {"00081190": retrieve}
    for tag, items in (("00081198", failed), ("00081199", stored), ("0008119A", others)):
        if items:
            dataset[tag] = {"vr": "SQ", "Value": items}
    return dataset


def read(dataset: dict[str, Any]) -> list[Outcome]:
    """Read a Store Instances Response Module (PS3.18 Table I.1-1), as a client of any server: stored
    instances first, then failed ones, then other failures. What is missing is "" or None."""
    found = []
    for item in _items(dataset, "00081199"):
        uids = _read_url(_first(item, "00081190"))
        found.append(
            Outcome(
                "stored",
                _text(item, "00081150"),
                _text(item, "00081155"),
                *uids,
                None,
                _code(item, "00081196"),
            )
        )
    for tag in ("00081198", "0008119A"):
        for item in _items(dataset, tag):
            reason = _code(item, "00081197")
            found.append(
                Outcome(
                    "failed",
                    _text(item, "00081150"),
                    _text(item, "00081155"),
                    reason=PROCESSING_FAILURE if reason is None else reason,
                )
            )
    return found


def warnings(outcomes: Sequence[Outcome], base: str, most: int = 20) -> list[str]:
    """Return values of Warning headers: one per code and sentence, with how many instances it concerns
    (PS3.18 10.5.3.2, in the form of RFC 7234 5.5, as Search writes them too).

    Args:
        outcomes: of all objects of the request.
        base: base URL, which names the service.
        most: how many at most.
    """
    counts: dict[str, int] = {}
    for outcome in outcomes:
        code = outcome.reason if outcome.reason is not None else outcome.warning
        if outcome.detail:
            text = f"{code:04X} {outcome.detail}" if code is not None else outcome.detail
            counts[text] = counts.get(text, 0) + 1
    texts = [text if count == 1 else f"{text} ({count} instances)" for text, count in counts.items()]
    return [f'299 {base or "-"} "{_quotable(text)}"' for text in texts[:most]]


def _reference(outcome: Outcome) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [outcome.sop_class]} if outcome.sop_class else {"vr": "UI"},
        "00081155": {"vr": "UI", "Value": [outcome.instance]},
    }


def _reason(outcome: Outcome) -> dict[str, Any]:
    return {"00081197": {"vr": "US", "Value": [outcome.reason]}}


def _items(dataset: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _first(item: dict[str, Any], tag: str) -> Any:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _text(item: dict[str, Any], tag: str) -> str:
    value = _first(item, tag)
    return value if isinstance(value, str) else ""


def _code(item: dict[str, Any], tag: str) -> int | None:
    value = _first(item, tag)
    return value if isinstance(value, int) else None


def _read_url(url: Any) -> tuple[str, str]:
    """Return the study and series that a Retrieve URL names, whatever stands before."""
    path = url[url.find("/studies/") :] if isinstance(url, str) and "/studies/" in url else ""
    try:
        named = resources.read_path(path)
    except errors.Error:
        return "", ""
    return named.study, named.series


def _quotable(text: str) -> str:
    printable = "".join(character if " " <= character <= "~" else "?" for character in text)
    return printable.replace("\\", "\\\\").replace('"', '\\"')
