"""What the web part shows: the agent, as far as it has to be known here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from haagent.core.view import View
from haagent.parts import Facts


class Agent(Protocol):
    def view(self) -> View: ...
    def status(self) -> Facts: ...
    def counters(self) -> Mapping[str, int]: ...
