"""The session store as a part of the agent: there is one process of it for as long as the agent lives.

When it ends, whatever the cause, it is started again after a pause that grows; that moves no group. What it cannot do
(its port is taken) is told by `status`, and tried again.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from haagent.config import Config
from haagent.core.event_kinds import Kind, Remark
from haagent.parts import CannotReload, Commit, Still
from haagent.parts import Facts as Told
from haagent.sessions.messages import Facts, Found, Lost, News, Noted, PeerFacts, Refused, RelayFacts, Serving
from haagent.sessions.process import StoreProcess

if TYPE_CHECKING:
    from haagent.sessions.settings import Settings

FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5.0
SELDOM_S = 10.0  # between two events of one peer
LOOK_S = 0.05
KEPT_S = 10.0  # so long a stop waits for another node to have all sessions
ALONE_S = 2.0  # and so long when there is none; one that has just been started is heard by then
REDIS = "redis"  # among the peers of which the history tells
SHORT = "The latest change of sessions had too few replicas at Redis in time"
LASTED_S = 10.0  # who has lived for so long is started again at once


def settings_of(config: Config) -> Settings | None:
    """None: this node keeps no sessions. Raises `KeyFileError`."""
    if config.sessions is None or not config.keeps_sessions:
        return None
    from haagent.sessions import configured  # loads what the store is made of

    return configured.settings_of(config, config.sessions)


class Sessions(Still):
    name = "sessions"

    def __init__(
        self, config: Config, *, note: Remark, background: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._config, self._note, self._background = config, note, background
        self._settings: Settings | None = None
        self._process: StoreProcess | None = None
        self._facts: Facts | None = None  # None: it does not serve
        self._why, self._refused = "it has not started yet", ""
        self._starts = 0
        self._alive: frozenset[str] = frozenset()
        self._counted: Counter[str] = Counter()  # by processes that have ended
        self._is_closed = False
        self._untold: dict[str, Noted] = {}  # of each peer, the newest that the history does not have yet
        self._told: dict[str, tuple[str, float]] = {}  # of each peer, the kind that it has, and since when

    async def open(self) -> None:
        self._settings = await asyncio.to_thread(settings_of, self._config)
        if self._settings is not None:
            self._background(self._keep())

    async def prepare(self, config: Config) -> Commit:
        """Its sessions are in its memory, so it is not started anew behind anybody's back."""
        settings = await asyncio.to_thread(settings_of, config)
        before, after = (each and each.fixed() for each in (self._settings, settings))
        if before != after:
            raise CannotReload("`sessions` cannot change while the agent runs; restart the agents one after the other")

        def change() -> None:
            self._config, self._settings = config, settings
            if settings is not None and self._process is not None and (changed := settings.changed()) is not None:
                self._process.tell(changed)

        return Commit(change)

    async def kept_elsewhere(self) -> str:
        """Before this node stops: until another one has all that is here, as when nodes restart one after the other.

        Not for ever: then why this is given up. What is in a Redis stays there.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self._is_alone():
            if loop.time() >= began + (KEPT_S if self._alive & self._peers() else ALONE_S):
                return f"no other node has the {self._facts.keys if self._facts else 0} sessions of this one"
            await asyncio.sleep(LOOK_S)
        return ""

    def _is_alone(self) -> bool:
        """There is something here that no other node has, for all that is known."""
        facts = self._facts
        if facts is None or not (facts.is_ready and facts.keys and self._peers()):
            return False
        return not any(peer.linked and peer.in_sync for name, peer in facts.peers.items() if name in self._alive)

    def _peers(self) -> set[str]:
        peers = self._settings.peers if self._settings is not None else None
        return set(peers.replica.peers) if peers is not None else set()

    async def close(self) -> None:
        self._is_closed = True
        if self._process is not None:
            await self._process.end()

    def status(self) -> Told:
        if self._settings is None:
            return {}
        pid = (self._process.pid if self._process is not None else 0) or None
        facts = self._facts
        sessions: dict[str, Any] = {
            "store": "peer" if self._settings.peers is not None else "redis",
            "serving": facts is not None,
            "listen": self._listen,
            "starts": self._starts,
        }
        if facts is not None and (relay := facts.relay) is not None:
            sessions |= {
                "ready": facts.is_ready,
                "clients": facts.clients,
                "master": relay.master,
                "in_sync": not relay.is_short if self._waits else None,
                "lag": None,  # Redis does not tell it
                "peers": [],
            }
        elif facts is not None:
            sessions |= {
                "ready": facts.is_ready,
                "clients": facts.clients,
                "keys": facts.keys,
                "bytes": facts.bytes,
                "peers": [_peer(name, peer) for name, peer in facts.peers.items()],
            }
        return {"sessions": sessions, "pids": {"store": pid}, "warnings": list(self._warnings(facts))}

    def alive(self, names: Iterable[str]) -> None:
        """The other nodes that the agent hears now. Who was among them and is not any more is lost."""
        before, self._alive = self._alive, frozenset(names)
        if self._process is None:
            return
        if lost := before - self._alive:
            self._process.tell(Lost(sorted(lost)))
            self._forget(lost)
        if found := self._alive - before:
            self._process.tell(Found(sorted(found)))

    def _forget(self, lost: Collection[str]) -> None:
        """What the store has said of them is of a life that is over: the next one has nothing until it has joined."""
        if self._facts is None:
            return
        peers = {
            name: msgspec.structs.replace(peer, linked=False, in_sync=False) if name in lost else peer
            for name, peer in self._facts.peers.items()
        }
        self._facts = msgspec.structs.replace(self._facts, peers=peers)

    def why_unready(self) -> str:
        """A sentence; empty: applications on this node may be sent users."""
        if self._settings is None:
            return ""
        if self._facts is None:
            return f"The session store does not serve on {self._listen}: {self._why}."
        if not self._facts.is_ready and (relay := self._facts.relay) is not None:
            return f"There is no Redis master for the sessions: {relay.why}."
        if not self._facts.is_ready:
            return "The session store takes over what the other nodes have, or waits for them."
        return ""

    def _warnings(self, facts: Facts | None) -> Iterator[str]:
        peers = facts.peers if facts is not None else {}
        away = {name: peer.why for name, peer in peers.items() if not (peer.linked and peer.in_sync)}
        if why := self.why_unready():
            yield why
        elif facts is not None and facts.relay is not None and facts.relay.is_short:
            yield f"{SHORT}: look at the replicas of {facts.relay.master}."
        elif away:
            each = "; ".join(f"{name}: {why or 'it takes over what it lacks'}" for name, why in away.items())
            yield f"Sessions are not replicated to {', '.join(away)} ({each})."

    def counters(self) -> Mapping[str, int]:
        now = self._counted + Counter(self._facts.counts if self._facts is not None else {})
        counters = {f"sessions_{name}": count for name, count in now.items()}
        counters["sessions_restarts"] = max(0, self._starts - 1)
        return counters

    @property
    def _waits(self) -> bool:
        return self._config.sessions is not None and self._config.sessions.replication == "sync"

    @property
    def _listen(self) -> str:
        return self._config.sessions.listen if self._config.sessions is not None else ""

    async def _keep(self) -> None:
        loop, failed = asyncio.get_running_loop(), 0
        while not self._is_closed:
            began = loop.time()
            self._starts += 1
            self._why, self._refused = "it is starting", ""
            assert self._settings is not None  # no reload takes it away
            self._process = process = StoreProcess(self._settings.born(), hear=self._heard)
            try:
                ended = await process.ended()
                self._why = self._refused or ended
            except OSError as error:
                self._why = f"it cannot be started: {os.strerror(error.errno or 0)}"
            if self._facts is not None:
                self._counted += Counter(self._facts.counts)
            self._facts = None
            failed = 0 if loop.time() - began >= LASTED_S else failed + 1
            await asyncio.sleep(min(FIRST_PAUSE_S * 2 ** min(failed, 10), LAST_PAUSE_S))

    def _heard(self, news: News) -> None:
        match news:
            case Serving(facts):
                self._facts = facts
                if (relay := facts.relay) is not None and relay.master and facts.counts.get("waits"):
                    self._untold[REDIS] = _replicas(relay)  # it is not known before the first change
            case Refused(why):
                self._refused = why
            case Noted("joins", peer, _):
                self._note(Kind.JOINING, f"the session store takes over the sessions of {peer}")
            case Noted("ready", _, text):
                self._note(Kind.JOINED, f"the session store serves: {text}")
            case Noted(kind, peer, text):
                self._untold[peer] = Noted(kind, peer, f"the session store of {peer} {text}")
        self._tell_of_peers(asyncio.get_running_loop().time())

    def _tell_of_peers(self, now: float) -> None:
        """A change at once, and what a peer that comes and goes does then, seldom: the history is small."""
        for peer, news in list(self._untold.items()):
            kind, since = self._told.get(peer, ("", -SELDOM_S))
            if news.kind != kind and now < since + SELDOM_S:
                continue  # each second it is looked at again
            del self._untold[peer]
            if news.kind != kind:
                self._told[peer] = (news.kind, now)
                in_history = Kind.IN_SYNC if news.kind == "in_sync" else Kind.UNSYNCED
                self._note(in_history, news.text)


def _replicas(relay: RelayFacts) -> Noted:
    if relay.is_short:
        return Noted("out_of_sync", REDIS, f"{SHORT} (of {relay.master})")
    return Noted("in_sync", REDIS, f"changes of sessions have enough replicas at Redis (of {relay.master})")


def _peer(name: str, peer: PeerFacts) -> Told:
    return {"name": name, "behind": peer.queue, **msgspec.structs.asdict(peer)}
