"""What clients did to a store, and what they saw.

An operation takes effect once, at some instant between its call and its return. One that was not answered (the
connection broke, the client gave up) may have taken effect at any time after its call, or never: its outcome is
`UNKNOWN`, and it stays open until the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Unknown:
    def __repr__(self) -> str:
        return "unknown"


UNKNOWN = Unknown()
FOREVER = float("inf")


class Operation(NamedTuple):
    client: str
    name: str
    keys: tuple[str, ...]
    arguments: tuple[Any, ...] = ()
    result: Any = UNKNOWN
    called_at: float = 0.0
    returned_at: float = FOREVER

    def __str__(self) -> str:
        words = " ".join(str(word) for word in (self.name, *self.keys, *self.arguments))
        end = "" if self.returned_at == FOREVER else f"{self.returned_at:.6f}"
        return f"{self.client}: {words} -> {self.result!r} [{self.called_at:.6f}, {end}]"


def apart(operations: list[Operation]) -> list[list[Operation]]:
    """Those that share no key have nothing to do with each other: each part is explained by itself or not at all."""
    leaders: dict[str, str] = {}

    def leader(key: str) -> str:
        while (above := leaders.setdefault(key, key)) != key:
            key = above
        return key

    for operation in operations:
        first = leader(operation.keys[0])
        for key in operation.keys[1:]:
            leaders[leader(key)] = first
            first = leader(first)
    parts: dict[str, list[Operation]] = {}
    for operation in operations:
        parts.setdefault(leader(operation.keys[0]), []).append(operation)
    return list(parts.values())
