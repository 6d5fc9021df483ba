"""Requests sent in one piece over connections that are kept; answers in every form of HTTP/1.1, read as they come."""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager

import pytest
from bridged import bridged
from dicoms import CT, PREFIX, ct
from ports import free_port

from bridge.association import Limits, connect
from bridge.gathering import Piece
from bridge.lines import Answer, Lines
from bridge.negotiation import Proposed, Request
from dicomweb.errors import BadRequest, Unavailable
from dicomweb.standard.syntaxes import EXPLICIT


class Server:
    """Answers the requests of each connection by a list of its own, then closes it. With None it says nothing more.

    Attributes:
        heads: of the requests, in order; `bodies` likewise.
        connections: how many came.
    """

    def __init__(self, *connections: list[bytes | None]) -> None:
        self.answers = list(connections)
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.over = threading.Event()

    def run(self) -> None:
        for answers in self.answers:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with sock, sock.makefile("rb") as reader:
                for answer in answers:
                    if answer is None:
                        self.over.wait(60)
                        return
                    self.read(reader)
                    sock.sendall(answer)

    def read(self, reader) -> None:
        lines = []
        while (line := reader.readline()) not in (b"\r\n", b""):
            lines.append(line.decode().strip())
        size = next((int(line[15:]) for line in lines if line.startswith("Content-Length:")), 0)
        self.heads.append(lines[0])
        self.bodies.append(reader.read(size))


@contextmanager
def asked(*connections: list[bytes | None]):
    server = Server(*connections)
    thread = threading.Thread(target=server.run)
    thread.start()
    lines = Lines("127.0.0.1", server.port, 4, 60.0)
    try:
        yield server, lines
    finally:
        server.over.set()
        lines.close()
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join(60)


@contextmanager
def serving(*connections: list[bytes | None], seconds: float = 60.0):
    with asked(*connections) as (server, lines):

        def post(*body: bytes):
            answer = lines.post("/dicom-web/studies", {"Accept": "application/json"}, body, seconds)
            return answer.status, answer.data

        yield server, post


def read(answer: Answer, most: int = 100, fill: bool = False) -> bytes:
    return b"".join(iter(lambda: answer.read(most, fill), b""))


SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3;x=y\r\nond\r\n0\r\nTrailer: x\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
INTERIM = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}"


def test_a_connection_is_kept_and_every_form_of_an_answer_is_read():
    with serving([SIZED, CHUNKED, EMPTY, INTERIM]) as (server, post):
        assert [post(b"ab", b"", b"c"), post(b"d"), post(), post(b"e")] == [
            (200, b"first"), (200, b"second"), (204, b""), (409, b"{}"),
        ]  # fmt: skip
        assert server.connections == 1
        assert server.bodies == [b"abc", b"d", b"", b"e"]
        assert set(server.heads) == {"POST /dicom-web/studies HTTP/1.1"}


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nend",
        b"HTTP/1.1 200 OK\r\n\r\nend",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nend",
    ],
)
def test_a_connection_that_the_server_ends_is_not_used_again(last):
    with serving([last], [SIZED]) as (server, post):
        assert [post(b"a"), post(b"b")] == [(200, b"end"), (200, b"first")]
        assert server.connections == 2


