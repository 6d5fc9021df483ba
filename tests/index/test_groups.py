"""Group commit, with an engine that only counts."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from dicomweb.errors import Conflict, Unavailable
from dicomweb.index.groups import Groups
from dicomweb.index.session import Again


class Engine:
    """Counts transactions; the first one waits until it is let go."""

    def __init__(self) -> None:
        self.committed: list[list[Any]] = []
        self.entered = threading.Event()
        self.gate = threading.Event()

    @contextmanager
    def write(self, lasting: bool = True) -> Iterator[list[Any]]:
        session: list[Any] = []
        yield session
        self.committed.append(session)


def run_together(groups: Groups, engine: Engine, handler: Any, works: Sequence[Any]) -> list[Any]:
    """Run jobs in threads such that all but the first wait for the first one's transaction."""

    def first(session: Any, works: Sequence[Any]) -> list[Any]:
        engine.entered.set()
        assert engine.gate.wait(30)
        return list(works)

    def result(work: Any) -> Any:
        try:
            return groups.do(handler, work)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works) + 1) as pool:
        leader = pool.submit(groups.do, first, "first")
        assert engine.entered.wait(30)
        waiting = [pool.submit(result, work) for work in works]
        while len(groups._lasting.waiting) < len(works):
            pass
        engine.gate.set()
        assert leader.result() == "first"
        return [future.result() for future in waiting]


def double(session: Any, works: Sequence[Any]) -> list[Any]:
    session.append(list(works))
    return [work * 2 for work in works]


def test_jobs_that_wait_share_one_transaction_and_get_their_own_results() -> None:
    engine = Engine()
    groups = Groups(engine)  # type: ignore[arg-type]
    assert run_together(groups, engine, double, range(10)) == [work * 2 for work in range(10)]
    assert len(engine.committed) == 2
    assert sorted(engine.committed[1][0]) == list(range(10))


def test_more_jobs_than_a_group_takes_are_all_done() -> None:
    engine = Engine()
    groups = Groups(engine)  # type: ignore[arg-type]
    assert run_together(groups, engine, double, range(150)) == [work * 2 for work in range(150)]
    assert 2 < len(engine.committed) < 10


def test_a_job_that_fails_does_not_spoil_those_that_share_its_transaction() -> None:
    def fail_on_three(session: Any, works: Sequence[Any]) -> list[Any]:
        if 3 in works:
            raise ValueError("three")
        return double(session, works)

    engine = Engine()
    groups = Groups(engine)  # type: ignore[arg-type]
    results = run_together(groups, engine, fail_on_three, range(5))
    assert [result for result in results if not isinstance(result, Exception)] == [0, 2, 4, 8]
    assert repr(results[3]) == "ValueError('three')"
    assert sorted(work for session in engine.committed[1:] for (work,) in session) == [0, 1, 2, 4]


def test_an_error_as_a_result_is_raised_for_its_job_alone() -> None:
    def refuse_odd(session: Any, works: Sequence[Any]) -> list[Any]:
        return [Conflict(str(work)) if work % 2 else work for work in works]

    engine = Engine()
    results = run_together(Groups(engine), engine, refuse_odd, range(4))  # type: ignore[arg-type]
    assert [str(result) for result in results] == ["0", "1", "2", "3"]
    assert [isinstance(result, Conflict) for result in results] == [False, True, False, True]
    assert len(engine.committed) == 2


def test_a_transaction_that_another_one_got_in_the_way_of_is_tried_again() -> None:
    attempts = []

    def succeed_later(session: Any, works: Sequence[Any]) -> list[Any]:
        attempts.append(works)
        if len(attempts) < 4:
            raise Again("once more")
        return list(works)

    assert Groups(Engine()).do(succeed_later, "x") == "x"  # type: ignore[arg-type]
    assert len(attempts) == 4


def test_a_transaction_that_never_succeeds_ends_as_unavailable() -> None:
    def never(session: Any, works: Sequence[Any]) -> list[Any]:
        raise Again("once more")

    with pytest.raises(Unavailable):
        Groups(Engine()).do(never, "x")  # type: ignore[arg-type]


def test_the_writer_goes_on_after_it_was_interrupted() -> None:
    def interrupt(session: Any, works: Sequence[Any]) -> list[Any]:
        raise KeyboardInterrupt

    groups = Groups(Engine())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        groups.do(interrupt, "x")
    assert groups.do(double, 2) == 4


def test_what_need_not_last_waits_for_nobody_elses_sync() -> None:
    kinds: list[bool] = []

    class Syncing(Engine):
        @contextmanager
        def write(self, lasting: bool = True) -> Iterator[list[Any]]:
            with super().write(lasting) as session:
                yield session
            kinds.append(lasting)
            if lasting:  # the sync goes on
                self.entered.set()
                assert self.gate.wait(30)

    engine = Syncing()
    groups = Groups(engine)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(groups.do, double, 1)
        assert engine.entered.wait(30)
        assert groups.do(double, 2, lasting=False) == 4
        assert not syncing.done()
        engine.gate.set()
        assert syncing.result() == 2
    assert kinds == [True, False]
