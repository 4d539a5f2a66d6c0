"""The one door: every event in every state, and what no event may cause."""

from __future__ import annotations

import copy
from collections.abc import Callable

import msgspec
import pytest

from haagent.core.event_kinds import Kind
from haagent.core.events import (
    URGENCY,
    AddressFound,
    AnyAction,
    AnyEvent,
    Asked,
    ClockSet,
    Drop,
    Dropped,
    GatewayChanged,
    HealthChanged,
    Noticed,
    Reconfigured,
    StopRequested,
    Take,
    TakeFailed,
    Taken,
    Woke,
)
from haagent.core.group.transitions import ARCS, GroupState
from haagent.core.messages import Ballot, GroupBeat, Heartbeat, Order, is_well_formed
from haagent.core.node import Node
from haagent.core.settings import Settings
from tests.sim.world import World, make_settings
from tests.support.node_stage import ANOTHER, TENURE, S, beat_of_b, build, in_state, node_of, of, sent, web

# Where one event may lead on the arcs of the table: one arc, or several where nobody else has to be waited for.
AT_ONCE = {
    *((S.IDLE, S.CLAIMING), (S.TAKING, S.YIELDING), (S.DROPPING, S.WANTING)),
    *((arc.source, arc.target) for arc in ARCS),
}
HELD = (S.TAKING, S.ACTIVE, S.YIELDING, S.DROPPING)


def other_settings(world: World) -> Settings:
    other = make_settings(nodes="ABW", witnesses="W", groups={"mail": ("A",)})
    return msgspec.structs.replace(other, me="A")


EVENTS: dict[str, AnyEvent | Callable[[World], AnyEvent]] = {
    "woke": Woke(),
    "unfit": HealthChanged("web", ok=False, why="its check fails"),
    "unfit, unexplained": HealthChanged("web", ok=False),
    "fit": HealthChanged("web", ok=True),
    "health of nothing": HealthChanged("mail", ok=False),
    "gateway lost": GatewayChanged(reachable=False),
    "taken": Taken("web", TENURE),
    "taken, another": Taken("web", ANOTHER),
    "taken, of nothing": Taken("mail", ANOTHER),
    "take failed": TakeFailed("web", TENURE, "no such device"),
    "take failed, another": TakeFailed("web", ANOTHER, "no such device"),
    "take failed, of nothing": TakeFailed("mail", ANOTHER, "no such device"),
    "dropped": Dropped("web", TENURE),
    "dropped, another": Dropped("web", ANOTHER),
    "dropped, of nothing": Dropped("mail", ANOTHER),
    "address found": AddressFound("web"),
    "address of nothing": AddressFound("mail"),
    "move to B": Asked(1, "move", group="web", node="B"),
    "move to A": Asked(1, "move", group="web", node="A", force=True),
    "move to W": Asked(1, "move", group="web", node="W"),
    "move nothing": Asked(1, "move", group="mail", node="B"),
    "move nowhere": Asked(1, "move", group="web", node="Z"),
    "move, unsaid": Asked(1, "move"),
    "standby A": Asked(1, "standby", node="A"),
    "standby, unsaid": Asked(1, "standby"),
    "back from standby": Asked(1, "standby", node="A", on=False),
    "maintenance": Asked(1, "maintenance"),
    "maintenance off": Asked(1, "maintenance", on=False),
    "clear": Asked(1, "clear", group="web"),
    "clear all": Asked(1, "clear"),
    "dance": Asked(1, "dance"),
    "reconfigured, group gone": lambda world: Reconfigured(other_settings(world)),
    "reconfigured, same": lambda world: Reconfigured(msgspec.structs.replace(world.settings, me="A")),
    "clock set": ClockSet(1.8e9),
    "noticed": Noticed(Kind.RESTORED, "web", "an address was gone"),
    "stop": StopRequested(),
    "heard: nothing of web": beat_of_b(),
    "heard: free": beat_of_b(groups=(GroupBeat("web"),)),
    "heard: wants": beat_of_b(groups=(GroupBeat("web", promised=ANOTHER, want=ANOTHER),)),
    "heard: claims": beat_of_b(groups=(GroupBeat("web", promised=ANOTHER, claim=ANOTHER),)),
    "heard: holds": beat_of_b(groups=(GroupBeat("web", promised=ANOTHER, claim=ANOTHER, held_ms=9_999_999),)),
    "heard: yields to us": beat_of_b(groups=(GroupBeat("web", claim=ANOTHER, held_ms=5, yield_to="A", active=True),)),
    "heard: released": beat_of_b(groups=(GroupBeat("web", released=ANOTHER, down_ms=3.0, yield_to="A"),)),
    "heard: promised another": beat_of_b(groups=(GroupBeat("web", promised=Ballot(77, "W")),)),
    "heard: stops": beat_of_b(stopping=True),
    "heard: a new life": beat_of_b(boot=424242, seq=1),
    "heard: silent voter": beat_of_b(silent_ms=300),
    "heard: foreign": beat_of_b(cluster="other"),
    "heard: of nobody": beat_of_b(node="Z"),
    "heard: ourselves": beat_of_b(node="A"),
    "heard: strange orders": beat_of_b(orders=(Order("standby/Z", 5, "Z"), Order("reboot", 5, "B"), Order("", 5, ""))),
    "heard: maintenance": beat_of_b(orders=(Order("maintenance", 5, "B"),)),
}


