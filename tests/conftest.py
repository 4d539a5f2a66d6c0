"""For all tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # no example is wrong because the machine was busy
settings.load_profile("untimed")
