"""What must hold after every step, watched from outside: what the hosts' kernels do, not what the nodes believe."""

from __future__ import annotations

from haagent.core.events import AnyAction, Drop, Farewell, Renew, Take, Withhold
from haagent.core.messages import Ballot, Heartbeat
from haagent.core.settings import LEADER
from tests.sim.world import Host, World


class Violation(AssertionError):
    """Something happened that the documents promise cannot."""


class Watch:
    """Tells a violation at the moment at which it happens.

    `never_two`: no two hosts answer for one group at one instant, and none needed its gate for that while its agent
    ran. Overlap can only begin when a gate opens or is extended, so looking at exactly these moments misses nothing.
    `ordered`: the ballots with which a group is taken only grow, over the whole cluster and all lives.
    """

    def __init__(self, world: World, *, never_two: bool, ordered: bool) -> None:
        self.world = world
        self.never_two = never_two
        self.ordered = ordered
        self.last: dict[str, Ballot] = {}
        self.promised: dict[tuple[str, int, str], Ballot] = {}
        self.drops: list[tuple[float, str, str, str]] = []
        self.takes: list[tuple[float, str, str]] = []
        world.watch.append(self.see)

    def see(self, host: Host, group: str, action: AnyAction) -> None:
        match action:
            case Take(_, ballot):
                self.takes.append((self.world.t, host.name, group))
                self._check_alone(group)
                self._check_addresses(host, group)
                self._check_order(host, group, ballot)
            case Renew():
                self._check_alone(group)
                self._check_addresses(host, group)
            case Withhold():
                self._check_addresses(host, group)
            case Drop(_, _, why):
                self.drops.append((self.world.t, host.name, group, why))
                if self.world.settings.consistent and "holds it too" in why:
                    raise Violation(f"at {self.world.t:.6f} {host.name} gave {group} up to a rival that cannot hold it")
            case Farewell(_, _, beat):
                self._check_word(host, group, beat)
        self._check_promises(host)

    def _check_alone(self, group: str) -> None:
        serving = self.world.kept_by(group)
        if self.never_two and len(serving) > 1:
            raise Violation(f"at {self.world.t:.6f} {' and '.join(serving)} both answer for {group}")

    def _check_addresses(self, host: Host, group: str) -> None:
        for address in host.served[group].addresses:
            serving = self.world.serving_address(address)
            if self.never_two and len(serving) > 1:
                raise Violation(f"at {self.world.t:.6f} {' and '.join(serving)} both answer for address {address}")

    def _check_order(self, host: Host, group: str, ballot: Ballot) -> None:
        before = self.last.get(group)
        if self.ordered and before is not None and ballot <= before:
            raise Violation(f"at {self.world.t:.6f} {host.name} takes {group} with {ballot} after {before}")
        self.last[group] = ballot

    def _check_word(self, host: Host, name: str, beat: Heartbeat) -> None:
        """What a farewell says of the node's vote is true from the next decision on."""
        if host.node is None or name not in host.node.state.groups:
            return
        said = next(group for group in beat.groups if group.name == name).accepted
        given = host.node.state.groups[name].voter.accepted
        if said is None or given is None or given.ballot != said.ballot or given.seq < said.seq:
            raise Violation(f"at {self.world.t:.6f} {host.name} said that it accepts {said} and has accepted {given}")

    def _check_promises(self, host: Host) -> None:
        """A voter never takes a promise back within one life."""
        if host.node is None:
            return
        for name, group in host.node.state.groups.items():
            key = (host.name, host.node.state.boot, name)
            promised = group.voter.promised
            before = self.promised.get(key)
            if before is not None and (promised is None or promised < before):
                raise Violation(f"at {self.world.t:.6f} {host.name} promised {promised} for {name} after {before}")
            if promised is not None:
                self.promised[key] = promised


def expected_to_be_served(world: World) -> list[str]:
    """Groups that some healthy node could hold now: after a bounded time they must have exactly one holder."""
    settings = world.settings
    hosts = [world.hosts[name] for name in settings.voters]
    up = [host for host in hosts if host.node is not None and not host.is_paused]
    if settings.consistent and len(up) <= len(settings.voters) // 2:
        return []
    orders = up[0].node.state.orders if up and up[0].node else None
    if orders is None or orders.in_maintenance:
        return []
    fit = [host for host in up if host.name not in settings.witnesses and not orders.is_standby(host.name)]
    return [group.name for group in settings.groups if any(group.name not in host.unfit for host in fit)]


def check_settled(world: World) -> None:
    for group in expected_to_be_served(world):
        serving = world.serving(group)
        if len(serving) != 1:
            what = "nobody answers" if not serving else f"{' and '.join(serving)} answer"
            raise Violation(f"at {world.t:.6f}, long after the last fault, {what} for {group}")
    for name, host in world.hosts.items():
        for group in (LEADER,):
            if host.node is None and host.answers(group, world.t):
                raise Violation(f"at {world.t:.6f} {name} answers for {group} without an agent")


def check_addresses(world: World) -> None:
    for group in world.settings.groups:
        serving = world.serving(group.name) if group.name in expected_to_be_served(world) else []
        for address in group.addresses if serving else ():
            if (found := world.serving_address(address)) != serving:
                raise Violation(f"at {world.t:.6f} {serving} has {group.name}, and address {address} is with {found}")


def check_lightest(world: World) -> None:
    """Each group is with a node whose failing checks weigh least, unless an operator has insisted on another one."""
    for group in expected_to_be_served(world):
        (holder,) = (world.hosts[name] for name in world.serving(group))
        assert holder.node is not None
        running = {name: host for name, host in world.hosts.items() if host.node is not None}  # a stop may take long
        able = [host for name, host in running.items() if name not in world.settings.witnesses]
        least = min(host.penalties.get(group, 0) for host in able)
        mine = holder.penalties.get(group, 0)
        if mine > least and not holder.node.state.groups[group].is_forced:
            raise Violation(
                f"at {world.t:.6f} {holder.name} has {group}: failing checks weigh {mine}, {least} elsewhere"
            )
