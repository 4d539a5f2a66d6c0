"""What a client's connection has been told: what has to be said again on another one, and what cannot be.

A new connection to Redis is told who the client is, its protocol, database and name. Transactions, watched keys,
subscriptions and tracking are gone with the connection that had them, so the client's goes with it (`is_bound`).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from haagent.sessions.relay.items import Item, packed, silent
from haagent.sessions.relay.settings import RelaySettings
from haagent.sessions.relay.table import Nature, Natures, nature_of

NO_AUTH = b"-NOAUTH Authentication required.\r\n"
WRONG_PASS = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
OK = b"+OK\r\n"
NOT_HERE = {b"MONITOR", b"SYNC", b"PSYNC"}  # they make of the connection something else
JOINS = {b"SUBSCRIBE": 0, b"PSUBSCRIBE": 1, b"SSUBSCRIBE": 2}
LEAVES = {b"UNSUBSCRIBE": 0, b"PUNSUBSCRIBE": 1, b"SUNSUBSCRIBE": 2}


class Session:
    def __init__(self, settings: RelaySettings, door_password: bytes) -> None:
        self._settings, self._door_password = settings, door_password
        self._forget()
        self.is_known = not door_password
        self.hears = False  # messages may come between the replies
        self._special: dict[bytes, Callable[[list[bytes], bytes], Item]] = {
            b"AUTH": self._auth,
            b"HELLO": self._hello,
            b"QUIT": self._quit,
            b"RESET": self._resets,
            b"SELECT": self._select,
            b"CLIENT": self._client,
            b"WATCH": self._watch,
            b"UNWATCH": self._unwatch,
            b"MULTI": self._begin,
            **dict.fromkeys(JOINS, self._join),
            **dict.fromkeys(LEAVES, self._leave),
            **dict.fromkeys(NOT_HERE, self._refuse),
        }

    def _forget(self) -> None:
        self._said: dict[str, bytes] = {}  # what is said again
        self._in_multi = self._changes = self._waits = False  # as the client has it, whatever has been sent
        self._channels: tuple[set[bytes], set[bytes], set[bytes]] = (set(), set(), set())
        self.is_stuck = False  # Redis has a memory of this connection that cannot be told to another one

    def preamble(self) -> list[Item]:
        """What a new connection to Redis is told first. At last it has to say something itself: a kernel accepts
        connections also for a process that has just died, and what is sent then has an unknown outcome."""
        settings = self._settings
        found = []
        if settings.password:
            login = [settings.user.encode()] if settings.user else []
            found.append(silent(b"AUTH", *login, settings.password.encode()))
        if settings.database and "select" not in self._said:
            found.append(silent(b"SELECT", b"%d" % settings.database))
        for what in ("auth", "hello", "select", "name"):
            if (wire := self._said.get(what)) is not None:
                item = Item(wire)
                item.is_silent = True
                found.append(item)
        for item in found:
            item.is_vital = True
        return [*found, silent(b"PING")]

    def item(self, args: list[bytes], wire: bytes, table: Natures) -> Item:
        """`wire`: the same as it came."""
        name = args[0].upper()
        if not self.is_known and name not in (b"AUTH", b"HELLO", b"QUIT", b"RESET"):
            return Item(b"", answer=NO_AUTH)
        special = self._special.get(name)
        if self._in_multi and name not in (b"QUIT", b"RESET", *NOT_HERE):
            return self._queued(name, args, wire, table, is_special=special is not None)
        if special is not None:
            return special(args, wire)
        nature = nature_of(table, name, args)
        is_waited = nature is Nature.CHANGE and self._settings.is_sync
        return Item(wire, changes=nature is not Nature.READ, waits=is_waited)

    def _queued(self, name: bytes, args: list[bytes], wire: bytes, table: Natures, *, is_special: bool) -> Item:
        if name in (b"EXEC", b"DISCARD"):
            self._in_multi = False
            is_exec = name == b"EXEC"
            item = Item(wire, changes=is_exec and self._changes, waits=is_exec and self._waits)
            item.frees = True
            return item
        nature = nature_of(table, name, args)
        self._changes |= nature is not Nature.READ
        self._waits |= nature is Nature.CHANGE and self._settings.is_sync
        if is_special and name not in (b"WATCH", b"MULTI", b"UNWATCH"):
            self.is_stuck = True  # EXEC may change what is not seen here
        return Item(wire)

    # ------------------------------------------------------------------ what is not like the others

    def _auth(self, args: list[bytes], wire: bytes) -> Item:
        if not self._door_password:
            return self._saying("auth", wire)
        if len(args) not in (2, 3):
            return Item(b"", answer=b"-ERR wrong number of arguments for 'auth' command\r\n")
        if not self._is_password(args[1] if len(args) == 3 else b"default", args[-1]):
            return Item(b"", answer=WRONG_PASS)
        self.is_known = True
        return Item(b"", answer=OK)

    def _is_password(self, user: bytes, password: bytes) -> bool:
        is_right = hmac.compare_digest(password, self._door_password)
        return is_right and user in (b"default", self._settings.user.encode())

    def _hello(self, args: list[bytes], wire: bytes) -> Item:
        if self._door_password:
            words = [arg.upper() for arg in args]
            if b"AUTH" in words[2:] and (at := words.index(b"AUTH", 2)) + 2 < len(args):
                if not self._is_password(args[at + 1], args[at + 2]):
                    return Item(b"", answer=WRONG_PASS)
                self.is_known = True
                args = args[:at] + args[at + 3 :]
                wire = packed(*args)
            if not self.is_known:
                return Item(b"", answer=NO_AUTH)
        return self._saying("hello", wire) if len(args) > 1 else Item(wire)

    def _saying(self, what: str, wire: bytes) -> Item:
        item = Item(wire)

        def after(is_ok: bool) -> None:
            if is_ok:
                self._said[what] = wire

        item.after = after
        return item

    def _quit(self, args: list[bytes], wire: bytes) -> Item:
        item = Item(b"", answer=OK)
        item.closes = True
        return item

    def _resets(self, args: list[bytes], wire: bytes) -> Item:
        """It forgets who we are, too: that is said again at once."""
        self._forget()
        self.is_known = not self._door_password
        item = Item(wire)
        item.frees = item.resets = item.is_vital = True

        def after(_: bool) -> None:
            self.hears = any(self._channels)

        item.after = after
        return item

    def _select(self, args: list[bytes], wire: bytes) -> Item:
        return self._saying("select", wire)

    def _client(self, args: list[bytes], wire: bytes) -> Item:
        below = args[1].upper() if len(args) > 1 else b""
        if below == b"REPLY":
            return Item(b"", answer=b"-ERR CLIENT REPLY is not possible here\r\n")
        if below == b"SETNAME":
            return self._saying("name", wire)
        if below in (b"TRACKING", b"CACHING"):
            self.is_stuck = True
        return Item(wire, changes=below in (b"KILL", b"PAUSE", b"UNPAUSE", b"UNBLOCK"))

    def _begin(self, args: list[bytes], wire: bytes) -> Item:
        self._in_multi = len(args) == 1
        self._changes = self._waits = False
        item = Item(wire)
        item.binds = item.is_vital = self._in_multi
        return item

    def _watch(self, args: list[bytes], wire: bytes) -> Item:
        item = Item(wire)
        item.binds = True
        return item

    def _unwatch(self, args: list[bytes], wire: bytes) -> Item:
        item = Item(wire)
        item.frees = True
        return item

    def _join(self, args: list[bytes], wire: bytes) -> Item:
        item = Item(wire)
        item.frames = max(1, len(args) - 1)
        self._channels[JOINS[args[0].upper()]].update(args[1:])
        self.hears |= len(args) > 1
        return item

    def _leave(self, args: list[bytes], wire: bytes) -> Item:
        channels = self._channels[LEAVES[args[0].upper()]]
        item = Item(wire)
        item.frames = max(1, len(args) - 1 or len(channels))
        channels.difference_update(args[1:] or set(channels))

        def after(_: bool) -> None:
            self.hears = any(self._channels)  # those that came meanwhile, too

        item.after = after
        return item

    def _refuse(self, args: list[bytes], wire: bytes) -> Item:
        return Item(b"", answer=b"-ERR %b is not possible here: ask Redis itself\r\n" % args[0].upper())
