"""Connections that come at once are shared evenly among processes, and none waits for a process that takes none."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from dicomweb import launch
from dicomweb.turns import PATIENCE, Counts, Door, Turns


class Fleeting(asyncio.Protocol):
    """Says one word and waits for its client to leave."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(b"here")


@pytest.fixture
def counts(tmp_path) -> Iterator[Counts]:
    made = Counts.begin(tmp_path / "connections", 3)
    yield made
    made.close()


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.setblocking(False)
        yield opened


def clients(opened: socket.socket, number: int) -> list[socket.socket]:
    return [socket.create_connection(opened.getsockname(), timeout=20) for _ in range(number)]


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request, monkeypatch) -> Callable[..., Any]:
    """Runs a coroutine in the event loop of a process that takes turns."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    else:
        monkeypatch.setitem(launch.sys.modules, "uvloop", None)

    def running(turns: Turns, what: Callable[[asyncio.AbstractEventLoop], Any]) -> Any:
        async def main() -> Any:
            return await asyncio.wait_for(what(asyncio.get_running_loop()), 30)

        with asyncio.Runner(loop_factory=launch.loop_factory(turns)) as runner:
            return runner.run(main())

    return running


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def test_a_connection_is_ours_while_nobody_serves_fewer(counts):
    for process in (0, 1):
        counts.enter(process)
    turns = Turns(counts, 0)
    assert turns.ours()
    turns.took()
    assert not turns.ours()
    counts.took(1)
    assert turns.ours()


def test_a_process_that_is_gone_or_not_there_yet_is_not_waited_for(counts):
    counts.enter(0)
    turns = Turns(counts, 0)
    for _ in range(20):
        assert turns.ours()
        turns.took()
    counts.enter(1)
    assert not turns.ours()
    counts.leave(1)
    assert turns.ours()


def test_who_takes_nothing_is_waited_for_once_until_he_takes_something(counts):
    counts.enter(0), counts.enter(1)
    turns = Turns(counts, 0)
    turns.took()
    assert [turns.ours() for _ in range(PATIENCE + 3)] == [False] * PATIENCE + [True] * 3
    counts.took(1), counts.ended(1)
    assert not turns.ours()


def test_among_many_a_few_more_are_no_reason_to_wait(counts):
    counts.enter(0), counts.enter(1)
    for _ in range(80):
        counts.took(1)
    turns = Turns(counts, 0)
    taken = 0
    while turns.ours():
        turns.took()
        taken += 1
    assert 80 < taken <= 100


def test_what_ends_after_the_process_left_is_not_counted(counts):
    counts.enter(0)
    ended = Turns(counts, 0).took()
    counts.leave(0)
    ended()
    counts.took(0)
    assert counts.of(0) == -1


def test_all_processes_see_the_same_numbers(tmp_path, counts):
    other = Counts(tmp_path / "connections")
    counts.enter(1)
    counts.took(1)
    assert (other.of(1), other.taken(0), other.taken(1), other.fewest(0)) == (1, 1, 0, 1)
    other.close()


def test_of_those_that_come_at_once_one_process_takes_its_share(counts, run):
    """The other process is this test, which takes from the same queue."""

    async def serve(loop):
        with listening() as opened:
            theirs = opened.dup()
            server = await loop.create_server(Fleeting, sock=opened)
            assert isinstance(server, Door)
            counts.enter(1)
            opened_by_clients = clients(theirs, 8)
            taken = []
            for number in range(1, 5):
                await until(lambda number=number: counts.of(0) == number)
                taken.append(theirs.accept()[0])
                counts.took(1)
            with pytest.raises(BlockingIOError):
                theirs.accept()
            assert (counts.of(0), counts.of(1)) == (4, 4)
            for each in (*opened_by_clients, *taken, theirs):
                each.close()
            await until(lambda: counts.of(0) == 0)
            server.close()
            await server.wait_closed()

    run(Turns(counts, 0, patience=float("inf")), serve)
    assert counts.of(0) == -1


def test_nobody_waits_for_a_process_that_hangs(counts, run):
    async def serve(loop):
        with listening() as opened:
            server = await loop.create_server(Fleeting, sock=opened)
            counts.enter(1)
            waiting = clients(opened, 8)
            for each in waiting:
                each.setblocking(False)
                assert await loop.sock_recv(each, 10) == b"here"
                each.close()
            await until(lambda: counts.of(0) == 0)
            server.close()
            await server.wait_closed()

    run(Turns(counts, 0), serve)


def test_a_client_of_tls_that_says_nothing_does_not_hold_up_the_stop(counts, run):
    taken: list[int] = []
    over: list[int] = []

    class Noted(Turns):
        def took(self) -> Callable[[], None]:
            taken.append(1)
            return lambda: over.append(1)

    async def serve(loop):
        with listening() as opened:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server = await loop.create_server(Fleeting, sock=opened, ssl=context, ssl_handshake_timeout=600.0)
            (silent,) = clients(opened, 1)
            await until(lambda: bool(taken))
            server.close()
            await server.wait_closed()
            silent.close()
            await until(lambda: bool(over))

    run(Noted(counts, 0), serve)
