"""docs/reference/wire.md says what the code does."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from haagent.core import wire

DOCUMENT = (Path(__file__).parents[3] / "docs" / "reference" / "wire.md").read_text(encoding="utf-8")


def section(mark: str) -> str:
    return DOCUMENT.partition(f"<!-- {mark} -->\n")[2].partition(f"<!-- /{mark} -->")[0]


def test_the_header_table() -> None:
    lines = ["| offset | bytes | field | meaning |", "|---|---|---|---|"]
    offset = 0
    for field in wire.HEADER:
        size = struct.calcsize(">" + field.format)
        lines.append(f"| {offset} | {size} | {field.name} | {field.meaning} |")
        offset += size
    assert section("header") == "\n".join(lines) + "\n"


def test_the_causes_table() -> None:
    rows = [f"| {cause} | {cause.meaning} |" for cause in wire.Cause]
    assert section("causes") == "\n".join(["| cause | meaning |", "|---|---|", *rows]) + "\n"


@pytest.mark.parametrize(
    "words",
    [
        f"at most {wire.MAX_DATAGRAM} bytes of UDP payload",
        f"up to {wire.MAX_PARTS} slices",
        f"up to {wire.LONGEST_DATAGRAM} bytes",
        f"a trailer of {wire.TAG_BYTES} bytes (sealed: the tag) or {wire.CRC_BYTES} bytes",
    ],
)
def test_the_numbers(words: str) -> None:
    assert words in DOCUMENT
