"""What the web part shows: the agent, as far as it has to be known here, and whether its node may have clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Protocol

from haagent.core.view import MemberState, View
from haagent.parts import Facts

ALIVE_S = 1.0  # the core may be so late before this agent is not well


def ready() -> str:
    """Nothing keeps this node from serving."""
    return ""


class Agent(Protocol):
    def view(self) -> View: ...
    def status(self) -> Facts: ...
    def counters(self) -> Mapping[str, int]: ...


class Verdict(Enum):
    WELL = auto()
    STANDBY = auto()  # well, and to have no new clients
    UNREADY = auto()
    STOPPING = auto()
    HANGS = auto()  # what it says of itself may be over


def verdict(
    agent: Agent, *, is_stepped: Callable[[float], bool], why_unready: Callable[[], str]
) -> tuple[Verdict, str]:
    """Of this node, for whoever sends clients here; and in words what keeps it from being well."""
    view = agent.view()
    if not is_stepped(ALIVE_S):
        return Verdict.HANGS, f"{view.node} does not decide: its agent hangs."
    if view.stopping:
        return Verdict.STOPPING, f"{view.node} is stopping: it hands over what it holds."
    if why := why_unready():
        return Verdict.UNREADY, f"{view.node} is not ready: {why}"
    if any(member.me and member.state is MemberState.STANDBY for member in view.members):
        return Verdict.STANDBY, ""
    return Verdict.WELL, ""
