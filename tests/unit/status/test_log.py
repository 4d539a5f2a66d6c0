"""The log's lines, and that writing them never holds the agent up."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.core.event_kinds import Kind, Severity
from haagent.core.events import Drop, Note, Renew, Take
from haagent.core.messages import Ballot, Record
from haagent.status import journal, log

FULL = 1000  # lines: more than the queue of a socket has room for


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(journal, "PLACE", str(tmp_path / "journal"))
    monkeypatch.setattr(log, "is_journal", lambda: True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(journal.PLACE)
        listener.settimeout(10)
        yield listener


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_key_value(capsys: pytest.CaptureFixture[str]) -> None:
    with log.logging_to(node="A"):
        log.action(Take("web", Ballot(12, "A"), 99.0))
        log.action(Renew("web", 99.1))
        log.action(Drop("web", Ballot(12, "A"), 'said "no"\nand more'))
        log.action(Note(Record(1, 0.0, "failed", "web", "activation failed")))
    took, dropped, failed = lines(capsys)
    assert took.split(" ", 1)[1] == 'level=info node=A event=take group=web text="take web, ballot 12.A"'
    assert r'text="drop web, ballot 12.A: said \"no\"\nand more"' in dropped
    assert "level=warning node=A event=failed group=web" in failed


@pytest.mark.parametrize(
    ("kind", "level"), [("taken", "info"), ("gate", "warning"), ("lapsed", "error"), ("new", "info")]
)
def test_a_line_is_as_grave_as_its_kind(kind: str, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    with log.logging_to(node="A"):
        log.action(Note(Record(1, 0.0, kind, "web", "it is so")))
    assert f"level={level} node=A event={kind} group=web" in lines(capsys)[0]


@pytest.mark.parametrize("kind", Kind)
def test_the_journal_has_the_priority_of_the_kind(kind: Kind, journald: socket.socket) -> None:
    with log.logging_to(node="A"):
        log.action(Note(Record(1, 0.0, kind.value, "web", "it is so")))
    priority = {Severity.INFO: 6, Severity.WARNING: 4, Severity.ERROR: 3}[kind.severity]
    said = set(journald.recv(4096).decode().splitlines())
    assert {"MESSAGE=it is so", f"PRIORITY={priority}", f"EVENT={kind}", "GROUP=web", "NODE=A"} <= said


def test_a_journal_has_lines_with_line_ends(journald: socket.socket) -> None:
    with log.logging_to(node="A"):
        logging.getLogger("haagent.control").error("two\nlines")
    assert journald.recv(4096).startswith(b"MESSAGE\n" + bytes([9, 0, 0, 0, 0, 0, 0, 0]) + b"two\nlines\nPRIORITY=3\n")


def test_a_journal_that_does_not_read_stops_nobody(journald: socket.socket) -> None:
    """Its writer waits; everybody else goes on, and the lines are there when it reads again."""
    with log.logging_to(node="A"):
        for number in range(FULL):
            log.say("note", f"line {number}")
        said = [journald.recv(4096) for _ in range(FULL)]
    assert b"MESSAGE=line 999\n" in said[-1]


@pytest.mark.parametrize("kind", Kind)
def test_without_its_socket_too(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(journal, "PLACE", str(tmp_path / "nothing"))
    monkeypatch.setattr(log, "is_journal", lambda: True)
    with log.logging_to(node="A"):
        log.action(Note(Record(1, 0.0, kind.value, "web", "it is so")))
    (line,) = lines(capsys)
    priority = {Severity.INFO: 6, Severity.WARNING: 4, Severity.ERROR: 3}[kind.severity]
    assert line.startswith(f"<{priority}>time=")
    assert line.endswith(f'node=A event={kind} group=web text="it is so"')


def test_json_has_tracebacks_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with log.logging_to(node="A", as_json=True):
        try:
            raise ValueError("boom")
        except ValueError:
            logging.getLogger("haagent.control").exception("it failed")
    (line,) = lines(capsys)
    fields = json.loads(line)
    assert (fields["level"], fields["node"], fields["event"]) == ("error", "A", "haagent.control")
    assert fields["text"] == "it failed"
    assert fields["traceback"].endswith("ValueError: boom")


def test_debug_tells_what_each_heartbeat_does(capsys: pytest.CaptureFixture[str]) -> None:
    with log.logging_to(node="A", level="debug"):
        log.action(Renew("web", 99.1))
    assert "event=renew" in lines(capsys)[0]


def test_a_writer_that_is_stuck_loses_lines_and_says_how_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log, "MAX_WAITING", 3)
    stuck, started, drained = threading.Event(), threading.Event(), threading.Event()

    class Stuck(logging.StreamHandler):  # type: ignore[type-arg]
        def emit(self, record: logging.LogRecord) -> None:
            started.set()
            stuck.wait(10)
            super().emit(record)
            if record.getMessage() == "2":  # the last that found room
                drained.set()

    monkeypatch.setattr(log, "_writer", lambda *_, **__: Stuck())
    with log.logging_to(node="A"):
        log.say("first", "1")
        assert started.wait(10)
        for number in range(10):  # returns at once, although nothing is written
            log.say("more", str(number))
        stuck.set()
        assert drained.wait(10)
        log.say("last", "2")
    assert lines(capsys) == [
        "1",
        "0",
        "1",
        "2",
        "7 lines of the log were lost: it could not be written fast enough",
        "2",
    ]


def test_the_journal_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not log.is_journal()
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert log.is_journal()
