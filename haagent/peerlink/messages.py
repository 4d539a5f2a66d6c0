"""What is said over a connection before messages are: who speaks. And why a connection may be over.

APPEND ONLY, as for heartbeats: a field is known by its position, a new one goes last and has a default.
"""

from __future__ import annotations

import msgspec

from haagent.core.limits import MAX_TEXT
from haagent.core.meaning import Meaningful

LAYOUT = 1  # of frames and hello
MAX_HELLO = 1024  # bytes: all that a member is granted before it has said who it is
MAX_MESSAGE = 1024 * 1024


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The opener's comes first; the other end answers with its own once it has agreed."""

    layout: int
    cluster: str
    node: str
    to: str  # whom the speaker takes the other end for
    life: int
    release: str


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """Instead of a hello."""

    text: str


class Cause(Meaningful):
    """Why a connection is over. The value is the name of the counter."""

    UNREACHABLE = "unreachable", "nobody accepts the connection: the other agent or its host is down, or a firewall"
    CROWD = "crowd", "more strangers at once than are waited for, or than a peer's own addresses would send"
    GONE = "gone", "ended by the other side before it said who it is: a port scan, a health check, or a cut"
    LATE = "late", "has not said in time who it is: a half-open connection, or somebody who keeps it busy"
    TLS = "tls", "not TLS 1.3, or damaged"
    KEY = "key", "one end does not show a key that the other end knows: the key files differ, or it is a stranger"
    HELLO = "hello", "a member, and it does not begin with a hello"
    LAYOUT = "layout", "a hello of another layout: that node's release is too old or too new"
    FOREIGN = "foreign", "a member of another cluster that has the same key"
    UNKNOWN_NODE = "unknown_node", "its name is not among the configured nodes"
    TWIN = "twin", "it has this node's name: another host uses it, or a peer's address is this host's own"
    MISDIRECTED = "misdirected", "another node than the one that was meant: an address is in the file of the wrong node"
    REFUSED = "refused", "the other end has refused, and said why"
    OVERSIZED = "oversized", f"a message of more than {MAX_MESSAGE} bytes; {MAX_HELLO} before the hello is done"
    GARBLED = "garbled", "linked, and its messages mean nothing here: its release is too old or too new"
    LOST = "lost", "linked, and the agents do not hear its node any more"
    SILENT = "silent", "linked, and nothing was heard any more, not even a ping"
    STUCK = "stuck", "linked, and it takes nothing in any more"
    CLOSED = "closed", "linked, and the other end is gone: its process or its host has ended"
    REPLACED = "replaced", "linked, and it has linked itself anew: it knew before us that the link was over"
    DISMISSED = "dismissed", "linked, and not a peer any more, its key is not listed any more, or this end has closed"


class Over(Exception):
    """An outcome, not an error of ours. `str()` is for an operator."""

    def __init__(self, cause: Cause, text: str = "") -> None:
        super().__init__(printable(text) or cause.meaning)
        self.cause = cause


def printable(text: str) -> str:
    """What somebody else wrote, as one line that does nothing to a terminal."""
    return "".join(each if each.isprintable() else " " for each in text[:MAX_TEXT]).strip()


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


_decoder = msgspec.msgpack.Decoder(Hello | Refused)


def decode(message: bytes) -> Hello | Refused:
    """Raises `Over`."""
    try:
        return _decoder.decode(message)
    except (ValueError, RecursionError):  # msgspec's own errors and bad UTF-8 are ValueErrors
        raise Over(Cause.HELLO) from None


def judge(hello: Hello, *, me: Hello, peers: frozenset[str]) -> None:
    """Raises `Over` if we do not talk to who says that. `me`: our own hello; its `to` is empty where others open."""
    if hello.layout != LAYOUT:
        raise Over(Cause.LAYOUT, f"layout {hello.layout} of the peer link, and {me.node} has {LAYOUT}: use one release")
    if hello.cluster != me.cluster:
        raise Over(Cause.FOREIGN, f"cluster {hello.cluster!r}, and {me.node} is of cluster {me.cluster!r}")
    if hello.node == me.node:
        raise Over(Cause.TWIN, f"{me.node} is this node's own name: look for its address in the file of another node")
    if hello.node not in peers:
        raise Over(Cause.UNKNOWN_NODE, f"{me.node} knows no node {hello.node!r}: use the same file on every node")
    if me.to and hello.node != me.to:
        raise Over(Cause.MISDIRECTED, f"{hello.node} answers where {me.to} was meant: correct their addresses")
    if hello.to != me.node or (not me.to and hello.node > me.node):
        raise Over(Cause.MISDIRECTED, f"{hello.node} meant {hello.to!r} and reached {me.node}: correct their addresses")
