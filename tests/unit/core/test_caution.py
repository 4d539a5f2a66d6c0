"""Before taking: the neighbours, the gateway and the fence are asked, and what they say counts."""

from __future__ import annotations

import msgspec
import pytest

from haagent.core.events import AnyAction, Fenced, Guarded, Take, Watch
from haagent.core.node_state import PATIENCE_S
from haagent.core.settings import Settings
from haagent.simulate.network import Trouble
from tests.sim.world import Host, World, make_settings, steady_world


class Observed:
    """Two nodes, `available`; A holds. What the cores ask the shell for is collected."""

    def __init__(self, settings: Settings) -> None:
        self.world: World = steady_world(settings)
        self.asked: list[tuple[float, str, AnyAction]] = []
        perform = self.world._perform

        def overhear(host: Host, action: AnyAction) -> None:
            if isinstance(action, Watch | Take) and action.group == "web":
                self.asked.append((self.world.t, host.name, action))
            perform(host, action)

        self.world._perform = overhear  # type: ignore[method-assign]
        for name in self.world.hosts:
            self.world.start(name)
        self.world.run(0.1)
        self.guards_say("")
        self.world.run(2.0)
        assert self.world.serving("web") == ["A"]
        self.asked.clear()

    def guards_say(self, why: str) -> None:
        for host in self.world.hosts.values():
            if host.node is not None:
                self.world._feed(host, Guarded("web", why))

    def watches(self, name: str) -> list[bool]:
        return [action.on for _, who, action in self.asked if who == name and isinstance(action, Watch)]


def guarded() -> Settings:
    return make_settings(nodes="AB", consistent=False, arp_guard=True)


def watched() -> Settings:
    return msgspec.structs.replace(make_settings(nodes="AB", consistent=False), gateway_guard=True)


def test_the_neighbours_are_asked_as_soon_as_the_holder_is_overdue() -> None:
    seen = Observed(guarded())
    began = seen.world.t
    seen.world.split("A", "B")
    seen.world.run(began + 0.34)
    assert seen.watches("B") == [True]
    asked_at = next(t for t, who, _ in seen.asked if who == "B")
    assert asked_at - began < 0.2, "well before the lease ends"


def test_while_the_address_is_answered_it_is_not_taken() -> None:
    seen = Observed(guarded())
    seen.world.split("A", "B")
    seen.world.run(seen.world.t + 0.2)
    seen.guards_say("10.0.0.1 is still answered by 02:00:00:00:00:01 on eth0")
    seen.world.run(seen.world.t + 20.0)
    assert seen.world.serving("web") == ["A"]
    view = seen.world.hosts["B"].node.view(seen.world.t)  # type: ignore[union-attr]
    assert "still answered" in next(group.why for group in view.groups if group.name == "web")
    seen.world.crash("A")
    seen.guards_say("")
    seen.world.run(seen.world.t + 0.05)
    assert "B" in seen.world.serving("web"), "nobody answers any more"


def test_neighbours_that_say_nothing_delay_it_by_no_more_than_a_lease() -> None:
    seen = Observed(guarded())
    seen.world.split("A", "B")
    seen.world.run(seen.world.t + 0.9)
    assert "B" in seen.world.serving("web")


def test_a_move_and_a_stop_ask_nobody() -> None:
    seen = Observed(guarded())
    seen.world.ask("A", "move", group="web", node="B")
    seen.world.run(seen.world.t + 0.1)
    assert seen.world.serving("web") == ["B"]
    seen.world.stop("B")
    seen.world.run(seen.world.t + 0.1)
    assert seen.world.serving("web") == ["A"]
    assert True not in seen.watches("A") + seen.watches("B")


def test_who_alone_does_not_reach_its_gateway_hands_over() -> None:
    seen = Observed(watched())
    seen.world.set_gateway("B", reachable=True)
    seen.world.set_gateway("A", reachable=False)
    seen.world.run(seen.world.t + PATIENCE_S - 0.1)
    assert seen.world.serving("web") == ["A"], "B may be about to lose it too"
    seen.world.run(seen.world.t + 0.2)
    assert seen.world.serving("web") == ["B"]


def test_a_gateway_that_nobody_reaches_is_itself_away() -> None:
    seen = Observed(watched())
    for name in "AB":
        seen.world.set_gateway(name, reachable=True)
    for name in "AB":  # the one notices a second before the other
        seen.world.set_gateway(name, reachable=False)
        seen.world.run(seen.world.t + 1.0)
    seen.world.run(seen.world.t + 5.0)
    assert seen.world.serving("web") == ["A"]


def test_cut_off_from_peer_and_gateway_it_lets_go_and_the_other_takes() -> None:
    seen = Observed(watched())
    for name in "AB":
        seen.world.set_gateway(name, reachable=True)
    seen.world.run(seen.world.t + 0.2)
    seen.world.split("A", "B")
    seen.world.run(seen.world.t + 0.2)
    seen.world.set_gateway("A", reachable=False)
    seen.world.run(seen.world.t + 2.0)
    assert seen.world.serving("web") == ["B"]


