"""What the core needs to know of the configuration: names and numbers, already checked."""

from __future__ import annotations

import msgspec

from haagent.core.messages import Agreed, Ballot, Order, Outline

# The one assumption about clocks (`clocks`): the hardware counters of two hosts run apart by at most one percent. Real
# crystals: 0.01 %; a virtual machine's: up to 0.05 %.
DRIFT = 0.01
# And a time service steers a host's clock away from its counter by at most ten: what Linux lets it. chrony: 8.33 %.
SLEW = 0.10
LEADER = "leader"  # the built-in group: its holder does what must be done once per cluster


def time_out_s(left_s: float) -> float:
    """What to tell the kernel, whose time-outs go by the steered clock, so that none ends after `left_s`."""
    return (1 - SLEW) * left_s


class NodeSettings(msgspec.Struct, frozen=True):
    name: str
    witness: bool = False


class GroupSettings(msgspec.Struct, frozen=True):
    name: str
    prefer: tuple[str, ...] = ()
    failback_after_s: float | None = None  # None: manual
    never: tuple[str, ...] = ()
    addresses: dict[int, str] = {}  # by the numbers that heartbeats name them by, as people know them


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    cluster: str
    me: str
    nodes: tuple[NodeSettings, ...]
    groups: tuple[GroupSettings, ...]
    interval_s: float
    lease_s: float
    consistent: bool = True
    alone_after_s: float
    start_grace_s: float
    failure_expiry_s: float
    version: str = ""
    config_hash: str = ""
    outline: Outline = Outline(0)  # of the file
    arp_guard: bool = False  # `available`: do not take what somebody still answers for
    gateway_guard: bool = False  # `available`: who alone cannot reach its gateway lets go
    fenced: tuple[str, ...] = ()  # nodes that can be fenced
    arbiter: str = ""  # `etcd`: the leases come from there, not from the peers' votes

    @property
    def dead_after_s(self) -> float:
        """A peer is declared dead this long after we *sent* the last heartbeat it echoed.

        Less than `let_go_s`, so that in `available` the electorate has shrunk before a lease that counted on the
        dead peer has to be given up. At 3.5 intervals it is three intervals: one heartbeat may be lost and the next
        late by almost an interval.
        """
        return 0.86 * self.lease_s

    @property
    def heard_for_s(self) -> float:
        """How long after its last heartbeat a peer still counts as heard.

        With an echo that was one interval old at that time this ends before `let_go_s` as well.
        """
        return 0.5 * self.lease_s

    @property
    def drift_margin_s(self) -> float:
        """See `DRIFT`."""
        return DRIFT * self.lease_s

    @property
    def let_go_s(self) -> float:
        """A holder has stopped serving this long after sending the last heartbeat that a majority accepted.

        The four percent before the end (14 ms of 350 ms) are for the work of letting go.
        """
        return self.lease_s - self.drift_margin_s - 0.04 * self.lease_s

    def silence_s(self, earlier_lease_s: float = 0.0) -> float:
        """How long a voter that may have forgotten what it has said gives no vote.

        It may be bound for as long as its earlier life's lease was, on a clock that ran slower. An arbiter forgets
        nothing, so with one there is only the time that it takes to hear who else is there and comes first.
        """
        if self.arbiter and self.consistent:
            return 3 * self.interval_s
        return (1 + DRIFT) * max(self.lease_s, earlier_lease_s)

    @property
    def voters(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes)

    @property
    def witnesses(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes if node.witness)

    @property
    def has_agreed_voters(self) -> bool:
        """Whose votes count is agreed, not read from the file (`agreement`)."""
        return self.consistent and not self.arbiter

    @property
    def policy(self) -> str:
        """What votes stand on besides the voters: they count only between nodes where it is the same."""
        return f"{'consistent' if self.consistent else 'available'} {self.arbiter}".strip()


class Left(msgspec.Struct, frozen=True):
    """Another node may have left these addresses in place (`reserved`)."""

    node: str
    addresses: tuple[int, ...]
    host: int  # 0: not known


class Memory(msgspec.Struct, frozen=True):
    """What a node keeps over a restart. Losing it costs an operator's orders, not safety (`leases`)."""

    round: int = 0  # highest ballot round ever seen, so that ballots do not go back when all nodes restart
    lease_s: float = 0.0  # the longest in use in the earlier life: the restart silence covers it
    orders: tuple[Order, ...] = ()
    served: tuple[str, ...] = ()  # groups that maintenance has frozen here: only this node may take them again
    agreed: Agreed | None = None  # whose votes counted last (`agreement`)
    granted: dict[str, Ballot] = {}  # what an arbiter is known to have granted last (`group.arbitration`)
    reserved: dict[str, Left] = {}  # groups that another node may have left in place
    host: int = 0  # ours: the boot of the first life that has written this
