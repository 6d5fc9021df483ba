"""What many ask for at once is made once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomweb.archive.flights import Flights


def test_all_who_ask_meanwhile_get_the_error_of_the_one_making_and_later_ones_do_not():
    flights: Flights[str, int] = Flights()
    begun, go = threading.Event(), threading.Event()

    def fail() -> int:
        begun.set()
        assert go.wait(20)
        raise KeyError("x")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.join, "a", fail)
        assert begun.wait(20)
        assert flights.join("b", lambda: 2) == 2
        go.set()
        with pytest.raises(KeyError):
            first.result(20)
    assert flights.join("a", lambda: 1) == 1
