"""Files that commands save: whole or not at all, for their owner alone, and not over another."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from haagent.cli.outcome import Failure
from haagent.cli.saving import saved


def save(file: Path, data: bytes, *, replaces: bool = False) -> None:
    with saved(str(file), replaces=replaces) as opened:
        opened.write(data)


def test_for_its_owner_alone_and_not_over_another(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    save(file, b"one")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(Failure, match="--force"):
        save(file, b"two")
    file.chmod(0o644)
    save(file, b"three", replaces=True)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"three", 0o600)
    with pytest.raises(Failure, match="cannot be written: No such file"):
        save(tmp_path / "none" / "saved", b"")


def test_one_that_somebody_makes_meanwhile_stays(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    with pytest.raises(Failure, match="--force"), saved(str(file), replaces=False):
        file.write_text("theirs")
    assert file.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["saved"]


def test_what_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "saved"
    save(file, b"one")

    def interrupted() -> None:
        with saved(str(file), replaces=True) as opened:
            opened.write(b"two")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["saved"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    for file in (tmp_path, tmp_path / "pipe", tmp_path / "nowhere", Path("/dev/null")):
        with pytest.raises(Failure, match=r"exists\. Choose another name\.$"):
            save(file, b"", replaces=True)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