def fenced_settings() -> Settings:
    return msgspec.structs.replace(make_settings(nodes="ABW", witnesses="W"), fenced=("A", "B"))


def vanished_in(seen: Observed, name: str) -> tuple[str, ...]:
    return next(action.vanished for _, who, action in seen.asked if who == name and isinstance(action, Take))


def test_a_holder_that_vanished_is_named_to_the_fence() -> None:
    seen = Observed(fenced_settings())
    seen.world.crash("A")
    seen.world.run(seen.world.t + 0.5)
    assert vanished_in(seen, "B") == ("A",)


def takes(world: World) -> list[Take]:
    seen: list[Take] = []
    perform = world._perform

    def overhear(host: Host, action: AnyAction) -> None:
        if isinstance(action, Take) and action.group == "web":
            seen.append(action)
        perform(host, action)

    world._perform = overhear  # type: ignore[method-assign]
    for name in "AW":
        world.start(name)
    return seen


def test_hosts_that_boot_together_do_not_fence_each_other() -> None:
    world = steady_world(fenced_settings())
    seen = takes(world)
    world.run(4.0)
    assert not seen, "B may be about to come up"
    world.start("B")
    world.run(4.6)
    assert [action.vanished for action in seen] == [()]


def test_a_node_that_does_not_come_up_is_fenced_after_a_while() -> None:
    world = steady_world(fenced_settings())
    seen = takes(world)
    world.run(6.0)
    assert [action.vanished for action in seen] == [("B",)]


def test_a_holder_that_released_is_not_fenced() -> None:
    seen = Observed(fenced_settings())
    seen.world.stop("A")
    seen.world.run(seen.world.t + 0.5)
    assert vanished_in(seen, "B") == ()


def test_a_node_that_is_down_for_certain_is_not_fenced_again_until_it_is_heard() -> None:
    seen = Observed(fenced_settings())
    seen.world.crash("A")
    seen.world.run(seen.world.t + 0.1)
    seen.world._feed(seen.world.hosts["W"], Fenced("A", "the operator says so"))
    assert not seen.world.hosts["W"].node.state.orders.is_down("A"), "it was alive a moment ago"  # type: ignore[union-attr]
    while "A" in seen.world.hosts["W"].node.state.membership.alive_names(seen.world.t):  # type: ignore[union-attr]
        seen.world.run(seen.world.t + 0.001)
    seen.world._feed(seen.world.hosts["W"], Fenced("A", "the operator says so"))
    seen.world.run(seen.world.t + 0.5)
    assert vanished_in(seen, "B") == ()
    seen.world.start("A")
    seen.world.run(seen.world.t + 1.0)
    assert not any(host.node.state.orders.is_down("A") for host in seen.world.hosts.values() if host.node)


def neighbourly(settings: Settings) -> World:
    """A holds, and whoever asks the neighbours is answered by who really has the address."""
    world = steady_world(settings, has_neighbours=True)
    for name in world.hosts:
        world.start(name)
    world.run(2.0)
    assert world.serving("web") == ["A"]
    return world


@pytest.mark.parametrize("later_ms", [0, 30, 80])
@pytest.mark.parametrize("delay_ms", [1, 130])
def test_heartbeats_that_cease_at_any_moment_take_nothing_from_the_holder(later_ms: int, delay_ms: int) -> None:
    """Whichever comes first: that the peer no longer counts as alive, or that it is no longer heard."""
    for begins_ms in range(0, 100, 4):
        world = neighbourly(guarded())
        world.troubles["A", "B"] = Trouble(delay_s=(delay_ms / 1000, delay_ms / 1000))
        world.run(world.t + 1.0 + begins_ms / 1000)
        world.hush("B", "A")
        world.run(world.t + later_ms / 1000)
        world.hush("A", "B")
        world.looks.append(lambda world=world: served_by_a(world))  # type: ignore[misc]
        world.run(world.t + 3.0)


def served_by_a(world: World) -> None:
    assert world.serving("web") == ["A"], f"at {world.t:.3f}: {world.serving('web')}"


def test_who_let_go_does_not_take_back_what_an_unheard_peer_has_taken() -> None:
    world = neighbourly(guarded())
    world.hush("A", "B")
    world.hush("B", "A")
    world.run(world.t + 2.0)
    world.set_health("A", "web", ok=False)
    world.run(world.t + 1.0)
    assert world.serving("web") == ["B"]
    world.set_health("A", "web", ok=True)
    world.run(world.t + 3.0)
    assert world.serving("web") == ["B"]
    world.crash("B")
    world.run(world.t + 0.5)
    assert world.serving("web") == ["A"], "nobody answers any more"


def test_a_release_is_taken_up_at_once_although_somebody_is_lost() -> None:
    world = neighbourly(make_settings(consistent=False, arp_guard=True))
    world.crash("C")
    world.run(world.t + 2.0)
    world.set_health("A", "web", ok=False)
    world.run(world.t + 0.025)
    assert world.serving("web") == ["B"]
