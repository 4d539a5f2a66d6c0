"""docs/reference says what the commands and the options declare."""

from __future__ import annotations

from pathlib import Path

from manual import reference

PROJECT = Path(__file__).parents[3]
CURE = "`make docs` brings it up to date"


def test_the_commands_are_up_to_date() -> None:
    assert (PROJECT / reference.COMMANDS_FILE).read_text() == reference.manual(), CURE


def test_the_options_are_up_to_date() -> None:
    document = (PROJECT / reference.OPTIONS_FILE).read_text()
    assert document == reference.with_options(document), CURE


def test_the_commands_of_the_session_store_are_up_to_date() -> None:
    assert (PROJECT / reference.SESSIONS_FILE).read_text() == reference.session_commands(), CURE
