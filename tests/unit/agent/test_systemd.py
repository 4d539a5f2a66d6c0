"""What systemd would receive."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from haagent.agent.systemd import AGAIN_S, TELL_S, Notifier
from tests.support.fakes import run_virtual


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield lambda: listener.recv(4096).decode()


def test_the_life_of_an_agent(manager) -> None:
    notifier = Notifier()
    notifier.ready()
    notifier.say("web is active on A;\n2 of 2 online")
    notifier.say("web is active on A;\n2 of 2 online")  # the same again: not sent
    notifier.alive()
    notifier.reloading()
    notifier.stopping()
    assert manager() == "READY=1"
    assert manager() == "STATUS=web is active on A; 2 of 2 online"
    assert manager() == "WATCHDOG=1"
    reloading, instant = manager().splitlines()
    assert reloading == "RELOADING=1"
    assert int(instant.removeprefix("MONOTONIC_USEC=")) > 0
    assert manager() == "STOPPING=1"


def test_what_has_changed_is_said_soon_and_once(manager) -> None:
    async def story(now) -> None:
        notifier = Notifier(sentence=lambda: f"holds {', '.join(held)}")
        for name in ("db", "web"):
            held.append(name)
            notifier.say_soon()
        await asyncio.sleep(TELL_S)
        notifier.ready()

    held: list[str] = []
    run_virtual(story)
    assert (manager(), manager()) == ("STATUS=holds db, web", "READY=1")


def test_one_that_does_not_read_keeps_nobody_waiting_and_hears_the_newest(manager) -> None:
    async def story(now) -> None:
        notifier = Notifier()
        notifier.ready()
        for number in range(1000):  # more than there is room for
            notifier.say(f"sentence {number}")
        notifier.reloading()
        notifier.ready()
        said = [manager()]
        while said[-1] != "READY=1" or len(said) == 1:
            said.append(manager())
            await asyncio.sleep(AGAIN_S)
        assert said[0] == "READY=1"
        assert said[-3] == "STATUS=sentence 999"
        assert said[-2].startswith("RELOADING=1")

    run_virtual(story)


def test_a_manager_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # the kernel finds a name
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + listener.getsockname()[1:].decode())
        Notifier().ready()
        assert listener.recv(4096) == b"READY=1"


def test_systemds_library_is_not_needed(manager, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("systemd", "systemd.daemon"):
        monkeypatch.setitem(sys.modules, name, None)
    Notifier().ready()
    assert manager() == "READY=1"


@pytest.mark.parametrize(
    ("pid", "usec", "expected"),
    [("me", "3000000", 1.5), ("", "3000000", 1.5), ("1", "3000000", None), ("me", "", None), ("me", "0", None)],
)
def test_watchdog(manager, monkeypatch: pytest.MonkeyPatch, pid: str, usec: str, expected: float | None) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "me" else pid)
    assert Notifier().watchdog_s == expected


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    notifier = Notifier()
    notifier.ready()
    assert notifier.watchdog_s is None