def check_step(node: Node, before: GroupState, now: float, actions: list[AnyAction], *, is_same_group: bool) -> None:
    order = [type(action) for action in actions]
    assert order == sorted(order, key=URGENCY.index), "letting go first, words last"
    for beat in sent(actions):
        assert is_well_formed(beat)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(beat), type=Heartbeat) == beat
        for group in beat.groups:
            assert not (group.want and group.claim)
            assert group.claim is None or group.promised is None or group.promised >= group.claim
            assert group.held_ms == 0 or group.claim is not None
            assert not group.active or group.held_ms > 0
            assert group.released is None or group.claim is None or group.claim > group.released
    assert node.deadline >= now
    group = next((group for group in node.view(now).groups if group.name == "web"), None)
    if group is None or not is_same_group:
        return
    assert group.state is before or (before, group.state) in AT_ONCE, f"{before} -> {group.state}"
    drops = [drop for drop in of(actions, Drop) if drop.group == "web"]
    if group.state is S.DROPPING and before is not S.DROPPING:
        assert drops
    if before is S.CLAIMING and group.state is S.TAKING:
        assert [take for take in of(actions, Take) if take.group == "web" and take.until > now]
    if group.state in (S.ACTIVE, S.YIELDING):
        assert group.lease_s is not None
        assert group.lease_s > 0


@pytest.mark.parametrize("state", list(GroupState))
@pytest.mark.parametrize("what", list(EVENTS))
def test_every_event_in_every_state(state: GroupState, what: str) -> None:
    world = copy.deepcopy(
        STATES[state]
    )  # its nodes, that is: what is under way on its links still goes to the original
    event = build(EVENTS[what], world)
    node, now, before = node_of(world, "A"), world.t, web(world).state
    actions = node.step(now, event)
    check_step(node, before, now, actions, is_same_group=what != "reconfigured, group gone")
    for _ in range(30):  # and whatever follows when time passes
        now = min(node.deadline, now + 1.0)
        states = {group.name: group.state for group in node.view(now).groups}
        actions = node.step(now, Woke())
        if "web" in states:
            check_step(node, states["web"], now, actions, is_same_group=True)


STATES = {state: in_state(state) for state in GroupState}


@pytest.mark.parametrize("state", list(GroupState))
def test_after_it_has_stopped_a_node_does_nothing_any_more(state: GroupState) -> None:
    world = in_state(state)
    node = node_of(world, "A")
    world.stop("A")
    world.run(world.t + 3.0)
    assert world.hosts["A"].node is None
    assert node.step(world.t, Woke()) == []
    assert node.step(world.t, Asked(1, "clear")) == []
