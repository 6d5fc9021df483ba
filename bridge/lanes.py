"""One transfer over several associations: shares that threads take one after the other."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from dicomweb.errors import NotAssociated

Stop = Callable[[], bool]
Share = TypeVar("Share")


def fan_out(shares: Iterable[deque[Share]], lanes: int, work: Callable[[deque[Share], Stop], None], stop: Stop) -> None:
    """Work through shares, several at the same time.

    A lane that gets no association while others have one leaves its share to them, so that a node that takes fewer
    than its settings say is served all the same.

    Args:
        shares: what there is to do.
        lanes: threads at most.
        work: does a share, and takes from it what is done, in order, until its second argument says to stop.
        stop: true ends the work early.

    Raises:
        NotAssociated: the last lane got no association.
        Error: what went wrong in any lane; the others have stopped.
    """
    waiting = deque(shares)
    at_work = max(min(lanes, len(waiting)), 1)
    lock = threading.Lock()
    problems: list[BaseException] = []

    def stops() -> bool:
        return bool(problems) or stop()

    def take() -> deque[Share] | None:
        nonlocal at_work
        with lock:
            if waiting and not stops():
                return waiting.popleft()
            at_work -= 1
            return None

    def run() -> None:
        nonlocal at_work
        while (share := take()) is not None:
            try:
                work(share, stops)
            except BaseException as error:
                with lock:
                    at_work -= 1
                    if isinstance(error, NotAssociated) and at_work:
                        waiting.appendleft(share)
                    else:
                        problems.append(error)
                return

    others = [threading.Thread(target=run, name=f"lane-{number}", daemon=True) for number in range(1, at_work)]
    for thread in others:
        thread.start()
    run()
    for thread in others:
        thread.join()
    if problems:
        raise problems[0]
