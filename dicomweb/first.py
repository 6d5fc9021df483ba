"""Process 1 of a container: it runs the program as its child, hands signals on, and takes in what others left.

Linux gives every process whose parent has ended to process 1, which has to wait for it: else ended ones pile up. A
program that waits for children of its own must not wait for strangers' too, so two processes share the work.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable

_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def beside(program: Callable[[], int]) -> int:
    """Run a program in a child, be process 1 for it, and return its exit status.

    Args:
        program: returns its exit status; it has no threads yet.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    child = os.fork()
    if not child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
        return program()
    at_terminal = sys.stdin is not None and sys.stdin.isatty()

    def hand_on(number: int, _: object) -> None:
        # A terminal tells all of its processes of Ctrl-C by itself
        if not (at_terminal and number == signal.SIGINT):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    for number in _HANDED_ON:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
