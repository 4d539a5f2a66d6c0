"""What the core knows of the cluster, told as facts for `status --json`, the text of `status` and other readers.

Only facts and sentences; no layout. The state of a group is told for the cluster: on the holder it is what the holder
is doing, elsewhere whether the holder serves. `here` is the state on the node that was asked.

Warnings are computed where the facts are, once, so that a program reads the same ones as a person. Each says what to
do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from haagent import __version__
from haagent.config import Config
from haagent.core.event_kinds import Kind
from haagent.core.group.transitions import GroupState
from haagent.core.messages import Record
from haagent.core.settings import LEADER
from haagent.core.view import GroupView, MemberState, MemberView, View
from haagent.parts import Commit, Facts, Still

LATELY_S = 600.0
MAX_KEYS = 8  # that one sentence names
ALARMS = (Kind.LAPSED, Kind.BLOCKED, Kind.STUCK, Kind.GATE)  # no state of now says that it was so


class Cluster(Still):
    """The part that answers for the core."""

    name = "cluster"

    def __init__(self, config: Config, view: Callable[[], View]) -> None:
        self.config = config  # the running one; replaced as a whole by a reload
        self.view = view

    def sentence(self) -> str:
        view = self.view()
        held = [group.name for group in view.groups if group.holder == view.node]
        return f"holds {', '.join(held)}" if held else "holds nothing"

    async def prepare(self, config: Config) -> Commit:
        def apply() -> None:
            self.config = config

        return Commit(apply)

    def status(self) -> Facts:
        view, config = self.view(), self.config
        return {
            "cluster": view.cluster,
            "node": view.node,
            "version": __version__,
            "file": config.path,
            "digest": config.digest,
            "leader": view.leader,
            "quorate": view.quorate,
            "on_partition": "consistent" if view.consistent else "available",
            "maintenance": view.maintenance,
            "stopping": view.stopping,
            "voters": list(view.voters),
            "members": {member.name: _member(member, config) for member in view.members},
            "groups": {group.name: _group(group, view, config) for group in view.groups if group.name != LEADER},
            "sessions": {},  # where there are none
            "pids": {"guardian": None, "agent": None, "store": None},
            "warnings": [*warnings(view), *lately(view, now=time.time())],
        }


def _member(member: MemberView, config: Config) -> Facts:
    node = config.nodes.get(member.name)
    addresses = [str(address) for address in node.addresses] if node else []
    return {
        "state": member.state.value,
        "address": addresses[0] if addresses else "",
        "addresses": addresses,
        "last_heard_ms": _ms(member.last_heard_s),
        "silent_ms": _ms(member.silent_s),
        "version": member.version,
        "links": list(member.links),
        "me": member.me,
        "config_matches": member.config_matches,
        "config_differs": list(member.config_differs),
    }


def _group(group: GroupView, view: View, config: Config) -> Facts:
    configured = config.groups.get(group.name)
    return {
        "holder": group.holder,
        "state": _state(group, view.node),
        "here": group.state.value,
        "active": group.active,
        "since": None if group.since is None else round(group.since, 3),
        "addresses": [str(address) for address in configured.addresses] if configured else [],
        "backend": configured.backend.kind if configured else "",
        "ballot": str(group.ballot) if group.ballot else None,
        "lease_ms": _ms(group.lease_s),
        "why": group.why,
        "failures": dict(sorted(group.failures.items())),
        "moving_to": group.moving_to,
        "outage_ms": None if group.gap_s is None else round(group.gap_s * 1000, 3),
        "eligible": group.eligible,
        "why_not": group.why_not,
        "penalties": group.penalties,
        "withheld": list(group.withheld),
        "gate": {"state": "", "why": ""},
        "activation": {},
    }


def _state(group: GroupView, me: str) -> str:
    if group.holder == me:
        return group.state.value
    if group.holder:
        return "active" if group.active else "taking"
    return "unheld" if group.state is GroupState.IDLE else group.state.value


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def warnings(view: View) -> Iterator[str]:
    """The worst first."""
    if view.stands_down:
        yield _sentence(view.stands_down)
    if view.clock_fault:
        yield _sentence(view.clock_fault)
    for name in view.doubled:
        yield (
            f"Two hosts use the name {name}: whichever agent was started later gives no vote and serves nothing, and "
            "its own status says so. Stop it, or give its host a name of its own."
        )
    if view.stopping:
        yield "This agent is stopping: it hands over what it holds and takes nothing."
    if view.maintenance:
        yield "Maintenance is on: nothing moves, and no node acts on failures. End it with `haagent maintenance off`."
    if not view.maintenance_known:
        unheard = ", ".join(view.maintenance_unheard)
        yield f"Too few nodes know of the maintenance (not {unheard}): an agent that stops now releases what it holds."
    if view.arbiter_fault:
        meanwhile = f"Until it answers, {view.node} releases each group when its lease ends, and takes none."
        if not view.consistent:
            votes = "The nodes' own votes decide until it answers"
            meanwhile = f"{votes}; nodes that are cut from each other may then both hold."
        yield f"No leases: {view.arbiter_fault}. {meanwhile}"
    if not view.quorate and not view.arbiter:
        yield _no_quorum(view)
    if view.voters_differ:
        yield _sentence(view.voters_differ)
    if view.at_odds:
        names = ", ".join(view.at_odds)
        yield (
            f"{names} and {view.node} do not agree on whose votes count, so neither counts the other's: use the same "
            "file on every node, then `haagent reload` on each."
        )
    for group in view.groups:
        if group.name != LEADER and not group.holder:
            yield f"{group.name}: {group.why or 'nobody holds it'}."
        for sentence in group.withheld:
            yield f"{group.name}: {sentence}."
    yield from _differences(view)


def lately(view: View, *, now: float) -> Iterator[str]:
    """What may be over and should be known all the same: the newest of each, on any node. `now`: of the epoch."""
    newest: dict[tuple[str, str, str], Record] = {}
    for node, record in reversed(view.history):
        if record.wall < now - LATELY_S:
            break
        if record.kind in ALARMS:
            newest.setdefault((node, record.group, record.kind), record)
    for (node, group, _), record in newest.items():
        at = time.strftime("%H:%M:%S", time.localtime(record.wall))
        yield f"{node} at {at}{f', {group}' if group else ''}: {record.text} (`haagent events --severity warning`)."


def _no_quorum(view: View) -> str:
    heard = [member.name for member in view.members if member.state is not MemberState.OFFLINE]
    lost = [member.name for member in view.members if member.state is MemberState.OFFLINE]
    return (
        f"No quorum: {view.node} sees only {', '.join(heard) or 'itself'}. It releases its groups, and takes none "
        f"until a majority of {len(view.voters)} is back. "
        f"Missing: {', '.join(lost) or 'votes of nodes that have just started'}."
    )


def _in_keys(keys: tuple[str, ...]) -> str:
    if not keys:  # the other runs an older release, or what differs may be secret
        return ""
    more = f", and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else ""
    return f" in: {', '.join(keys[:MAX_KEYS])}{more}"


def _differences(view: View) -> Iterator[str]:
    cure = "put the same file on every node, then `haagent reload` on each"
    for member in view.members:
        if not member.me and not member.config_matches:
            yield f"{member.name}'s file differs from {view.node}'s{_in_keys(member.config_differs)}; {cure}."
    releases = {member.version for member in view.members if member.version}
    if len(releases) > 1:
        each = ", ".join(f"{member.name} {member.version}" for member in view.members if member.version)
        yield f"The nodes run different releases: {each}. Finish the upgrade."
