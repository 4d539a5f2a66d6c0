"""The one error of the lab: a sentence for the person at the terminal, with what to do next."""

from __future__ import annotations


class LabError(Exception):
    """Something asked of the lab cannot be done; the text says why and what to do."""


class EarlyEnd(LabError):
    """An agent ended while we waited for it: no use in waiting on."""
