"""The pool of threads that prefers few."""

import asyncio
import functools
import threading
import time

import pytest

from dicomweb.telemetry import traces
from dicomweb.web.lane import PATIENCE, Lane


def test_a_call_gives_its_result_or_its_error() -> None:
    lane = Lane(2)

    def fail() -> None:
        raise KeyError("x")

    async def ask() -> None:
        assert await lane.run(lambda: 7) == 7
        with pytest.raises(KeyError):
            await lane.run(fail)

    asyncio.run(ask())


def test_a_call_works_for_the_trace_of_whoever_had_it_run() -> None:
    lane = Lane(1)

    async def ask() -> None:
        for trace in (traces.begin(), traces.begin()):
            traces.current.set(trace)
            assert await lane.run(traces.current.get) == trace

    asyncio.run(ask())


def test_calls_that_block_do_not_hold_up_those_behind_them() -> None:
    lane = Lane(8)
    free = threading.Event()

    async def ask() -> None:
        held = [lane.run(lambda: free.wait(30)) for _ in range(5)]
        assert await asyncio.wait_for(lane.run(lambda: "through"), 20) == "through"
        free.set()
        assert all(await asyncio.gather(*held))

    asyncio.run(ask())


def test_a_loop_that_ended_leaves_no_queue_unwatched() -> None:
    lane = Lane(8)
    free = threading.Event()

    async def leave() -> None:
        for _ in range(2):
            lane.run(lambda: free.wait(30))

    async def ask() -> None:
        assert await asyncio.wait_for(lane.run(lambda: "through"), 20) == "through"

    asyncio.run(leave())  # it ends before anybody has looked at the call that waits
    try:
        asyncio.run(ask())
    finally:
        free.set()


def test_of_threads_that_sleep_the_last_to_fall_asleep_works_next() -> None:
    lane = Lane(3, patience=0)
    met = threading.Barrier(3)

    async def idle() -> None:
        while vars(lane)["_awake"]:
            await asyncio.sleep(0)

    async def ask() -> set[int]:
        await asyncio.gather(*(lane.run(lambda: met.wait(20)) for _ in range(3)))
        used = set()
        for _ in range(10):
            await idle()
            used.add(await lane.run(threading.get_ident))
        return used

    assert len(asyncio.run(ask())) == 1


@pytest.mark.parametrize("patience", [PATIENCE, 0])
def test_no_more_calls_run_at_once_than_allowed(patience: float) -> None:
    lane = Lane(3, patience)
    lock = threading.Lock()
    running: list[int] = []
    most = 0
    enough = threading.Barrier(3)

    def call(number: int) -> int:
        nonlocal most
        with lock:
            running.append(number)
            most = max(most, len(running))
        if number < 3:
            enough.wait(20)  # three do run at once
        with lock:
            running.remove(number)
        return number

    async def ask() -> list[int]:
        return await asyncio.gather(*(lane.run(functools.partial(call, n)) for n in range(40)))

    assert asyncio.run(ask()) == list(range(40))
    assert most == 3


def test_calls_that_are_known_to_block_wait_for_nobody() -> None:
    lane = Lane(8, patience=0)
    everybody = threading.Barrier(4)

    async def ask() -> None:
        calls = [lane.run(functools.partial(everybody.wait, 20)) for _ in range(3)]
        everybody.wait(20)  # the loop stands still, so that it cannot look after the queue
        await asyncio.gather(*calls)

    asyncio.run(ask())


def test_quick_calls_share_one_thread() -> None:
    lane = Lane(16)
    names: dict[str, int] = {}

    def call() -> None:
        name = threading.current_thread().name
        names[name] = names.get(name, 0) + 1

    async def ask() -> None:
        await asyncio.gather(*(lane.run(call) for _ in range(2000)))

    asyncio.run(ask())
    assert max(names.values()) > 1000, names


def test_a_caller_that_gave_up_disturbs_nobody() -> None:
    lane = Lane(1)
    free = threading.Event()

    async def ask() -> None:
        first = lane.run(lambda: free.wait(30))
        first.cancel()
        free.set()
        assert await asyncio.wait_for(lane.run(time.monotonic), 20) > 0

    asyncio.run(ask())
