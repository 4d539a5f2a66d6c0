"""Listening for heartbeats where no agent does: who is heard over which link, what is not believed, and why.

A multicast group is joined by anybody; a unicast port is bound for the while. The sockets are the agent's own, options
and all, so what is heard here an agent would hear.

For multicast this host also sends one datagram to itself: to the group, with a hop limit of 0, which the kernel hands
back as if it had come in and lets nobody else have. If it does not come back, this host's own firewall throws it away.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import Counter
from dataclasses import dataclass, field

from haagent.config import Config, KeyFileError, load_keys
from haagent.core.messages import Heartbeat
from haagent.core.wire import LONGEST_DATAGRAM, Cause, Opener, Rejected
from haagent.heartbeats import sockets
from haagent.heartbeats.plan import LinkPlan, plan

LISTEN_S = 1.5
LONGEST_S = 2.2
PROBE_S = 0.3
PROBE = b"haagent doctor "  # no heartbeat begins so


@dataclass
class Hearing:
    """Of one time of listening."""

    seconds: float = LISTEN_S
    beats: dict[str, Heartbeat] = field(default_factory=dict)  # the last of each node, or a slice of it
    claimed: dict[str, str] = field(default_factory=dict)  # per group, who said last that it has it
    links: dict[str, set[str]] = field(default_factory=dict)  # per link, who was heard
    dropped: Counter[tuple[Cause, str]] = field(default_factory=Counter)  # cause, and the address it came from
    faults: dict[str, str] = field(default_factory=dict)  # per link: why it could not be listened on
    deaf: set[str] = field(default_factory=set)  # links on which this host did not hear itself
    has_opener: bool = False


async def listen(config: Config) -> Hearing:
    # Two heartbeats at least, within what a person waits for.
    hearing = Hearing(seconds=min(LONGEST_S, max(LISTEN_S, 2.2 * config.heartbeat.interval_s)))
    opener = _opener(config)
    hearing.has_opener = opener is not None
    links = plan(config.heartbeat, me=config.nodes[config.me], peers=config.peers)
    await asyncio.gather(*(_Listener(hearing, opener, link).listen() for link in links))
    return hearing


def _opener(config: Config) -> Opener | None:
    """None: without keys nothing can be opened."""
    try:
        keys = () if config.heartbeat.insecure else load_keys(config.key_files)
    except KeyFileError:
        return None
    boot = secrets.randbits(48) | 1
    return Opener(keys=keys, cluster=config.cluster, node=config.me, nodes=frozenset(config.nodes), boot=boot)


class _Listener:
    def __init__(self, hearing: Hearing, opener: Opener | None, link: LinkPlan) -> None:
        self._hearing, self._opener, self._binding = hearing, opener, link.binding
        self._token = PROBE + secrets.token_hex(8).encode()
        self._came_back = asyncio.Event()

    async def listen(self) -> None:
        binding, hearing = self._binding, self._hearing
        hearing.links[binding.name] = set()
        try:
            opened = sockets.open_socket(binding)
        except OSError as error:
            hearing.faults[binding.name] = sockets.explain(error, binding)
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(opened, self._drain, opened)
        try:
            await asyncio.gather(asyncio.sleep(hearing.seconds), self._probe())
        finally:
            loop.remove_reader(opened)
            opened.close()

    async def _probe(self) -> None:
        if not self._binding.is_multicast:
            return
        try:
            with socket.socket(self._binding.family, socket.SOCK_DGRAM) as sender:
                sockets.multicast_over(sender, self._binding.interface, hops=0, comes_back=True)
                sender.sendto(self._token, sockets.address(self._binding, self._binding.host))
            async with asyncio.timeout(PROBE_S):
                await self._came_back.wait()
        except TimeoutError:
            self._hearing.deaf.add(self._binding.name)
        except OSError as error:
            self._hearing.faults[self._binding.name] = sockets.explain(error, self._binding)

    def _drain(self, opened: socket.socket) -> None:
        for _ in range(64):
            try:
                datagram, sender = opened.recvfrom(2 * LONGEST_DATAGRAM)
            except OSError:
                return
            self._take(datagram, str(sender[0]))

    def _take(self, datagram: bytes, sender: str) -> None:
        if datagram == self._token:
            self._came_back.set()
        elif self._opener is not None and not datagram.startswith(PROBE):
            try:
                beat = self._opener.open(datagram)
            except Rejected as rejected:
                self._hearing.dropped[rejected.cause, sender] += 1
                return
            if beat is not None:
                self._hearing.beats[beat.node] = beat
                self._hearing.claimed |= {each.name: beat.node for each in beat.groups if each.claim is not None}
                self._hearing.links[self._binding.name].add(beat.node)
