"""A command on its way: what is sent, what may be done with it when the connection breaks, and what it changes."""

from __future__ import annotations

from collections.abc import Callable

AWAY = b"-LOADING No Redis master can be reached. Try again.\r\n"
UNKNOWN = b"-ERR The connection to Redis was lost: outcome unknown\r\n"


class Item:
    __slots__ = (
        *("after", "again", "answer", "begun", "binds", "changes", "closes", "frames", "frees", "is_preamble"),
        *("is_silent", "is_vital", "is_wait", "resets", "waits", "wire"),
    )

    def __init__(self, wire: bytes, *, changes: bool = False, waits: bool = False, answer: bytes | None = None) -> None:
        self.wire = wire
        self.changes = changes  # it is never sent twice
        self.waits = waits  # its reply is kept until replicas have the change
        self.answer = answer  # ours: it is not sent
        self.is_silent = False  # ours too, but sent: no client hears the reply
        self.is_wait = self.is_preamble = False  # of these
        self.frames = 1  # that answer it: SUBSCRIBE is answered for each channel
        self.binds = self.frees = False  # the connection to Redis has a memory of it (MULTI, WATCH), or loses that
        self.closes = False  # the client's connection ends with it
        self.is_vital = False  # and here, if it fails: what follows would mean something else
        self.resets = False  # after it Redis does not know any more who we are
        self.again = False  # Redis refused it, so it is to be sent again
        self.begun = False  # a part of the reply is with the client
        self.after: Callable[[bool], None] | None = None  # told whether it was successful


def packed(*args: bytes) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join([b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args])


def silent(*args: bytes) -> Item:
    item = Item(packed(*args))
    item.is_silent = True
    return item


def wait(replicas: int, timeout_ms: int) -> Item:
    item = silent(b"WAIT", b"%d" % replicas, b"%d" % timeout_ms)
    item.is_wait = True
    return item
