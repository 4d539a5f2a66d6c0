from __future__ import annotations


class TraceError(Exception):
    """The trace cannot be used. The text says why, and what to do."""
