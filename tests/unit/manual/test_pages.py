"""The manual pages: one for each command, and nothing in them that troff takes for its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from haagent.cli.commands import COMMANDS
from manual import pages as manual_pages
from manual import roff

PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return dict(manual_pages.pages(PROJECT))


def test_every_command_has_a_page(pages: dict[str, str]) -> None:
    commands = [name for family in COMMANDS.values() for name in family]
    assert {f"haagent-{name}.8" for name in commands} | {"haagent.8", "haagent.yaml.5", "haagent.service.8"} == set(
        pages
    )
    for name in commands:
        assert roff.inline(f"`haagent-{name}`(8)") in pages["haagent.8"]
    assert ".SS" in pages["haagent-lab.8"]  # its own commands


def test_a_page_says_what_a_manual_says(pages: dict[str, str]) -> None:
    for part in ("SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"):
        assert f'.SH "{part}"' in pages["haagent.8"]
    move = pages["haagent-failover.8"]
    for part in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMON OPTIONS", "SEE ALSO"):
        assert f'.SH "{part}"' in move
    assert ".TP\n\\fB\\-\\-to NODE\\fR\n" in move  # copied, it is what is typed
    assert '.SH "COMMANDS"\n.SS "\\fBhaagent lab crash' in pages["haagent-lab.8"]


def test_troff_has_nothing_to_say(pages: dict[str, str], tmp_path: Path) -> None:
    program = shutil.which("groff")
    if program is None:
        pytest.skip("groff is not installed")
    for name, text in pages.items():
        words = [program, "-man", "-Tutf8", "-ww", "-z", "-Kutf8"]
        done = subprocess.run(words, input=text.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stderr.decode()) == (0, ""), name


@pytest.mark.parametrize(
    ("text", "is_written"),
    [
        ("plain", "plain"),
        (".dot first", "\\&.dot first"),
        ("'quote first", "\\&'quote first"),
        ("--wait and a\\b", "\\-\\-wait and a\\eb"),
        ("`code` and **bold**", "\\fBcode\\fR and \\fBbold\\fR"),
        ("see [the file](docs/x.md)", "see the file"),
        ("`.dot`", "\\fB\\&.dot\\fR"),
    ],
)
def test_a_line(text: str, is_written: str) -> None:
    assert roff.inline(text) == is_written


def test_a_document() -> None:
    text = """# Title

Two lines
of a paragraph.

## A part
- one
  item
- two

```
code -x
```
| key | default | meaning |
|---|---|---|
| `a` | 1 | either \\| or |
"""
    assert roff.markdown(text) == (
        ".PP\nTwo lines of a paragraph.\n"
        '.SH "A PART"\n'
        ".IP \\(bu 2\none item\n.IP \\(bu 2\ntwo\n"
        ".PP\n.RS 4\n.nf\ncode \\-x\n.fi\n.RE\n"
        ".TP\n\\fBa\\fR\n1; either | or\n"
    )
