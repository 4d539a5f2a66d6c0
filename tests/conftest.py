"""For all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # no example is wrong because the machine was busy
settings.load_profile("untimed")

# A shell starts what runs in the background with SIGINT ignored, and every program that a test starts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
