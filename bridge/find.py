"""C-FIND to QIDO-RS (PS3.4 C.4.1): one pending answer for each result, as pages of them come.

Paging is ours alone: the first page is small, so that the first answer comes soon, the next ones are large. What was
not negotiated is done all the same unless the settings say otherwise, since that is what devices expect.
"""

import dataclasses
import re
from collections.abc import Iterator

from bridge import statuses
from bridge.association import Association, Message
from bridge.client import Origin, Page, Row
from bridge.nodes import Nodes
from bridge.policy import FIND
from bridge.refusals import Peer, Refusals
from dicomweb.errors import BadMessage, BadObject, BadQuery, Error, NotFound, PeerLeft, PeerSilent
from dicomweb.standard import dicomjson, identifiers
from dicomweb.standard.answers import Answers
from dicomweb.standard.identifiers import Asked, Terms
from dicomweb.standard.query import write_path

_FIRST, _PAGE = 100, 1000
_TOGETHER = 50
"""Answers that are sent at once; whether the query was cancelled is looked for between."""
_MOST_PATIENTS = 100_000


class FindService:
    """Serves C-FIND.

    Args:
        origin: who is asked.
        nodes: what character sets askers read.
        refusals: told of what is refused, and of queries that find nothing.
        aet: our AE title, at which objects can be retrieved.
        strict: what was not negotiated is refused.
    """

    def __init__(self, origin: Origin, nodes: Nodes, refusals: Refusals, aet: str, strict: bool) -> None:
        self._origin = origin
        self._nodes = nodes
        self._refusals = refusals
        self._aet = aet
        self._strict = strict

    def serve(self, association: Association, message: Message, peer: Peer) -> None:
        """Answer a query."""
        try:
            data = association.identifier() if message.has_data else b""
            asked = self.read(association, message, data)
            found = self._answer(association, message, asked, peer)
        except (PeerLeft, PeerSilent, BadMessage):
            raise
        except Error as error:
            verdict = statuses.from_error(error)
            if isinstance(error, BadObject):
                verdict = statuses.Verdict(statuses.DOES_NOT_MATCH, f"the identifier cannot be read: {error}")
            self._refusals.note("request", peer, f"C-FIND: {verdict.comment} ({verdict.status:04X})")
            association.respond(message, verdict.status, verdict.comment)
            return
        if found == 0:
            reason, advice = explain_nothing(asked)
            self._refusals.note("query", peer, reason, advice)

    def read(self, association: Association, message: Message, data: bytes) -> Asked:
        """Read an identifier with what was negotiated.

        Raises:
            BadQuery, BadObject: it cannot be answered.
        """
        abstract = message.context.abstract
        asked = identifiers.read_identifier(
            identifiers.read(data, message.context.syntax), FIND[abstract], self._terms(association, abstract)
        )
        _ = asked.query  # a key that has no meaning is refused here, with a sentence
        return asked

    def _terms(self, association: Association, abstract: str) -> Terms:
        granted = association.extended.get(abstract, b"").ljust(7, b"\0")
        return Terms(
            relational=bool(granted[0]),
            combined=bool(granted[1]),
            fuzzy=bool(granted[2]),
            timezone=bool(granted[3]),
            empty=bool(granted[5]),
            multiple=bool(granted[6]),
            strict=self._strict,
        )

    def _answer(self, association: Association, message: Message, asked: Asked, peer: Peer) -> int | None:
        """Send the answers; return how many, or None if the query was cancelled."""
        number = message.command.get("MessageID", 0)
        fallback = next((node.charset for node in self._nodes.called(peer.calling) if node.name == peer.node), "")
        answers = Answers(asked, self._aet, message.context.syntax, fallback)
        count = 0
        pending = statuses.PENDING
        for page in pages(self._origin, asked):
            if page.sentences and any(
                "ignored" in sentence or "not returned" in sentence for sentence in page.sentences
            ):
                pending = statuses.PENDING_OPTIONAL
            for start in range(0, len(page.rows), _TOGETHER):
                if association.cancelled(number):
                    association.respond(message, statuses.CANCELLED)
                    return None
                rows = page.rows[start : start + _TOGETHER]
                found = [answers.write(row) for row in rows if identifiers.satisfies(asked, row)]
                association.respond_each(message, pending, found)
                count += len(found)
        if association.cancelled(number):
            association.respond(message, statuses.CANCELLED)
            return None
        association.respond(message, statuses.SUCCESS)
        return count


def pages(origin: Origin, asked: Asked) -> Iterator[Page]:
    """Yield the pages of a search, the next one fetched when it is asked for.

    Raises:
        BadQuery, TooBroad, Unavailable, Forbidden: the server does not answer.
    """
    try:
        page = origin.search(asked.path, _with(asked, limit=_FIRST))
    except NotFound:
        if asked.level == "patient":  # an extension that other servers do not have
            yield Page(list(_patients(origin, asked)), "", ())
            return
        yield Page((), "", ())  # a study or series that is not there
        return
    offset, limit = 0, _FIRST
    while True:
        yield page
        offset += len(page.rows)
        if page.following:
            page = origin.follow(re.sub(rf"([?&])limit={limit}\b", rf"\g<1>limit={_PAGE}", page.following))
        elif len(page.rows) >= limit and not origin.links:
            page = origin.search(asked.path, _with(asked, limit=_PAGE, offset=offset))
        else:
            return
        limit = _PAGE
        if not page.rows:
            return


def _with(asked: Asked, **paging: int) -> list[tuple[str, str]]:
    return [*asked.params, *((name, str(number)) for name, number in paging.items())]


def _patients(origin: Origin, asked: Asked) -> Iterator[Row]:
    """Patients by way of their studies, where the server has no `/patients`: told apart by ID and issuer."""
    seen = set()
    studies = dataclasses.replace(asked, level="study")
    for page in pages(origin, studies):
        for row in page.rows:
            key = dicomjson.text(row, "00100020"), dicomjson.text(row, "00100021")
            if key not in seen:
                seen.add(key)
                if len(seen) > _MOST_PATIENTS:
                    raise BadQuery(f"there are more than {_MOST_PATIENTS:,} patients; ask for fewer")
                yield row


def explain_nothing(asked: Asked) -> tuple[str, str]:
    """Return why a query may have found nothing, and what to try; values of keys are not told."""
    names = [write_path(tuple(int(part, 16) for part in name.split("."))) for name, _ in asked.keys]
    keys = ", ".join(names) if names else "no keys"
    reason = f"C-FIND at level {identifiers.LEVEL_NAMES[asked.level]} with {keys} found nothing"
    plain = [
        name for name, (_, value) in zip(names, asked.keys, strict=True)
        if name in ("PatientName", "StudyDescription", "SeriesDescription", "ReferringPhysicianName")
        and "*" not in value and "?" not in value
    ]  # fmt: skip
    if plain:
        return reason, f"{plain[0]} was matched as a whole; a part of it needs a wildcard, such as DOE*"
    if len(names) > 1:
        return reason, "All keys have to match at once; leave some out to see which one does not"
    return reason, ""
