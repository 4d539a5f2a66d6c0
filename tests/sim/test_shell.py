"""The simulator sees the shell: with the agents' own activation the stories come to the same end as without, and
deliberate bugs in it are caught by seeds.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from haagent.core.group import counting, ownership
from haagent.gate import ruleset
from haagent.gate.gate import Gate
from tests.sim import mutants, whole
from tests.sim.invariants import Violation
from tests.sim.schedules import first_that_shows, run_seed
from tests.sim.story import parse, play, stories

PUT_BACK = "put_back"  # a snapshot has nothing of the activation in it
SAYS = re.compile(r"\s*[\d.]+ (?P<host>\S+) (?P<what>(taken|dropped) \S+|(answers|refuses): .*)")
ASKED = re.compile(r"(?!\s*[\d.]+ )")  # `who`, `why`, `voters`


def _caught(first: int, **options: bool) -> int | None:
    return first_that_shows("both answer", range(first, first + 150), has_shell=True, **options)


def test_a_gate_that_is_believed_to_be_shut_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the release is said while traffic arrives."""
    monkeypatch.setattr(Gate, "shut", lambda self, addresses: None)
    monkeypatch.setattr(Gate, "holds_back", lambda self, addresses: True)
    assert _caught(0) is not None


def test_a_gate_that_opens_however_late_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.open_a_gate_however_late(monkeypatch)
    assert _caught(300) is not None


def test_a_gate_that_goes_with_whoever_leaves_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.leave_without_a_gate(monkeypatch)
    # Something must be hidden, or be added by others, in the last moment. Begin near a schedule that has it.
    assert _caught(300, has_freezes=True, has_guardians=True) is not None


def held_up_before_it_speaks() -> None:
    """In `available` B holds, and A has just started. B decides, and its kernel holds it up for a lease before it has
    sent the heartbeat: A has not heard of the lease that B counts on."""
    run_seed(3_000_025, has_shell=True, has_moves=True)


def test_what_a_node_that_has_just_started_has_not_heard_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    held_up_before_it_speaks()
    monkeypatch.setattr(counting, "_heard_by_starters", lambda *_: float("inf"))
    with pytest.raises(Violation, match="both answer"):
        held_up_before_it_speaks()


def reloaded_while_the_kernel_lets_nothing_go() -> None:
    """C has another file, which takes an address from the group that it holds, while the kernel neither shuts its gate
    nor removes addresses. D has that file too, and would serve it in another group."""
    run_seed(4_001_253, has_shell=True, has_moves=True, has_slews=True)


def test_what_a_reload_could_not_take_is_named_for_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    reloaded_while_the_kernel_lets_nothing_go()
    monkeypatch.setattr(ownership, "linger", lambda *_: None)
    with pytest.raises(Violation, match="both answer for address 2"):
        reloaded_while_the_kernel_lets_nothing_go()


def test_addresses_that_are_there_before_the_gate_knows_them_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A successor adds them ahead, because its gate is shut."""
    monkeypatch.setattr(ruleset, "gate", lambda addresses: iter(()))
    assert _caught(0) is not None


@pytest.mark.parametrize("seed", range(5))  # one of each family
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    assert run_seed(seed, has_shell=True).transcript == run_seed(seed, has_shell=True).transcript


@pytest.mark.parametrize("path", [path for path in stories() if path.stem != PUT_BACK], ids=lambda path: path.stem)
def test_a_story_comes_to_the_same_with_the_agents_own_activation(path: Path) -> None:
    """To the moment it does not: the kernel's work takes another time."""
    written = path.read_text()
    assert _outcome(play(written, whole.World)) == _outcome(written)


def _outcome(told: str) -> tuple[list[str], dict[str, list[str]]]:
    """What was asked and was so, and what each host has said of what it does."""
    lines = [line for block in parse(told) for line in block.expected]
    said: dict[str, list[str]] = {}
    for match in filter(None, map(SAYS.match, lines)):
        said.setdefault(match["host"], []).append(match["what"])
    return [line for line in lines if ASKED.match(line)], said
