"""What a local user cannot do to the agent through its directories, and what of them is refused."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from haagent.agent import state_file
from haagent.cli import main
from haagent.control.directories import Unsafe, checked_directory
from haagent.control.place import LOCK, SOCKET, run_lock
from haagent.control.server import _listen
from haagent.core.settings import Memory, Order
from haagent.doctor import files
from haagent.doctor.context import Subject
from haagent.doctor.finding import Severity

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
SOMEBODY, GROUP = 4000, 4001
CONFIG = """
cluster: shop
nodes: {A: {address: 10.20.1.10}, B: {address: 10.20.1.11}}
heartbeat: {insecure: true, interfaces: [lo]}
groups: {web: {addresses: [10.20.1.100/24], interface: lo}}
"""


@pytest.fixture
def directory(place: Path) -> Path:
    made = place / "of agent"
    made.mkdir(mode=0o755)
    return made


def as_somebody(do: Callable[[], None]) -> bool:
    """Whether they could: in a process of their own."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.setgroups([])
            os.setgid(SOMEBODY)
            os.setuid(SOMEBODY)
            do()
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


@needs_root
class TestLock:
    def test_somebody_else_cannot_hold_it(self, directory: Path) -> None:
        with run_lock(str(directory)):
            pass

        def hold() -> None:
            fcntl.flock(os.open(directory / LOCK, os.O_RDONLY), fcntl.LOCK_SH)

        assert not as_somebody(hold)

    def test_one_of_an_earlier_release_is_closed_to_others(self, directory: Path) -> None:
        (directory / LOCK).touch(mode=0o644)
        with run_lock(str(directory)):
            assert stat.S_IMODE((directory / LOCK).stat().st_mode) == 0o600

    def test_one_of_somebody_else_is_refused(self, directory: Path) -> None:
        (directory / LOCK).touch()
        os.chown(directory / LOCK, SOMEBODY, SOMEBODY)
        with pytest.raises(Unsafe, match=f"user {SOMEBODY}") as refused, run_lock(str(directory)):
            pass
        do(refused.value.mend)
        with run_lock(str(directory)):
            pass

    @pytest.mark.parametrize("make", [os.mkfifo, lambda file: os.symlink("/etc/hostname", file), os.mkdir])
    def test_what_is_no_file_is_refused(self, directory: Path, make: Callable[[Path], None]) -> None:
        make(directory / LOCK)
        with pytest.raises(Unsafe, match=LOCK), run_lock(str(directory)):
            pass


def do(command: str) -> None:
    subprocess.run(["sh", "-c", command], check=True)


def to_somebody(directory: Path) -> None:
    os.chown(directory, SOMEBODY, SOMEBODY)


def writable_by_others(directory: Path) -> None:
    directory.chmod(0o1777)


def writable_by_the_group(directory: Path) -> None:
    directory.chmod(0o775)


def theirs_and_writable(directory: Path) -> None:
    writable_by_others(directory)
    to_somebody(directory)


def link(directory: Path) -> None:
    directory.rename(directory.with_name("elsewhere"))
    directory.symlink_to("elsewhere")


def link_to_nothing(directory: Path) -> None:
    directory.rmdir()
    directory.symlink_to("nowhere")


def file(directory: Path) -> None:
    directory.rmdir()
    directory.touch()


