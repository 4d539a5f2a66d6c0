"""What the nodes of a simulated world do and say, from the moment of the call on."""

from __future__ import annotations

from haagent.core.events import AnyAction
from haagent.core.messages import Heartbeat
from tests.sim.world import Host, World


def performed(world: World) -> list[tuple[str, AnyAction]]:
    """By name, in the order in which it is done."""
    done: list[tuple[str, AnyAction]] = []
    perform = world._perform

    def observe(host: Host, action: AnyAction) -> None:
        done.append((host.name, action))
        perform(host, action)

    world._perform = observe  # type: ignore[method-assign]
    return done


def overheard(world: World) -> list[Heartbeat]:
    said: list[Heartbeat] = []
    broadcast = world._broadcast

    def overhear(host: Host, beat: Heartbeat) -> None:
        said.append(beat)
        broadcast(host, beat)

    world._broadcast = overhear  # type: ignore[method-assign]
    return said
