"""Heartbeats as a part of the agent: sealed and opened, sent and heard, over links that are kept alive.

What is about to be said goes past the guardian first, which must be able to release whatever is claimed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from haagent.config import Config, load_keys
from haagent.core.event_kinds import Kind
from haagent.core.events import AnyEvent, HeartbeatHeard, Noticed
from haagent.core.messages import Heartbeat
from haagent.core.view import View
from haagent.core.wire import Opener, Rejected, Sealer
from haagent.guardian.channel import GuardianChannel
from haagent.heartbeats import LinkStatus, Looks, Transport
from haagent.kernel.worker import Worker
from haagent.parts import Commit, Facts, Still

MEND_S = 1.0  # how often a broken link is tried again

# Why a peer that does send may yet not be heard, by cause of the dropped datagrams. The first that counts is told.
DEAF_CAUSES = {
    "unknown_key": "Their heartbeats arrive sealed with another key: copy the key file to every node.",
    "auth": "Heartbeats arrive whose seal does not fit: copy the key file to every node.",
    "plaintext": "Heartbeats arrive in the clear: set `insecure` alike on every node.",
    "unknown_node": "Heartbeats arrive from a node that is not in this file: use the same file on every node.",
    "twin": "Another host uses this node's name: start each agent under its own name (`--node`).",
    "version": "Heartbeats arrive in another layout: run the same release on every node.",
    "foreign": "Heartbeats of another cluster arrive: use the same cluster name, or another group and port.",
}


class Heartbeats(Still):
    name = "heartbeats"

    def __init__(
        self,
        config: Config,
        keys: tuple[bytes, ...],
        *,
        boot: int,
        guardian: GuardianChannel,
        post: Callable[[AnyEvent], None],
        view: Callable[[], View],
        refused: Callable[[], Mapping[str, int]],
        background: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`refused`: authentic ones that the core did not believe, by cause."""
        self.is_listening = False  # before the core is stepped nobody is heard
        self._boot, self._guardian = boot, guardian
        self._post, self._view, self._refused, self._background = post, view, refused, background
        self._dropped: Counter[str] = Counter()  # by cause
        self._older: set[str] = set()  # peers whose release does not read slices
        self._sealer = Sealer(keys=keys, cluster=config.cluster, node=config.me, boot=boot, older=self._older)
        self._use(config, keys)
        self._worker: Worker | None = None
        self._transport = Transport(asyncio.get_running_loop(), heard=self._heard, dropped=self._count_drop)

    def _use(self, config: Config, keys: tuple[bytes, ...]) -> None:
        cluster, me, nodes, boot = config.cluster, config.me, frozenset(config.nodes), self._boot
        self._config = config
        self._opener = Opener(keys=keys, cluster=cluster, node=me, nodes=nodes, boot=boot)
        self._older &= nodes
        self._guardian.seal_with(Sealer(keys=keys, cluster=cluster, node=me, boot=boot, older=self._older))

    async def open(self) -> None:
        self._configure_links()
        self._worker = Worker(self._look, name="links")
        self._background(self._mend(self._worker))

    def _configure_links(self) -> None:
        config = self._config
        mine = config.nodes[config.me]
        self._report(self._transport.configure(config.heartbeat, me=mine, peers=config.peers))

    def say(self, beat: Heartbeat) -> None:
        self._guardian.before(beat)
        self._transport.send(self._sealer.seal(beat))
        self._guardian.after(beat)

    async def prepare(self, config: Config) -> Commit:
        keys = () if config.heartbeat.insecure else await asyncio.to_thread(load_keys, config.key_files)

        def apply() -> None:
            self._sealer.rekey(keys)
            self._use(config, keys)
            self._configure_links()

        return Commit(apply)

    def status(self) -> Facts:
        links = self._transport.links()
        found = warnings(self._view(), links, self.counters(), self._config)
        return {"links": [msgspec.to_builtins(link, str_keys=True) for link in links], "warnings": [*found]}

    def counters(self) -> Mapping[str, int]:
        """Datagrams that were not believed, by cause."""
        total = self._dropped + Counter(self._refused())
        return {f"dropped_{cause}": count for cause, count in total.items()}

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()
        self._transport.close()

    def _heard(self, datagram: bytes, link: str) -> None:
        if not self.is_listening:
            return
        try:
            beat = self._opener.open(datagram)
        except Rejected as rejected:
            self._count_drop(str(rejected.cause))
            return
        if beat is not None:  # else it is a piece of one that is not complete yet
            (self._older.discard if beat.parts else self._older.add)(beat.node)
            self._post(HeartbeatHeard(beat, link))

    def _count_drop(self, cause: str) -> None:
        self._dropped[cause] += 1

    async def _mend(self, worker: Worker) -> None:
        while True:
            await asyncio.sleep(MEND_S)
            worker.ask()

    def _look(self) -> None:
        """In the worker's thread."""
        found = self._transport.look()
        if (worker := self._worker) is not None:
            worker.tell(self._heed, found)

    def _heed(self, found: Looks) -> None:
        if self._worker is not None:
            self._report(self._transport.heed(found))

    def _report(self, changed: Sequence[LinkStatus]) -> None:
        self._guardian.lend(self._transport.outlets())
        for link in changed:
            text = f"heartbeats go over {link.name}" if link.is_up else f"no heartbeats over {link.name}: {link.why}"
            self._post(Noticed(Kind.LINK_UP if link.is_up else Kind.LINK_DOWN, "", text))


def warnings(view: View, links: Iterable[LinkStatus], counters: Mapping[str, int], config: Config) -> Iterator[str]:
    yield from _unheard(view, counters, config)
    for link in links:
        if not link.is_up:
            yield f"Link {link.name} carries no heartbeats: {link.why or 'it is down'}."
    if config.heartbeat.insecure:
        yield "Heartbeats are not sealed (`insecure: true`): anyone on the link can move groups. For labs only."


def _unheard(view: View, counters: Mapping[str, int], config: Config) -> Iterator[str]:
    peers = [member for member in view.members if not member.me]
    if not peers or any(member.last_heard_s is not None for member in peers):
        return
    cause = next((text for name, text in DEAF_CAUSES.items() if counters.get(f"dropped_{name}")), "")
    advice = f"Check that they run, the link, and that UDP port {config.heartbeat.port} is open both ways."
    yield f"No other node has been heard since this agent started. {cause or advice}"
