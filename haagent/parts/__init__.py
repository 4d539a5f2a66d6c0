"""What the agent is assembled from, and what is done with all of it alike.

A part has a name and five verbs. The daemon holds one ordered tuple of parts; starting, stopping, reloading, status and
counters are loops over it, and they are here. A new subsystem is a room and one line of that tuple.

A reload has two phases. First every part prepares: that may take its time and may fail, and it changes nothing that
anybody could notice. Then, within one turn of the loop, every prepared change is brought into force. Nothing is awaited
meanwhile, so the core cannot act on half a configuration: whatever it says next reaches parts that all know the new
one. What is slow about leaving the old one (a connection that is closed, a hook that ends) goes on beside the loop.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from haagent.config import Config, ConfigError, KeyFileError

Facts = dict[str, Any]
Ending = Coroutine[Any, Any, None]

logger = logging.getLogger(__name__)


def _nothing() -> None:
    return None


async def _nothing_to_release() -> None:
    return None


class Commit(msgspec.Struct, frozen=True):
    """A change that one part has prepared. Exactly one of the two is called, once.

    `apply` brings it into force. It is called in the turn of the loop in which all others are: it awaits nothing, asks
    nobody outside but this host's kernel, and cannot fail: what may fail was done by `prepare`, and what the kernel
    refuses even so is a fact to be told and repaired, not an exception. Events that it posts wait until all parts have
    been changed. It may return what is slow about the end of the old: that runs beside the loop, after all commits, and
    nobody waits for it; another reload may come while it still runs.

    `abandon` is awaited instead if another part's prepare failed: it releases what was prepared.
    """

    apply: Callable[[], Ending | None] = _nothing
    abandon: Callable[[], Ending] = _nothing_to_release


class Part(Protocol):
    """All of it is called on the loop's thread, and none of it may block there."""

    @property
    def name(self) -> str:
        """What an operator reads when it cannot be opened, or refuses a reload."""

    async def open(self) -> None:
        """In the order of the tuple. Raises what kept it from opening, and has then closed what it had opened."""

    async def prepare(self, config: Config) -> Commit:
        """For a reload: may fail, and changes nothing. Raises in words for an operator; releases what it had prepared.

        It is called with the running configuration too: files that it names (keys, passwords) may have changed.
        """

    def status(self) -> Facts:
        """Its sections of `status --json`. Mappings and lists of several parts are joined: `groups` and `members` are
        told by name, so that a part may add to each, and `warnings` are sentences that say what to do, the worst first.
        """

    def counters(self) -> Mapping[str, int]:
        """Counted since the start. Equal names of several parts are added up."""

    async def close(self) -> None:
        """In reverse order, and only if it was opened."""


class Still:
    """For a part that has nothing to do for some of the verbs."""

    async def open(self) -> None:
        return None

    async def prepare(self, config: Config) -> Commit:
        return Commit()

    def status(self) -> Facts:
        return {}

    def counters(self) -> Mapping[str, int]:
        return {}

    async def close(self) -> None:
        return None


class CannotOpen(Exception):
    """A part could not be opened. The text is for an operator; the cause is what the part raised."""


class CannotReload(Exception):
    """A part refuses the new configuration; nothing has changed. The text is for an operator."""


class Parts:
    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._opened: list[Part] = []

    async def open(self) -> None:
        """Raises `CannotOpen`. What is open then is for `close`."""
        for part in self._parts:
            try:
                await part.open()
            except Exception as error:
                _log_bug(part, "be opened", error)
                raise CannotOpen(f"{part.name}: {_words(error)}") from error
            self._opened.append(part)

    async def close(self) -> None:
        """A part that breaks while it closes keeps no other from being closed."""
        while self._opened:
            part = self._opened.pop()
            try:
                await part.close()
            except Exception:
                logger.exception("a bug: %s could not be closed", part.name)

    async def prepare(self, config: Config) -> Callable[[], list[Ending]]:
        """Returns what brings all changes into force, to be called before anything else is awaited.

        Raises `CannotReload`; or `ConfigError` or `KeyFileError`, which say themselves what is wrong where.
        """
        prepared: list[Commit] = []
        part: Part | None = None
        try:
            for part in self._opened:
                prepared.append(await part.prepare(config))
        except BaseException as error:
            for commit in reversed(prepared):
                await commit.abandon()
            if part is None or not isinstance(error, Exception) or isinstance(error, ConfigError | KeyFileError):
                raise
            _log_bug(part, "prepare the reload", error)
            raise CannotReload(f"{part.name}: {_words(error)}") from error
        return lambda: [ending for commit in prepared if (ending := commit.apply()) is not None]

    def status(self) -> Facts:
        facts: Facts = {}
        for part in self._parts:
            _join(facts, part.status())
        for section in ("members", "groups"):
            facts[section] = [{"name": name} | each for name, each in facts.get(section, {}).items()]
        facts["counters"] = {name: count for name, count in sorted(self.counters().items()) if count}
        return facts

    def counters(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for part in self._parts:
            total.update(part.counters())
        return dict(total)


def _join(into: Facts, more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        present = into.get(key)
        if isinstance(present, dict) and isinstance(value, Mapping):
            _join(present, value)
        elif isinstance(present, list) and isinstance(value, Sequence):
            into[key] = [*present, *value]
        else:
            into[key] = _own(value)


def _own(value: Any) -> Any:
    """Joining must not write into what a part has given away."""
    return {key: _own(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _log_bug(part: Part, what: str, error: Exception) -> None:
    """What the kernel or one of our own modules raises has words for an operator; anything else is a bug."""
    if not isinstance(error, OSError) and not type(error).__module__.startswith("haagent."):
        logger.error("a bug: %s could not %s", part.name, what, exc_info=error)
