"""What the trials of the store count as lost."""

from __future__ import annotations

from pathlib import Path

from trials.store.client import NOTE
from trials.store.trials import missing_of


def noted(path: Path, *answers: tuple[int, int, int]) -> Path:
    path.write_bytes(b"".join(NOTE.pack(*answer) for answer in answers) + b"half a note")
    return path


def test_a_write_is_lost_whose_session_has_less_than_that(tmp_path: Path) -> None:
    path = noted(tmp_path / "notes", (0, 1, 1_000_000), (0, 21, 2_000_000), (1, 2, 3_000_000), (0, 41, 9_000_000))
    there: dict[str, list[object]] = {"session:0-1": ["41  ", 0], "session:1-2": ["2", 0]}
    assert missing_of(path, there) == (4, 0, 0.0)
    there["session:0-1"] = ["21", 0]
    assert missing_of(path, there) == (4, 1, 0.0)
    del there["session:0-1"]
    assert missing_of(path, there) == (4, 3, 8.0)
    there["session:1-2"] = ["3", 0]  # one that nobody was told of
    assert missing_of(path, there) == (4, 3, 8.0)
