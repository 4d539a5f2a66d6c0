"""Etcd's v3 requests and answers as its HTTP/JSON gateway speaks them: only what is used here.

Bytes are base64, and numbers of 64 bits are strings in answers; msgspec reads both. All requests of one moment travel
in one transaction, each group in a nested one of its own, so that one that is refused does not stop the others: one
round trip and one write to disk in etcd, however many groups there are.

An answer is a stranger's word. What is read here is what etcd could have said, or `Malformed`: nothing is deeper,
longer or larger than that, and no text has more than a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from haagent.coordination.register import Outcome, Write
from haagent.core.limits import MAX_TEXT

# Etcd refuses a transaction of more than 128 operations by default, and counts the deepest nesting on top.
MAX_GROUPS_AT_ONCE = 100
MAX_NESTING = 3  # transactions in each other: of all groups, of one, and its second try (`_nested`)
TOKEN = re.compile(r"[!-~]{1,4096}")  # it becomes a header; a signed one has a few hundred characters

T = TypeVar("T")
Revision = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Malformed(Exception):
    """Not an answer of etcd."""


class Header(msgspec.Struct, frozen=True):
    cluster_id: int = 0
    revision: Revision = 0
    raft_term: int = 0

    def is_older_than(self, known: Header) -> bool:
        """An etcd that has lost data begins again with low numbers."""
        return self.revision < known.revision or self.raft_term < known.raft_term


class KeyValue(msgspec.Struct, frozen=True):
    key: bytes = b""
    mod_revision: Revision = 0
    value: bytes = b""


class Part(msgspec.Struct, frozen=True):
    response_txn: Reply | None = None
    response_range: Reply | None = None


class Reply(msgspec.Struct, frozen=True):
    header: Header = Header()
    succeeded: bool = False
    kvs: tuple[KeyValue, ...] = ()
    responses: tuple[Part, ...] = ()


class KeyEvent(msgspec.Struct, frozen=True):
    type: str = "PUT"
    kv: KeyValue = KeyValue()


class WatchResult(msgspec.Struct, frozen=True):
    header: Header = Header()
    created: bool = False
    canceled: bool = False
    cancel_reason: str = ""
    events: tuple[KeyEvent, ...] = ()


class WatchLine(msgspec.Struct, frozen=True):
    result: WatchResult | None = None


class Token(msgspec.Struct, frozen=True):
    token: str = ""


class Complaint(msgspec.Struct, frozen=True):
    message: str = ""


class Refusal(msgspec.Struct, frozen=True):
    message: str = ""
    error: str | Complaint = ""

    @property
    def text(self) -> str:
        return self.message or (self.error if isinstance(self.error, str) else self.error.message)


def end_of(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, as etcd wants a range to be named."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def read_request(prefix: bytes) -> bytes:
    return msgspec.json.encode({"key": prefix, "range_end": end_of(prefix)})


def watch_request(prefix: bytes) -> bytes:
    return msgspec.json.encode({"create_request": {"key": prefix, "range_end": end_of(prefix)}})


def write_request(writes: Sequence[tuple[bytes, Write]]) -> bytes:
    return msgspec.json.encode({"success": [{"request_txn": _nested(key, write)} for key, write in writes]})


def _nested(key: bytes, write: Write) -> dict[str, Any]:
    put = {"request_put": {"key": key, "value": write.value.encode()}}
    otherwise: dict[str, Any] = {"request_range": {"key": key}}
    if write.instead:
        compared = {"key": key, "target": "VALUE", "result": "EQUAL", "value": write.instead}
        otherwise = {"request_txn": {"compare": [compared], "success": [put], "failure": [otherwise]}}
    expected = {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": write.revision}
    return {"compare": [expected], "success": [put], "failure": [otherwise]}


def read_reply(data: bytes) -> Reply:
    reply = _decoded(Reply, data)
    if not reply.header.revision:
        raise Malformed("no answer of etcd: it has no revision")
    return reply


def read_outcomes(data: bytes, count: int) -> tuple[Header, list[Outcome]]:
    """Of a `write_request` with so many writes."""
    reply = read_reply(data)
    if len(reply.responses) != count:
        raise Malformed(f"{len(reply.responses)} answers to {count} requests")
    return reply.header, [_outcome(part.response_txn) for part in reply.responses]


def _outcome(txn: Reply | None) -> Outcome:
    for _ in range(MAX_NESTING - 1):
        if txn is None or len(txn.responses) != 1:
            raise Malformed("a transaction without its answer")
        if txn.succeeded:
            return Outcome(is_done=True)
        part = txn.responses[0]
        if part.response_txn is None:
            if part.response_range is None:
                break
            found = part.response_range.kvs
            return Outcome(False, found[0].mod_revision, found[0].value) if found else Outcome(False)
        txn = part.response_txn
    raise Malformed("a transaction that failed and does not say what is there")


def read_watch_line(line: bytes) -> WatchResult:
    found = _decoded(WatchLine, line)
    if found.result is None:
        raise Malformed(refusal_text(line))
    if found.result.canceled:
        raise Malformed(one_line(found.result.cancel_reason) or "the watch was cancelled")
    return found.result


def read_token(data: bytes) -> str:
    token = _decoded(Token, data).token
    if not TOKEN.fullmatch(token):
        raise Malformed("what it gives as its token is none")
    return token


def refusal_text(data: bytes) -> str:
    try:
        text = _decoded(Refusal, data).text
    except Malformed:
        text = data[:MAX_TEXT].decode("utf-8", "replace")
    return one_line(text) or "it gives no reason"


def one_line(text: str) -> str:
    """What a stranger has said, fit for a log and a terminal."""
    return "".join(each if each.isprintable() else " " for each in text[:MAX_TEXT]).strip()


def _decoded(kind: type[T], data: bytes) -> T:
    try:
        return msgspec.json.decode(data, type=kind, strict=False)  # not strict: numbers come as strings
    except RecursionError as error:
        raise Malformed("its answer is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(one_line(str(error))) from error
