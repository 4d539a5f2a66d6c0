"""Waiting for a lab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.lab.errors import EarlyEnd, LabError
from haagent.lab.site import Site


def said(tmp_path: Path, outcomes: Iterator[bool | LabError], *, within_s: float = 0.05) -> str:
    def condition() -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, LabError):
            raise outcome
        return outcome

    with pytest.raises(LabError) as caught:
        Site(tmp_path).wait_for(condition, what="peace", within_s=within_s)
    return str(caught.value)


def again(outcome: bool | LabError, *first: bool | LabError) -> Iterator[bool | LabError]:
    yield from first
    while True:
        yield outcome


def test_a_time_out_names_what_was_wrong_last(tmp_path: Path) -> None:
    text = said(tmp_path, again(LabError("B is deaf"), LabError("A is mute")))
    assert text == "waited 0.05 s in vain for this: peace (B is deaf)"


def test_what_was_wrong_before_is_no_reason(tmp_path: Path) -> None:
    text = said(tmp_path, again(False, LabError("A is mute")))
    assert text == "waited 0.05 s in vain for this: peace"


def test_who_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    assert said(tmp_path, again(False, EarlyEnd("the agent of A ended")), within_s=60) == "the agent of A ended"


def test_what_is_so_in_the_end_is_enough(tmp_path: Path) -> None:
    Site(tmp_path).wait_for(again(True, False).__next__, what="peace")
