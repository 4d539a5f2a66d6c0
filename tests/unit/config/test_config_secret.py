"""A secret is for root and the agent's user: read by whom, from where, and when a copy of it is no longer good."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from haagent.config import keys as key_files
from haagent.config import write_key
from haagent.config.secret import SecretRefused, read_secret

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@contextmanager
def somebody_else() -> Iterator[None]:
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def key(place: Path) -> Path:
    file = place / "cluster.key"
    file.write_text("as it was\n")
    file.chmod(0o400)
    return file


@pytest.fixture
def copy(place: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What systemd makes of it at the start of the service. With an access list its mode looks open to the group."""
    credentials = place / "credentials"
    credentials.mkdir()
    copied = credentials / key.name
    copied.write_text(key.read_text())
    copied.chmod(0o440)
    os.chown(copied, 0, NOBODY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    return copied


def read(file: Path) -> bytes:
    return read_secret(str(file), origin="make one")


def test_what_is_not_there_is_said_to_be_made(place: Path) -> None:
    with pytest.raises(SecretRefused, match=r"^does not exist; make one$"):
        read(place / "cluster.key")


@needs_root
def test_who_may_not_read_it_is_told_whose_it_should_be(key: Path) -> None:
    with somebody_else(), pytest.raises(SecretRefused, match=f"cannot be read.*chown haagent {key}"):
        read(key)


@needs_root
class TestCopy:
    def test_serves_who_may_not_read_the_file(self, key: Path, copy: Path) -> None:
        with somebody_else():
            assert read(key) == b"as it was\n"

    def test_is_not_used_by_who_can_read_the_file(self, key: Path, copy: Path) -> None:
        copy.write_text("something else\n")
        assert read(key) == b"as it was\n"

    def test_does_not_hide_that_the_file_is_missing(self, key: Path, copy: Path) -> None:
        key.unlink()
        with somebody_else(), pytest.raises(SecretRefused, match="does not exist"):
            read(key)

    def test_is_refused_when_the_file_has_changed_since(self, key: Path, copy: Path) -> None:
        with somebody_else():
            read(key)
        key.write_text("exchanged\n")
        with somebody_else(), pytest.raises(SecretRefused, match=f"has changed since.*chown haagent {key}"):
            read(key)
        os.chown(key, NOBODY, NOBODY)
        with somebody_else():
            assert read(key) == b"exchanged\n"

    def test_of_another_file_is_no_copy(self, place: Path, copy: Path) -> None:
        other = place / "other.key"
        other.write_text("")
        other.chmod(0o400)
        with somebody_else(), pytest.raises(SecretRefused, match="cannot be read"):
            read(other)


@needs_root
class TestOwner:
    def test_the_agents_user_may_have_it_when_root_looks(self, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        os.chown(key, NOBODY, NOBODY)
        with pytest.raises(SecretRefused, match=f"belongs to user {NOBODY}"):
            read(key)
        monkeypatch.setattr("haagent.config.secret.account", lambda: (NOBODY, NOBODY))
        assert read(key) == b"as it was\n"

    def test_a_key_made_by_root_is_given_to_the_agents_user(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(key_files, "account", lambda: (NOBODY, NOBODY))
        file = place / "made.key"
        write_key(str(file))
        found = file.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, 0o400)
        write_key(str(file), replace=True)
        assert stat.S_IMODE(file.stat().st_mode) == 0o400
