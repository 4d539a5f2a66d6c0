"""A stranger on the segment sends 10,000 datagrams a second at the cluster: nothing moves, and the agents say why.

What is sent is made from what a stranger could have: recordings of the wire (of this life and of earlier ones), keys
and cluster names of its own, noise, and damaged or overlong forms of all that.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from haagent.config import load_keys
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.wire import LONGEST_DATAGRAM, MAX_DATAGRAM, Sealer
from haagent.lab import Lab
from haagent.lab.plan import CLIENT
from tests.support.observe import (
    MakeLab,
    Measured,
    ballots,
    events,
    heartbeats_sent,
    holder,
    member,
    other,
    serves,
    serves_nothing,
    told,
    wait_whole,
)

pytestmark = pytest.mark.netns

SCRIPT = str(Path(__file__).parent / "hostile.py")
GROUP, PORT = "239.192.72.65", "7265"
RATE, FLOOD_S, TRIES = 10_000, 1.5, 3
Move = tuple[object, ...]  # a record of the history: node, number, text
MOVES = {"taken", "dropped", "yielding", "offline", "conflict", "stalled"}


def capture(lab: Lab, seconds: float) -> list[bytes]:
    words = [sys.executable, SCRIPT, "capture", GROUP, PORT, str(seconds)]
    return [bytes.fromhex(line) for line in lab.run(CLIENT, words).stdout.split()]


def forged(*, keys: tuple[bytes, ...], cluster: str, node: str, count: int) -> list[bytes]:
    """Heartbeats that claim everything, with the highest ballot there ever was."""
    sealer = Sealer(keys=keys, cluster=cluster, node=node, boot=random.getrandbits(48) | 1)
    claim = GroupBeat(name="web", claim=Ballot(10**6, node), active=True, held_ms=10**6)
    beats = (
        Heartbeat(
            cluster=cluster, node=node, boot=sealer._boot, seq=seq, interval_ms=100, lease_ms=350, groups=(claim,)
        )
        for seq in range(1, count + 1)
    )
    return [datagram for beat in beats for datagram in sealer.seal(beat)]


class Siege:
    """Floods of one lab, and what its agents say and spend meanwhile."""

    def __init__(self, lab: Lab, measured: Measured) -> None:
        self.lab, self._measured = lab, measured
        self.nodes = [node.name for node in lab.state().plan.nodes]
        self._look()

    def endure(self, what: str, datagrams: Sequence[bytes], *, causes: set[str]) -> None:
        """Nothing moves, the agents count exactly these causes, and go on.

        An agent that the machine does not let run loses heartbeats in a full receive buffer, and then its peers are
        right to act. Such a run says nothing of the agent and is done again.
        """
        for _ in range(TRIES):
            lost = self._overflowed()
            has_moved = self._one_flood(what, datagrams, causes=causes)
            if not has_moved:
                return
            assert self._overflowed() > lost, has_moved
            wait_whole(self.lab)
            self._look()
        pytest.fail(f"{what}: the agents lost datagrams in {TRIES} runs of {TRIES}, and something moved: {has_moved}")

    def _one_flood(self, what: str, datagrams: Sequence[bytes], *, causes: set[str]) -> list[Move]:
        counted, spent, sent = self._counters(), self._cpu_s(), [heartbeats_sent(self.lab, name) for name in self.nodes]
        silent_ms: list[float] = []
        flood = self._flood(datagrams)
        began_s = os.times().elapsed
        while flood.poll() is None:
            silent_ms += [member(self.lab, name, other(self.lab, name))["last_heard_ms"] or 0.0 for name in self.nodes]
            with suppress(subprocess.TimeoutExpired):
                flood.wait(0.05)
        took_s = os.times().elapsed - began_s
        thrown = int(flood.communicate()[0])
        busy = {name: 100 * (self._cpu_s()[name] - spent[name]) / took_s for name in self.nodes}
        grown = {name: self._counters()[name] - counted[name] for name in self.nodes}
        self._tell(what, thrown / took_s, busy, grown, max(silent_ms))
        assert max(busy.values()) < 90  # of one processor; the flood must not be able to take all of it
        assert {cause for one in grown.values() for cause in one} == {f"dropped_{cause}" for cause in causes}
        for name, before in zip(self.nodes, sent, strict=True):
            assert grown[name].total() >= 0.5 * thrown  # the rest was lost in a full receive buffer
            assert (
                heartbeats_sent(self.lab, name) - before >= 7 * took_s
            )  # ten a second, less what a busy machine takes
        moved = [one for one in self._moves() if one not in self._moved]
        if not moved:
            assert (holder(self.lab), ballots(self.lab)) == (self._holder, self._ballots)
        return moved

    def _look(self) -> None:
        self._holder, self._ballots, self._moved = holder(self.lab), ballots(self.lab), self._moves()

    def _overflowed(self) -> int:
        return sum(link["overflowed"] for name in self.nodes for link in self.lab.agents.status(name)["links"])

    def _flood(self, datagrams: Sequence[bytes]) -> subprocess.Popen[bytes]:
        flood = self.lab.start_on(CLIENT, [sys.executable, SCRIPT, "flood", GROUP, PORT, str(RATE), str(FLOOD_S)])
        assert flood.stdin is not None
        flood.stdin.write("".join(f"{datagram.hex()}\n" for datagram in datagrams).encode())
        flood.stdin.close()
        flood.stdin = None
        return flood

    def _tell(
        self, what: str, rate: float, busy: dict[str, float], grown: dict[str, Counter[str]], silent: float
    ) -> None:
        percent = " and ".join(f"{busy[name]:.0f} %" for name in self.nodes)
        causes = ", ".join(sorted({cause.removeprefix("dropped_") for one in grown.values() for cause in one}))
        self._measured(
            what,
            f"{rate:,.0f} a second, agents use {percent} of a processor, a peer silent for at most {silent:.0f} ms, "
            f"counted as {causes or 'nothing'}",
        )

    def _moves(self) -> list[Move]:
        """Each node's own: those of others arrive later."""
        own = [one for name in self.nodes for one in events(self.lab, name) if one["node"] == name]
        return [(one["node"], one["index"], one["text"]) for one in own if one["kind"] in MOVES]

    def _counters(self) -> dict[str, Counter[str]]:
        """Datagrams that were not believed; the guards count other things there."""
        counted = {name: self.lab.agents.status(name)["counters"] for name in self.nodes}
        return {
            name: Counter({cause: count for cause, count in one.items() if cause.startswith("dropped_")})
            for name, one in counted.items()
        }

    def _cpu_s(self) -> dict[str, float]:
        return {name: _cpu_s(self.lab.agents.status(name)["pids"]["agent"]) for name in self.nodes}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_hostile_datagrams_move_nothing(make_lab: MakeLab, measured: Measured) -> None:
    lab = make_lab(nodes=2)
    wait_whole(lab)
    heard = capture(lab, 1.0)
    assert len(heard) >= 10
    ours = load_keys((str(lab.directory / "cluster.key"),))
    chance = random.Random(1)
    siege = Siege(lab, measured)
    stranger = (chance.randbytes(32),)
    wrong = [one for node in "AB" for one in forged(keys=stranger, cluster="lab", node=node, count=500)]
    siege.endure("wrong key", wrong, causes={"unknown_key", "twin"})
    damaged = [one[:-1] + bytes([one[-1] ^ 1]) for one in heard]
    siege.endure("damaged recordings", damaged, causes={"auth", "own"})
    foreign = forged(keys=ours, cluster="other", node="B", count=500)
    siege.endure("foreign cluster", foreign, causes={"foreign"})
    noise = [chance.randbytes(chance.randrange(1, MAX_DATAGRAM)) for _ in range(500)]
    siege.endure("random bytes", noise, causes={"malformed"})
    cut = [one[: chance.randrange(1, len(one))] for one in heard * 20]
    siege.endure("truncated recordings", cut, causes={"malformed", "auth", "own"})
    long = [one + bytes(LONGEST_DATAGRAM + 1 - len(one) + chance.choice((0, 200, 3000))) for one in heard]
    siege.endure("oversized", long, causes={"oversized"})
    plain = [one for node in "AB" for one in forged(keys=(), cluster="lab", node=node, count=500)]
    siege.endure("without a seal", plain, causes={"plaintext", "twin"})


def test_recordings_move_nothing(make_lab: MakeLab, measured: Measured) -> None:
    """Recorded while A held, and while B did; replayed in the same life, and after both agents were restarted."""
    lab = make_lab(nodes=2)
    wait_whole(lab)
    recorded = []
    for _ in range(2):
        recorded += capture(lab, 0.5)
        told(lab, "A", "failover", "--to", other(lab, holder(lab)))
        wait_whole(lab)
    Siege(lab, measured).endure("recordings of this life", recorded, causes={"own", "replayed"})
    for name in ("A", "B"):
        lab.faults.kill(name)
        lab.wait_for(lambda name=name: not lab.agents.processes(lab.state(), name), what=f"the agent of {name} is gone")
        lab.start(name)
        wait_whole(lab)
    Siege(lab, measured).endure("recordings of an earlier life", recorded, causes={"twin", "replayed", "unconfirmed"})
    assert serves(lab, holder(lab))
    assert serves_nothing(lab, other(lab, holder(lab)))
