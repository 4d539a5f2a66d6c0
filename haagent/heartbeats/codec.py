"""Heartbeats in and out of their sealed form, with the keys of the moment, and a count of what could not be opened."""

from __future__ import annotations

from collections import Counter

from haagent.config import Config
from haagent.core.messages import Heartbeat
from haagent.core.wire import Opener, Rejected, Sealer


class Codec:
    def __init__(self, config: Config, keys: tuple[bytes, ...], *, boot: int) -> None:
        self._cluster, self._me, self._boot = config.cluster, config.me, boot
        self.dropped: Counter[str] = Counter()  # by cause
        self._sealer = self.sealer(keys)
        self._opener = self._make_opener(config, keys)

    def sealer(self, keys: tuple[bytes, ...]) -> Sealer:
        """Another one, with numbers of its own."""
        return Sealer(keys=keys, cluster=self._cluster, node=self._me, boot=self._boot)

    def rekey(self, config: Config, keys: tuple[bytes, ...]) -> None:
        self._sealer.rekey(keys)
        self._opener = self._make_opener(config, keys)

    def seal(self, beat: Heartbeat) -> list[bytes]:
        return self._sealer.seal(beat)

    def open(self, datagram: bytes) -> Heartbeat | None:
        """None: not to be believed, or not complete yet."""
        try:
            return self._opener.open(datagram)
        except Rejected as rejected:
            self.count_drop(str(rejected.cause))
            return None

    def count_drop(self, cause: str) -> None:
        self.dropped[cause] += 1

    def _make_opener(self, config: Config, keys: tuple[bytes, ...]) -> Opener:
        nodes = frozenset(config.nodes)
        return Opener(keys=keys, cluster=self._cluster, node=self._me, nodes=nodes, boot=self._boot)
