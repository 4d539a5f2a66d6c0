"""The stories of design section 6, told by the core of today, compared with what was written down.

After an intended change: `GOLDEN=rewrite pytest tests/sim/test_stories.py`. Keep only a difference that you understand.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sim.story import Story, parse, play, stories


@pytest.mark.parametrize("path", stories(), ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    written = path.read_text()
    told = play(written)
    if os.environ.get("GOLDEN") == "rewrite":
        path.write_text(told)
    else:
        assert told == written


def test_every_story_says_what_it_is_about() -> None:
    for path in stories():
        assert path.read_text().startswith("# "), path


def test_a_block_is_comments_commands_and_what_they_produce() -> None:
    first, second = parse("# why\nstart A\n----\n 0.1 A x\n\nrun 1s\n")
    assert (first.commands, first.expected) == (["start A"], [" 0.1 A x"])
    assert first.text == ["# why", "start A"]
    assert (second.line, second.commands, second.expected) == (6, ["run 1s"], [])


def test_a_story_must_begin_with_its_cluster() -> None:
    with pytest.raises(AssertionError, match="begins with"):
        list(Story().perform("run 1s"))
