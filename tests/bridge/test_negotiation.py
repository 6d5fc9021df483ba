"""Requests for associations and their answers (PS3.8 9.3.2, 9.3.3): a device that asks as before costs nothing."""

from dataclasses import replace

import pytest
from counting import calls_of

from bridge import negotiation
from bridge.negotiation import Context, Proposed, Request
from dicomweb.errors import BadMessage

SYNTAXES = ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
ALL = tuple(
    Proposed(2 * number + 1, f"1.2.840.10008.5.1.4.1.1.{number + 1}", SYNTAXES[number % 3 :]) for number in range(128)
)


def asked(calling: str = "MODALITY", contexts: tuple[Proposed, ...] = ALL) -> Request:
    return Request(calling, "ROENTGATE", contexts, roles={ALL[0].abstract: (True, True)})


def pdu(request: Request) -> bytes:
    """Bytes of their own, as they come out of a connection."""
    return bytes(bytearray(negotiation.write_request(request, 16384)))


def granted(request: Request) -> list[Context]:
    return [Context(each.number, each.abstract, each.syntaxes[0]) for each in request.contexts]


def accept(request: Request, contexts: list[Context], longest: int = 131072) -> bytes:
    return negotiation.write_acceptance(request, contexts, longest, {ALL[0].abstract: (True, False)}, {})


def test_a_device_that_asks_as_before_is_read_and_answered_without_taking_its_request_apart() -> None:
    request = negotiation.read_request(pdu(asked()))
    accept(request, granted(request))
    again, contexts = pdu(asked()), granted(request)
    assert calls_of(lambda: negotiation.read_request(again)) <= 4
    assert calls_of(lambda: accept(request, contexts)) <= 3 * len(contexts) + 20


def test_requests_that_differ_in_anything_are_told_apart() -> None:
    others = [
        asked(),
        asked("OTHER"),
        replace(asked(), called="ELSEWHERE"),
        asked(contexts=ALL[:127]),
        asked(contexts=(*ALL[:127], replace(ALL[127], syntaxes=SYNTAXES[2:]))),
        replace(asked(), roles={}),
    ]
    for _ in range(2):
        read = [negotiation.read_request(pdu(each)) for each in others]
        assert [(each.calling, each.called, each.contexts, each.roles) for each in read] == [
            (each.calling, each.called, each.contexts, each.roles) for each in others
        ]


def test_answers_that_differ_in_anything_are_told_apart() -> None:
    request = asked()
    contexts = granted(request)
    refused = [*contexts[:-1], replace(contexts[-1], result=negotiation.TRANSFER_SYNTAXES)]
    for _ in range(2):
        for given, longest in ((contexts, 131072), (refused, 131072), (contexts, 16384)):
            read, most, roles = negotiation.read_acceptance(accept(request, given, longest), request)
            assert set(read.values()) == {each for each in given if each.result == negotiation.ACCEPTED}
            assert most == longest
            assert roles == {ALL[0].abstract: (True, False)}


def test_what_is_no_request_is_refused_each_time() -> None:
    damaged = pdu(asked())[:200]
    for _ in range(2):
        with pytest.raises(BadMessage):
            negotiation.read_request(damaged)
