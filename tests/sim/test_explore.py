"""Everything that may come of a fault is looked at, and what looks has teeth: it finds deliberate bugs, and how."""

from __future__ import annotations

import pytest

from tests.sim import mutants
from tests.sim.explore import BEGINNINGS, Result, search
from tests.sim.explorer import FAULTS, Explorer

CUT = "A serves, A and B are cut from each other"


def look(beginning: str, *kinds: str, faults: int, depth: int | None = None) -> Result:
    explorer = Explorer(kinds or FAULTS)
    root = BEGINNINGS[beginning](explorer)._replace(left=faults)
    return search(explorer, root, max_depth=depth)


def test_whatever_comes_of_one_fault_two_never_serve() -> None:
    result = look("A serves", faults=1)
    assert not result.trace, "\n".join(result.trace)
    assert result.waiting == 0  # everything was seen, however long it goes on


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_whatever_comes_of_two_faults_two_do_not_soon_serve(beginning: str) -> None:
    """`make explore` goes on from there."""
    result = look(beginning, faults=2, depth=5)
    assert not result.trace, "\n".join(result.trace)
    assert result.states > 1_000


def test_a_voter_that_accepts_two_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.vote_inside_a_live_lease(monkeypatch)
    result = look(CUT, faults=1, depth=10)
    assert "B SERVES" in result.trace[-1]


def test_a_voter_that_forgets_what_it_has_accepted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.be_silent_after_no_restart(monkeypatch)
    result = look(CUT, "crash", "hold", faults=2, depth=15)
    assert any("W is started" in line for line in result.trace)
    assert "B SERVES" in result.trace[-1]


def test_a_lease_counted_from_receipt_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.count_from_receipt(monkeypatch)
    result = look(CUT, "cut", "hold", faults=2, depth=25)
    assert any("A>W" in line and "held up" in line for line in result.trace)  # what W answers is older than its answer
    assert "B SERVES" in result.trace[-1]
