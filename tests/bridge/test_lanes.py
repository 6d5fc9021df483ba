"""Shares that several threads work through: each once, none lost, and one that fails stops the others."""

import threading
from collections import deque

import pytest

from bridge.lanes import fan_out
from dicomweb.errors import NotAssociated, Unavailable


def shares(count: int, each: int = 3) -> list[deque[int]]:
    return [deque(range(start, start + each)) for start in range(0, count * each, each)]


def never() -> bool:
    return False


def test_every_share_is_done_once_by_as_many_lanes_as_are_allowed():
    done: list[int] = []
    together = threading.Barrier(4)

    def work(share, stops):
        together.wait(30)  # four of them are at work at the same time, or this ends in an error
        while share:
            done.append(share.popleft())

    fan_out(shares(12), 4, work, never)
    assert sorted(done) == list(range(36))


def test_a_lane_that_gets_no_association_leaves_its_share_to_the_others():
    done: list[int] = []

    def hold(share, stops):
        if share[0] == 0:
            assert refused.wait(30)
        elif not refused.is_set():
            refused.set()
            raise NotAssociated("too many associations")
        while share:
            done.append(share.popleft())

    refused = threading.Event()
    fan_out(shares(8), 2, hold, never)
    assert sorted(done) == list(range(24))


def test_where_nobody_gets_an_association_that_is_told():
    def work(share, stops):
        raise NotAssociated("nothing listens", lasting=True)

    with pytest.raises(NotAssociated, match="nothing listens") as caught:
        fan_out(shares(8), 4, work, never)
    assert caught.value.lasting


def test_what_goes_wrong_in_one_lane_stops_the_others_and_is_told():
    other_began = threading.Event()
    done: list[int] = []

    def work(share, stops):
        if share[0] == 0:
            assert other_began.wait(30)
            raise Unavailable("the disk is full")
        other_began.set()
        while not stops():  # what ends the others is the failure alone
            pass
        done.append(share[0])

    with pytest.raises(Unavailable, match="the disk is full"):
        fan_out(shares(50), 2, work, never)
    assert done == [3]


def test_a_stop_leaves_what_was_not_begun():
    done: list[int] = []

    def work(share, stops):
        done.append(share.popleft())

    fan_out(shares(8), 2, work, lambda: len(done) >= 2)
    assert 2 <= len(done) <= 3


def test_nothing_to_do_is_done():
    fan_out([], 4, lambda share, stops: pytest.fail("there is no share"), never)
