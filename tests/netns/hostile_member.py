"""A member of the cluster in the wrong hands: it has the key, speaks as the witness, and says what it likes.

python -m tests.netns.hostile_member CONFIG SEED (multicast | unicast)

What it says goes out sealed as an agent seals it, in lives of its own, some of them at the same time, some long over,
and sometimes in the life of the agent whose name it uses, at a rate that changes twice a second. Over unicast it tells
each of the others something else. It ends when its input ends, and tells how many heartbeats it has sent.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from random import Random

import msgspec

from haagent.config import Config, load, load_keys
from haagent.core.limits import MAX_PARTS
from haagent.core.messages import SLICED_VERSION, WIRE_VERSION, GroupBeat, Heard, Heartbeat
from haagent.core.wire import Opener, Rejected, Sealer
from tests.support.hostile import invent

ME, INTERFACE = "W", "eth0"
LEAST_RATE, MOST_RATE = 20, 1000  # heartbeats a second
MOOD_S = 0.5
SEASONED_MS = 62_000  # in its first minute a voter may have forgotten a lease of a minute: it keeps silent if told so
MAX_LIVES, LAST_SEQ = 3, 2**64 - 1


class Member:
    def __init__(self, config: Config, seed: int, *, is_multicast: bool) -> None:
        self._rng, self._config, self._is_multicast = Random(seed), config, is_multicast
        self._keys = load_keys(config.key_files)
        self._socket = _socket(config, is_multicast=is_multicast)
        others = frozenset(config.nodes) - {ME}
        self._opener = Opener(keys=self._keys, cluster=config.cluster, node=ME, nodes=others)
        self._heard: dict[str, Heartbeat] = {}
        self._lives: dict[int, tuple[Sealer, int]] = {}  # by boot, with the seq that was sent last
        self._targets = (
            [config.heartbeat.group] if is_multicast else [config.nodes[name].addresses[0] for name in others]
        )
        self._payload = msgspec.msgpack.Encoder()
        self.sent = 0

    def rage(self) -> None:
        """Until nobody listens to us."""
        while True:
            rate = LEAST_RATE * (MOST_RATE / LEAST_RATE) ** self._rng.random()
            self._change_lives()
            mood_ends = time.monotonic() + MOOD_S
            while (now := time.monotonic()) < mood_ends:
                for target in self._targets if self._heard else ():
                    self._say(target)
                due = now + self._rng.expovariate(rate)
                while (left := due - time.monotonic()) > 0:
                    if sys.stdin in (ready := select.select([self._socket, sys.stdin], [], [], left)[0]):
                        return
                    if ready:
                        self._listen()

    def _listen(self) -> None:
        datagram = self._socket.recv(65535)
        try:
            beat = self._opener.open(datagram)
        except Rejected:
            return  # our own
        if beat is not None:
            self._heard[beat.node] = beat

    def _change_lives(self) -> None:
        if not self._lives or self._rng.random() < 0.2:
            self._begin(self._rng.getrandbits(64) | 1, self._rng.choice((0, 0, 2**53, LAST_SEQ - 100)))
        echoes = [beat.heard[ME] for beat in self._heard.values() if ME in beat.heard]
        if echoes and self._rng.random() < 0.1 and (echo := self._rng.choice(echoes)).boot not in self._lives:
            self._begin(echo.boot, echo.seq)  # of the agent that runs beside us, if one does
        while len(self._lives) > MAX_LIVES:
            del self._lives[self._rng.choice([*self._lives])]

    def _begin(self, boot: int, seq: int) -> None:
        sealer = Sealer(keys=self._keys, cluster=self._config.cluster, node=ME, boot=boot)
        self._lives[boot] = sealer, seq

    def _say(self, target: str) -> None:
        boot = self._rng.choice([*self._lives])
        sealer, last = self._lives[boot]
        seq = min(last + self._rng.choice((1,) * 500 + (1000, 2**20)), LAST_SEQ)
        if seq <= last:
            return
        self._lives[boot] = sealer, seq
        beat = invent(self._rng, self._plausible(boot), seq=seq, is_patient=not self._are_seasoned())
        for datagram in self._datagrams(sealer, beat):
            self._socket.sendto(datagram, (target, self._config.heartbeat.port))
        self.sent += 1

    def _plausible(self, boot: int) -> Heartbeat:
        """What a witness would say that votes as one of the others does."""
        said = self._heard[self._rng.choice([*self._heard])]
        votes = tuple(GroupBeat(group.name, promised=group.promised, accepted=group.accepted) for group in said.groups)
        heard = {name: Heard(beat.boot, beat.seq) for name, beat in self._heard.items()}
        return msgspec.structs.replace(
            said, node=ME, boot=boot, heard=heard, groups=votes, records=(), recorded={}, outline=None, part=0, parts=1
        )

    def _are_seasoned(self) -> bool:
        return all(beat.age_ms > SEASONED_MS for beat in self._heard.values())

    def _datagrams(self, sealer: Sealer, beat: Heartbeat) -> list[bytes]:
        """As an agent makes them; or as slices of which the others never come, or pieces in the way of an older one."""
        if self._rng.random() < 0.9:
            return sealer.seal(beat)
        parts = self._rng.choice((2, MAX_PARTS))
        part = self._rng.randrange(parts)
        sliced = msgspec.structs.replace(beat, part=part, parts=parts)
        version, said = self._rng.choice(((SLICED_VERSION, sliced), (WIRE_VERSION, beat)))
        return [sealer._datagram(version, beat.seq, part, parts, self._payload.encode(said)[:1100])]


def _socket(config: Config, *, is_multicast: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if not is_multicast:
        sock.bind((config.nodes[ME].addresses[0], config.heartbeat.port))
        return sock
    index = socket.if_nametoindex(INTERFACE)
    sock.bind((config.heartbeat.group, config.heartbeat.port))
    member = struct.pack("@4s4si", socket.inet_aton(config.heartbeat.group), bytes(4), index)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("@4s4si", bytes(4), bytes(4), index))
    return sock


def main(path: str, seed: str, transport: str) -> None:
    member = Member(load(path, node=ME), int(seed), is_multicast=transport == "multicast")
    member.rage()
    print(member.sent)


if __name__ == "__main__":
    main(*sys.argv[1:])
