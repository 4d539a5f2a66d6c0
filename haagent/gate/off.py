"""No gate, because the configuration says so (`gate: off`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from haagent.core.event_kinds import Kind, Remark
from haagent.gate.channel import GateError
from haagent.gate.release import remove_tables
from haagent.gate.state import GateState


class NoGate:
    counters: Mapping[str, int] = {}

    def __init__(self, note: Remark = lambda _kind, _text: None) -> None:
        self._note = note

    def start(self, addresses: Iterable[bytes], *, adopting: Collection[bytes] = ()) -> None:
        """The table of an earlier life, when the gate was on, would stop the traffic now."""
        try:
            remove_tables(lambda text: self._note(Kind.REMOVED, f"`gate: off`: {text}"))
        except GateError as error:
            self._note(Kind.BLOCKED, f"`gate: off`, and the tables of an earlier life cannot be removed: {error}")

    def guard(self, addresses: Iterable[bytes]) -> None: ...
    def open(self, addresses: Sequence[bytes], until: float) -> None: ...
    def rehearse(self) -> None: ...
    def renew(self, addresses: Sequence[bytes], until: float) -> None: ...
    def shut(self, addresses: Sequence[bytes]) -> None: ...
    def holds_back(self, addresses: Iterable[bytes]) -> bool:
        return False

    def close(self, *, keeps: bool = False) -> None: ...
    def state(self, addresses: Sequence[bytes]) -> tuple[GateState, str]:
        return GateState.OFF, "the configuration says `gate: off`"
