"""From a command's name to its reply: what processCommand of Redis 7.0 refuses, in its order and with its words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from haagent.core.store.store import TooLarge
from haagent.sessions.store.replies import QUEUED, Refused, Reply
from haagent.sessions.store.state import Client
from haagent.sessions.store.table import Command, find

NO_AUTH = "NOAUTH Authentication required."
OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
LOADING = "LOADING Redis is loading the dataset in memory"
TOO_LARGE = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
EXEC_REFUSED = b"EXECABORT Transaction discarded because of: "
EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors."

AT_ONCE = {"exec", "discard", "multi", "watch", "quit", "reset"}  # not queued
SUBSCRIBED = {"ping", "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "quit", "reset"}
ATTACKS = {b"post", b"host:"}  # a browser was made to speak to us
QUOTED = 128  # bytes of the client's own words in an error
NAME = re.compile(rb"[a-z0-9._|-]{1,64}")
UNKNOWN_NAMES = 200  # different ones that are counted; the rest together


class Attack(Exception):
    """Close, and say nothing."""


def call(client: Client, args: list[bytes]) -> Reply:
    """The reply; an iterator if it comes in slices: the last of what it yields is the reply."""
    command = find(args)
    try:
        command = _allowed(client, command, args)
    except Refused as refused:
        client.poisoned = client.poisoned or client.queue is not None
        if command is not None:
            command.refused += 1
            if command.name == "exec":
                client.end_transaction()
                raise Refused(EXEC_REFUSED + refused.text.removeprefix(b"ERR ")) from refused
        raise
    client.last = command.name
    if client.queue is not None and command.name not in AT_ONCE:
        client.queued_bytes += sum(map(len, args)) + 64 * len(args)
        if client.queued_bytes > client.door.limits.query_bytes:
            client.poisoned = True
            client.queue.clear()  # and what is still to come costs nothing
        if not client.poisoned:
            client.queue.append((command, args))
        return QUEUED
    command.calls += 1
    return command.run(client, args)


def _allowed(client: Client, command: Command | None, args: list[bytes]) -> Command:
    if command is None:
        raise Refused(_unknown(client, args))
    if not command.least <= len(args) <= command.most:
        raise Refused(f"ERR wrong number of arguments for '{command.name}' command")
    if not client.is_known and "no_auth" not in command.flags:
        raise Refused(NO_AUTH)
    if _needs_room(client, command) and not client.door.has_room():
        raise Refused(OUT_OF_MEMORY)
    if client.resp == 2 and client.listens and command.name not in SUBSCRIBED:
        raise Refused(
            f"ERR Can't execute '{command.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
            " are allowed in this context"
        )
    if client.door.is_loading and "loading" not in command.flags:
        raise Refused(LOADING)
    return command


def _needs_room(client: Client, command: Command) -> bool:
    if client.queue is None:
        return command.is_denied_full
    if command.name == "exec":
        return any(queued.is_denied_full for queued, _ in client.queue)
    return command.name not in ("discard", "quit", "reset")


def _unknown(client: Client, args: list[bytes]) -> bytes:
    name = args[0].lower()
    if name in ATTACKS:
        raise Attack
    above = find(args[:1])
    unknown = client.door.unknown
    counted = name if above is None else b"%b|%b" % (name, args[1].lower())
    is_counted = NAME.fullmatch(counted) and (counted in unknown or len(unknown) < UNKNOWN_NAMES)
    unknown[counted if is_counted else b"others"] += 1
    if above is not None:
        return b"ERR unknown subcommand '%b'. Try %b HELP." % (_quoted(args[1]), args[0].upper())
    beginning = b""
    for each in args[1:]:
        if len(beginning) >= QUOTED:
            break
        beginning += b"'%b' " % _quoted(each, QUOTED - len(beginning))
    return b"ERR unknown command '%b', with args beginning with: %b" % (_quoted(args[0]), beginning)


def _quoted(text: bytes, most: int = QUOTED) -> bytes:
    return text[:most].split(b"\0", 1)[0]


def run(client: Client, command: Command, args: list[bytes]) -> Reply:
    """Execute a command that was queued: an error is its reply, and slices follow one another at once."""
    command.calls += 1
    try:
        reply = command.run(client, args)
        return _whole(reply) if isinstance(reply, Iterator) else reply
    except Refused as refused:
        return refused
    except TooLarge:
        return Refused(TOO_LARGE)


def _whole(slices: Iterator[Reply]) -> Reply:
    reply: Reply = None
    for reply in slices:  # noqa: B007 the last one is it
        pass
    return reply
