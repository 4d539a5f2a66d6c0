"""What the web part shows: the agent, as far as it has to be known here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from haagent.core.view import View
from haagent.parts import Facts

ALIVE_S = 1.0  # the core may be so late before this agent is not well


def ready() -> str:
    """Nothing keeps this node from serving."""
    return ""


class Agent(Protocol):
    def view(self) -> View: ...
    def status(self) -> Facts: ...
    def counters(self) -> Mapping[str, int]: ...