@needs_root
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (to_somebody, f"belongs to user {SOMEBODY}"),
        (writable_by_others, "mode 1777"),
        (writable_by_the_group, "mode 0775"),
        (theirs_and_writable, f"belongs to user {SOMEBODY}"),
        (link, "is a link"),
        (link_to_nothing, "is a link"),
        (file, "is not a directory"),
    ],
)
class TestUnsafe:
    def test_is_refused_until_its_command_is_done(
        self, directory: Path, spoil: Callable[[Path], None], said: str
    ) -> None:
        spoil(directory)
        with pytest.raises(Unsafe, match=said) as refused, run_lock(f"{directory}/"):
            pass
        assert shlex.quote(str(directory)) in refused.value.mend
        do(refused.value.mend)
        with run_lock(str(directory)):
            pass

    @pytest.mark.parametrize("option", ["--run-dir", "--state-dir"])
    def test_the_agent_does_not_start_and_says_it(
        self,
        place: Path,
        directory: Path,
        spoil: Callable[[Path], None],
        said: str,
        option: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (place / "shop.yaml").write_text(CONFIG)
        spoil(directory)
        others = {"--run-dir": str(place / "run"), "--state-dir": str(place / "state")} | {option: str(directory)}
        words = [
            "--config",
            str(place / "shop.yaml"),
            "--node",
            "A",
            *(word for pair in others.items() for word in pair),
        ]
        assert main(["run", *words]) == 1
        told = capsys.readouterr().err
        assert said in told
        with pytest.raises(Unsafe) as refused:
            checked_directory(str(directory))
        assert refused.value.mend in told

    def test_the_doctor_says_the_same(self, directory: Path, spoil: Callable[[Path], None], said: str) -> None:
        spoil(directory)
        with pytest.raises(Unsafe) as refused:
            checked_directory(str(directory))
        subject = Subject(None, run_dir=str(directory), state_dir=str(directory))
        for look in (files.run_dir, files.state_dir):
            (finding,) = look(subject)
            assert (finding.severity, finding.what, finding.mend) == (
                Severity.ERROR,
                refused.value.what,
                refused.value.mend,
            )
            assert said in finding.what


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o2755])
def test_what_the_unit_makes_is_taken(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    with run_lock(str(directory)):
        pass
    (finding,) = files.run_dir(Subject(None, run_dir=str(directory)))
    assert finding.severity is Severity.OK


@needs_root
def test_the_agents_user_may_own_them(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_somebody(directory)
    monkeypatch.setattr("haagent.config.secret.account", lambda: (SOMEBODY, SOMEBODY))
    with run_lock(str(directory)):
        pass


def test_what_is_not_there_yet_is_made(place: Path) -> None:
    (finding,) = files.run_dir(Subject(None, run_dir=str(place / "run")))
    assert finding.severity is Severity.OK
    before = os.umask(0)
    try:
        with run_lock(str(place / "run")):
            assert stat.S_IMODE((place / "run").stat().st_mode) == 0o755
            assert stat.S_IMODE((place / "run" / LOCK).stat().st_mode) == 0o600
    finally:
        os.umask(before)


@needs_root
def test_orders_of_somebody_else_are_not_followed(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory(orders=(Order("maintenance", 1, "A", on=True),))
    state_file.save(str(directory), memory)
    assert state_file.load(str(directory)) == memory
    os.chown(directory / state_file.NAME, SOMEBODY, SOMEBODY)
    assert state_file.load(str(directory)) == Memory()
    assert f"belongs to user {SOMEBODY}" in caplog.text


class TestSocket:
    def test_has_its_mode_and_group_from_the_first_moment(self, directory: Path) -> None:
        before = os.umask(0o022)
        try:
            with _listen(str(directory), GROUP if os.geteuid() == 0 else None):
                found = (directory / SOCKET).stat()
            assert stat.S_IMODE(found.st_mode) == 0o660
            if os.geteuid() == 0:
                assert (found.st_uid, found.st_gid) == (0, GROUP)
            assert os.umask(0o022) == 0o022
            assert os.getegid() == os.getgid()
        finally:
            os.umask(before)

    @needs_root
    def test_a_group_that_a_user_namespace_lacks_is_done_without(self, directory: Path) -> None:
        code = f"from haagent.control.server import _listen; _listen({str(directory)!r}, {GROUP})"
        subprocess.run(["unshare", "--user", "--map-root-user", sys.executable, "-c", code], check=True)
        found = (directory / SOCKET).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, 0)

    def test_nothing_that_takes_its_place_is_given_away(
        self, directory: Path, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        victim = place / "victim"
        victim.touch(mode=0o600)

        class Raced(socket.socket):
            def bind(self, path: str) -> None:  # type: ignore[override]
                super().bind(path)
                os.unlink(path)
                os.symlink(victim, path)

        monkeypatch.setattr(socket, "socket", Raced)
        with _listen(str(directory), GROUP if os.geteuid() == 0 else None):
            found = victim.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o600, os.getgid())