def test_what_comes_behind_an_answer_is_not_taken_for_the_next_one():
    with serving([SIZED + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"], [SIZED]) as (server, post):
        assert [post(b"a"), post(b"b")] == [(200, b"first")] * 2
        assert server.connections == 2


@pytest.mark.parametrize("length", [b"Content-Length: -5", b"Content-Length: +5", b"Transfer-Encoding: chunked"])
def test_a_length_that_is_none_is_no_answer(length):
    broken = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n-5\r\nabcdefghijkl"
    with serving([broken], [broken]) as (_, post), pytest.raises(Unavailable, match="broke"):
        post(b"a")


def test_a_server_that_goes_on_announcing_is_given_up():
    endless = 100 * b"HTTP/1.1 102 Processing\r\n\r\n" + SIZED
    with serving([endless], [endless]) as (_, post), pytest.raises(Unavailable, match="broke"):
        post(b"a")


def test_of_a_long_sentence_about_what_went_wrong_the_beginning_is_read():
    with asked([b"HTTP/1.1 500 Oops\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000)]) as (_, lines):
        answer = lines.get("/", {}, 60)
        assert answer.data == bytes(1 << 20)
        answer.close()


def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing_but_another():
    with serving([SIZED], [SIZED, SIZED]) as (server, post):
        assert [post(b"a"), post(b"b"), post(b"c")] == [(200, b"first")] * 3
        assert server.connections == 2


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst", b"220 ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nfirst",
    ],
)  # fmt: skip
def test_an_answer_that_breaks_off_twice_or_is_none_is_no_answer(broken):
    with serving([broken], [broken]) as (server, post), pytest.raises(Unavailable, match="broke"):
        post(b"a")
    assert server.bodies == [b"a", b"a"]


def test_a_silent_server_is_given_up_and_not_asked_again():
    with serving([None], [SIZED], seconds=0.2) as (server, post), pytest.raises(Unavailable, match="in time"):
        post(b"a")
    assert server.connections == 1


def test_a_server_that_is_not_there_cannot_be_reached():
    with pytest.raises(Unavailable, match="reached"):
        Lines("127.0.0.1", free_port(), 4, 60.0).post("/", {}, [b"a"], 60.0)


@pytest.mark.parametrize("most", [1, 2, 100])
@pytest.mark.parametrize("fill", [False, True])
def test_an_answer_that_is_read_as_it_comes_is_the_same_and_its_connection_is_kept(most, fill):
    with asked([SIZED, CHUNKED, EMPTY, INTERIM, SIZED]) as (server, lines):
        got = []
        for _ in range(5):
            answer = lines.get("/x", {}, 60.0)
            got.append((answer.status, read(answer, most, fill)))
            assert answer.read(most) == b""
        assert got == [(200, b"first"), (200, b"second"), (204, b""), (409, b"{}"), (200, b"first")]
        assert server.connections == 1


def test_an_answer_without_length_ends_with_its_connection():
    with asked([b"HTTP/1.1 200 OK\r\n\r\nend"], [SIZED]) as (server, lines):
        assert read(lines.get("/x", {}, 60.0)) == b"end"
        assert read(lines.get("/x", {}, 60.0)) == b"first"
        assert server.connections == 2


def test_of_an_answer_that_nobody_wants_a_little_is_read_and_much_costs_the_connection():
    much = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
    with asked([SIZED, SIZED, much], [CHUNKED], [SIZED]) as (server, lines):
        answer = lines.get("/x", {}, 60.0)
        assert answer.read(3) == b"fir"
        answer.close()
        assert answer.read(3) == b""
        assert read(lines.get("/x", {}, 60.0)) == b"first"
        assert server.connections == 1
        lines.get("/x", {}, 60.0).close()
        lines.get("/x", {}, 60.0).close()
        assert read(lines.get("/x", {}, 60.0)) == b"first"
        assert server.connections == 3


@pytest.mark.parametrize(
    "broken", [SIZED[:-1], CHUNKED[:-20], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfirst\r\n"]
)
def test_an_answer_that_breaks_off_is_not_taken_for_whole(broken):
    with asked([broken], [SIZED]) as (server, lines):
        answer = lines.get("/x", {}, 60.0)
        with pytest.raises(Unavailable, match="broke"):
            read(answer)
        assert read(lines.get("/x", {}, 60.0)) == b"first"
        assert server.connections == 2


def test_an_answer_that_stops_is_given_up():
    with asked([SIZED[:-2], None]) as (_, lines):
        answer = lines.get("/x", {}, 0.2)
        with pytest.raises(Unavailable, match="in time"):
            read(answer, fill=True)


def test_what_is_wanted_whole_comes_in_one_piece():
    size = 3 << 20
    with asked([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)]) as (_, lines):
        answer = lines.get("/x", {}, 60.0)
        begun = len(answer.read(size))
        assert begun + len(answer.read(size, fill=True)) == size
        assert answer.read(size) == b""


def test_nothing_that_is_asked_for_can_begin_a_line_of_its_own():
    with pytest.raises(BadRequest, match="line end"):
        Lines("127.0.0.1", free_port(), 4, 60.0).get("/x HTTP/1.1\r\nX: y", {}, 60.0)


def test_an_object_costs_one_request_one_connection_and_one_write(tmp_path, monkeypatch):
    from bridge import lines as module

    writes, lines = [], []
    write, begin = module.write_all, module._Line.__init__
    monkeypatch.setattr(module, "write_all", lambda send, pieces: write(counted(send, writes), pieces))
    monkeypatch.setattr(module._Line, "__init__", lambda self, *args: (lines.append(self), begin(self, *args))[1])
    with bridged(tmp_path) as system:
        request = Request("TESTER", "ROENTGATE", (Proposed(1, CT, (EXPLICIT,)),))
        association = connect("127.0.0.1", system.port, request, Limits(answer_seconds=60.0))
        for number in range(1, 6):
            command = {
                "AffectedSOPClassUID": CT, "CommandField": 1, "Priority": 0,
                "AffectedSOPInstanceUID": f"{PREFIX}.1.1.{number}",
            }  # fmt: skip
            assert association.ask(1, command, data_set(ct(number)))["Status"] == 0
        association.release()
    assert (len(writes), len(lines)) == (5, 1)


def counted(send: Callable[[Sequence[Piece]], int], calls: list[int]) -> Callable[[Sequence[Piece]], int]:
    """A call that sends pieces and notes how many."""
    return lambda pieces: (calls.append(len(pieces)), send(pieces))[1]


def data_set(file: bytes) -> bytes:
    return file[144 + int.from_bytes(file[140:144], "little") :]
