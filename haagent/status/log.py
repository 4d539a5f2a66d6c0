"""The agent's log: one line for each thing done or noticed, with fields a program can select by.

Under systemd it goes to the journal with GROUP=, NODE= and EVENT= (`journalctl -u haagent GROUP=web`); elsewhere to
stderr as `key=value`, or as JSON. The modules log through the standard library; these functions only add the fields.

Writing may block: a full pipe, a stuck journal. So the agent's thread only puts the line into a bounded queue, and a
thread of its own writes. When the queue is full lines are lost and counted, because a heartbeat matters more than a
line about it. What is logged are names, numbers and sentences, never a key and never a whole heartbeat.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import logging.handlers
import queue
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from haagent.core import events
from haagent.core.event_kinds import severity_of
from haagent.guardian.process import is_journal
from haagent.status import journal

MAX_WAITING = 10_000  # lines; a few MiB at most

LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

logger = logging.getLogger("haagent")


def say(event: str, text: str, *, group: str = "", level: int = logging.INFO, at: float | None = None) -> None:
    """`at`: when it happened (seconds of the epoch), if that was not just now."""
    if not logger.isEnabledFor(level):
        return
    fields = {"EVENT": event, "GROUP": group}
    record = logger.makeRecord(logger.name, level, "", 0, "%s", (text,), None, extra=fields)
    record.created = at or record.created
    logger.handle(record)


def is_news(done: events.AnyAction) -> bool:
    """What happens with every heartbeat is for debugging only."""
    return not isinstance(done, events.Send | events.Renew | events.Remember) or logger.isEnabledFor(logging.DEBUG)


def action(done: events.AnyAction, *, at: float | None = None) -> None:
    """A line for what the core told the shell to do."""
    tell = functools.partial(say, at=at)
    match done:
        case events.Note(record=record):
            tell(record.kind, record.text, group=record.group, level=LEVELS[severity_of(record.kind)])
        case events.Take(group=group, ballot=ballot):
            tell("take", f"take {group}, ballot {ballot}", group=group)
        case events.Drop(group=group, ballot=ballot, why=why):
            tell("drop", f"drop {group}, ballot {ballot}: {why}", group=group)
        case events.Farewell(group=group):
            tell("farewell", f"words that hand {group} over are ready", group=group, level=logging.DEBUG)
        case events.Prepare(group=group):
            tell("prepare", f"prepare to move {group}", group=group, level=logging.DEBUG)
        case events.Watch(group=group, on=on):
            tell("watch", f"{'ask' if on else 'stop asking'} who answers for {group}", group=group, level=logging.DEBUG)
        case events.Announce(group=group, why=why):
            tell("announce", f"announce {group} again: {why}", group=group)
        case events.Answer(status=status, text=text):
            tell("answer", text, level=logging.WARNING if status else logging.INFO)
        case events.Stopped(why):
            tell("stopped", why or "nothing is held any more", level=logging.ERROR if why else logging.INFO)
        case events.Send(beat=beat):
            tell("send", f"heartbeat {beat.seq}", level=logging.DEBUG)
        case events.Renew(group=group, until=until):
            tell("renew", f"renew {group} until {until:.3f}", group=group, level=logging.DEBUG)
        case events.Remember(memory):
            tell("remember", f"highest ballot round {memory.round}", level=logging.DEBUG)


@contextlib.contextmanager
def logging_to(*, node: str, level: str = "info", as_json: bool = False) -> Iterator[None]:
    """Log while inside; on leaving, what waits is written."""
    waiting = _Waiting()
    listener = logging.handlers.QueueListener(waiting.queue, _writer(node, as_json=as_json))
    root = logging.getLogger()
    before = root.level
    root.addHandler(waiting)
    root.setLevel(logging.WARNING)  # of libraries; our own say more
    logger.setLevel(LEVELS[level])
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(waiting)
        root.setLevel(before)
        with contextlib.suppress(queue.Full):  # a writer that is stuck for good: there is nothing to stop
            listener.stop()


class _Waiting(logging.handlers.QueueHandler):
    """Never waits itself."""

    def __init__(self) -> None:
        super().__init__(queue.Queue(MAX_WAITING))
        self._lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The sentence is made now, while what it speaks of is as it was; the traceback stays a field of its own."""
        ready = copy.copy(record)
        ready.msg, ready.args = record.getMessage(), None
        return ready

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self._lost:
                lost = f"{self._lost} lines of the log were lost: it could not be written fast enough"
                extra = {"EVENT": "lost"}
                self.queue.put_nowait(
                    logger.makeRecord(logger.name, logging.WARNING, "", 0, lost, (), None, extra=extra)
                )
                self._lost = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost += 1


def _writer(node: str, *, as_json: bool) -> logging.Handler:
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(node) if as_json else _KeyValue(node))
    if is_journal():
        if Path(journal.PLACE).is_socket():
            return journal.JournalHandler(node)
        handler.setFormatter(_Prioritised(node))
    return handler


class _Fields(logging.Formatter):
    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "node": self._node,
            "event": getattr(record, "EVENT", record.name),
            "group": getattr(record, "GROUP", ""),
            "text": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return {name: value for name, value in fields.items() if value}


class _KeyValue(_Fields):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_value(value)}" for name, value in self.fields(record).items())


class _Prioritised(_KeyValue):
    """systemd takes the number off, and gives the line that priority (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{journal.priority_of(record.levelno)}>{super().format(record)}"


class _Json(_Fields):
    def format(self, record: logging.LogRecord) -> str:
        return msgspec.json.encode(self.fields(record)).decode()


def _value(text: str) -> str:
    """Quoted where it would not be one word; control characters are escaped, so a line stays a line."""
    is_word = text.isprintable() and not set(text) & set(' "=\\')
    return text if is_word else msgspec.json.encode(text).decode()
