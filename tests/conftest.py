"""What holds for all tests: generated examples are the same in every run, however slow the machine is.

`ROENTGATE_TEST_RANDOM=1` draws new ones each time, as long runs should.
"""

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("new", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("new" if os.environ.get("ROENTGATE_TEST_RANDOM") else "same")

# What is started in the background may have to ignore this, and what it starts, too: programs of tests are interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)
