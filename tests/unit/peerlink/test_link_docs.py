"""docs/reference/wire.md says what the link does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from haagent.peerlink import MAX_MESSAGE, Cause, LinkSettings
from haagent.peerlink.connection import HELLO_TICKS, PING_TICKS, SILENT_TICKS, STUCK_TICKS
from haagent.peerlink.identity import SALT
from haagent.peerlink.link import FIRST_PAUSE, LAST_PAUSE, LASTED_TICKS, STRANGERS
from haagent.peerlink.messages import LAYOUT, MAX_HELLO, Hello

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "wire.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
TICK_S = msgspec.structs.fields(LinkSettings)[-1].default


def test_the_causes_table() -> None:
    rows = [f"| {cause} | {cause.meaning} |" for cause in Cause]
    table = PAGE.partition("<!-- link causes -->\n")[2].partition("<!-- /link causes -->")[0]
    assert table == "\n".join(["| cause | meaning |", "|---|---|", *rows]) + "\n"


@pytest.mark.parametrize(
    "words",
    [
        f"at most {MAX_MESSAGE}, before the hello is done {MAX_HELLO}",
        f"layout {LAYOUT}, cluster, node, the node at the other end, life, release",
        f"salt `{SALT.decode()}`",
        f"{FIRST_PAUSE * TICK_S * 1000:.0f} ms to {LAST_PAUSE * TICK_S:.0f} s, growing",
        f"{FIRST_PAUSE * TICK_S * 1000:.0f} ms after a link that has lasted {LASTED_TICKS * TICK_S:.0f} s",
        f"A ping is sent after {PING_TICKS} ticks",
        f"nothing was heard for {SILENT_TICKS} is over, and one that has taken nothing for {STUCK_TICKS}",
        f"has {HELLO_TICKS} to say who it is",
        f"At most {STRANGERS} strangers are waited for",
        f"at most {STRANGERS} are let in in each tick",
    ],
)
def test_the_numbers(words: str) -> None:
    assert words in TEXT


def test_the_hello_is_what_is_written() -> None:
    assert Hello.__struct_fields__ == ("layout", "cluster", "node", "to", "life", "release")
    assert TICK_S == 0.5
