"""Channels, between the clients of this node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from haagent.sessions.store.patterns import compiled, matches
from haagent.sessions.store.replies import Push, Refused, Reply, Several
from haagent.sessions.store.state import Client
from haagent.sessions.store.table import family

command = family("pubsub", tier=2)
FLAGS = "pubsub noscript loading stale"
MOST = 10_000  # channels and patterns of one client
LONGEST = 16 * 1024  # bytes of a name

Change = Callable[[Client, bytes], None]


@command("subscribe", -2, FLAGS)
def subscribe(client: Client, args: list[bytes]) -> Reply:
    """Hear what is published on these channels, on this node."""
    return _joined(client, b"subscribe", args[1:], client.channels, client.door.join)


@command("psubscribe", -2, FLAGS, tier=3)
def psubscribe(client: Client, args: list[bytes]) -> Reply:
    """Hear what is published on channels that match these patterns, on this node."""
    return _joined(client, b"psubscribe", args[1:], client.patterns, client.door.join_pattern)


@command("unsubscribe", -1, FLAGS)
def unsubscribe(client: Client, args: list[bytes]) -> Reply:
    """Hear no more of these channels, or of any."""
    return _all(client, b"unsubscribe", args[1:] or list(client.channels) or [None], client.door.leave)


@command("punsubscribe", -1, FLAGS, tier=3)
def punsubscribe(client: Client, args: list[bytes]) -> Reply:
    """Hear no more of these patterns, or of any."""
    return _all(client, b"punsubscribe", args[1:] or list(client.patterns) or [None], client.door.leave_pattern)


def _joined(client: Client, word: bytes, names: list[bytes], own: Collection[bytes], change: Change) -> Reply:
    """All of them, or none."""
    if max(map(len, names)) > LONGEST:
        raise Refused("ERR the name is too long")
    if len(client.channels) + len(client.patterns) + len(set(names).difference(own)) > MOST:
        raise Refused("ERR too many channels and patterns")
    return _all(client, word, names, change)


def _all(client: Client, word: bytes, names: Iterable[bytes | None], change: Change) -> Reply:
    replies = Several()
    for name in names:
        if name is not None:
            change(client, name)
        replies.append(Push([word, name, len(client.channels) + len(client.patterns)]))
    client.settle()
    return replies


@command("publish", 3, "pubsub loading stale fast")
def publish(client: Client, args: list[bytes]) -> Reply:
    """Tell those who hear this channel, on this node."""
    _, channel, message = args
    told = list(client.door.channels.get(channel, ()))
    for each in told:
        each.send(Push([b"message", channel, message]))
    count = len(told)
    for pattern, hearers in list(client.door.patterns.items()):
        if matches(pattern, channel):
            for each in list(hearers):
                each.send(Push([b"pmessage", pattern, channel, message]))
                count += 1
    return count


@command("pubsub", -2, tier=3)
def pubsub(client: Client, args: list[bytes]) -> Reply:
    """Who hears what."""
    raise AssertionError("all there is stands below it")


@command("pubsub|channels", -2, "pubsub loading stale", tier=3)
def pubsub_channels(client: Client, args: list[bytes]) -> Reply:
    """The channels that somebody hears."""
    if len(args) > 3:
        raise Refused(b"ERR unknown subcommand or wrong number of arguments for '%b'. Try PUBSUB HELP." % args[1])
    expression = compiled(args[2] if len(args) > 2 else b"*")
    return [channel for channel in client.door.channels if expression.fullmatch(channel)]


@command("pubsub|numsub", -2, "pubsub loading stale", tier=3)
def pubsub_numsub(client: Client, args: list[bytes]) -> Reply:
    """How many hear these channels."""
    told: list[Reply] = []
    for channel in args[2:]:
        told += [channel, len(client.door.channels.get(channel, ()))]
    return told


@command("pubsub|numpat", 2, "pubsub loading stale", tier=3)
def pubsub_numpat(client: Client, args: list[bytes]) -> Reply:
    """How many patterns somebody has."""
    return len(client.door.patterns)
