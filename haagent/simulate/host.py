"""One simulated host: its clocks, its kernel, and an agent that may be absent, frozen or running.

What the outside would see is kept apart from what the agent believes. An address answers from the moment an activation
has finished until it was dropped, or until the gate timed out: the kernel's set element, which knows nothing of a
frozen agent. Without a gate only the address's own lifetime ends it, some seconds later.
"""

from __future__ import annotations

from haagent.core.events import AnyEvent, Farewell
from haagent.core.final_release import covers_claims, releases
from haagent.core.messages import Ballot, Heartbeat
from haagent.core.node import Node
from haagent.core.settings import Memory, time_out_s

LINGER_S = 3.0  # an address outlives the lease that nobody renews: `valid_lft` is whole seconds, with one spare


class Served:
    """One group at one host, as the kernel has it."""

    def __init__(self) -> None:
        self.ballot: Ballot | None = None  # wanted
        self.is_up = False  # the address is in place
        self.lease_until = 0.0  # on the host's counter
        self.until = 0.0  # gate, by the kernel's clock
        self.is_kept = False  # by a running agent that has not been frozen since it renewed last: needs no gate
        self.addresses: frozenset[int] = frozenset()  # of its addresses those that are served when it is up
        self.job = 0  # number of the newest take or drop: an older one's end is not reported


class Inquiry:
    """What the neighbours say of one group's addresses."""

    def __init__(self) -> None:
        self.word: str | None = None  # None: nothing is known yet; empty: nobody answers; else who does
        self.silent = 0  # times in a row that nobody answered


class Host:
    def __init__(self, name: str, *, rate: float, offset: float, has_gate: bool, me: str = "") -> None:
        self.name = name
        self.me = me or name  # what its agent believes to be
        self.rate = rate  # of its counter, which the agent counts
        self.offset = offset
        self.slew = 0.0  # by how much a time service makes the kernel's clock faster than that
        self.is_known_beyond = False  # its agent has been told that this is more than it should be
        self._steered_at, self._steered_from = 0.0, offset  # true time, and what the kernel's clock showed
        self.has_gate = has_gate
        self.node: Node | None = None
        self.memory = Memory()
        self.is_paused = False
        self.inbox: list[AnyEvent] = []  # what waits in socket buffers while the agent is paused or busy
        self.served: dict[str, Served] = {}
        self.wake_at = 0.0
        self.unfit: set[str] = set()
        self.penalties: dict[str, int] = {}
        self.gateway: bool | None = None  # None: not watched
        self.watched: dict[str, Inquiry] = {}  # groups that neighbours are asked about
        self.farewell: Farewell | None = None  # left by the last step, to be said when its group is dropped
        self.final_release: Heartbeat | None = None  # of which the guardian has the last words
        self.released: dict[str, Ballot | None] = {}  # by them

    def local(self, t: float) -> float:
        return self.offset + self.rate * t

    def true(self, local: float) -> float:
        return (local - self.offset) / self.rate

    def kernel(self, t: float) -> float:
        """What the kernel's clock shows, by which its time-outs go."""
        return self._steered_from + self.rate * (1 + self.slew) * (t - self._steered_at)

    def when_kernel(self, shown: float) -> float:
        """In true time, as it is steered now."""
        return self._steered_at + (shown - self._steered_from) / (self.rate * (1 + self.slew))

    def steer(self, t: float, slew: float) -> None:
        """A step: from now on the kernel's clock runs so much faster than the counter."""
        self._steered_from, self._steered_at, self.slew = self.kernel(t), t, slew

    def set_back(self, by_s: float) -> None:
        """Both clocks."""
        self.offset -= by_s
        self._steered_from -= by_s

    def tell_gate(self, served: Served, t: float) -> None:
        served.until = self.kernel(t) + time_out_s(served.lease_until - self.local(t))

    def answers_until(self, group: str) -> float:
        """In true time, if nothing happens before; minus infinity: it does not answer."""
        served = self.served.get(group)
        if served is None or not served.is_up:
            return float("-inf")
        return self.when_kernel(served.until + (0.0 if self.has_gate else LINGER_S))

    def answers(self, group: str, t: float) -> bool:
        return t < self.answers_until(group)

    def serves(self, address: int, t: float) -> bool:
        """It answers for it, with whatever group; or would, if the gate did not shut although its agent runs."""
        return any(
            address in served.addresses and (self.answers(group, t) or served.is_kept)
            for group, served in self.served.items()
        )

    def farewell_to(self, group: str) -> Farewell | None:
        """What is said now that the group is dropped, if nothing else came since and the agent runs."""
        left = self.farewell
        if left is None or left.group != group or self.inbox or self.is_paused:
            return None
        return left

    def store_final_release_of_claims(self, beat: Heartbeat) -> None:
        """Before a heartbeat goes out that claims what the guardian could not release."""
        if not covers_claims(self.released, beat):
            self._store(beat)

    def store_final_release(self, beat: Heartbeat) -> None:
        """After it: what it says besides claims."""
        if self.final_release is None or releases(beat) != self.released:
            self._store(beat)

    def _store(self, beat: Heartbeat) -> None:
        self.final_release, self.released = beat, releases(beat)
