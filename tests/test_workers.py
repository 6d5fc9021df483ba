"""The supervisor of several web processes: how long it pauses."""

from dicomweb.workers import LONGEST, PAUSE, Pauses


def test_pauses_grow_up_to_the_longest_and_begin_anew_when_a_worker_has_started():
    now = [100.0]
    pauses = Pauses(lambda: now[0])
    assert pauses.left() == 0
    seen = []
    for _ in range(8):
        seen.append(pauses.begin())
        assert pauses.left() == seen[-1]
        now[0] += seen[-1]
        assert pauses.left() == 0
    assert seen[:3] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert seen[-2:] == [LONGEST, LONGEST]
    pauses.end()
    assert pauses.begin() == PAUSE


def test_a_worker_that_has_started_ends_the_pause_for_others():
    pauses = Pauses(lambda: 5.0)
    pauses.begin()
    pauses.end()
    assert pauses.left() == 0
