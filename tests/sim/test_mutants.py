"""The simulator has teeth: deliberate bugs in the core are caught.

Each mutant is a mistake that somebody could make and whose effect no reader would see. A simulator that lets one of
them pass would be worth nothing, so this is the test of the test.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from haagent.core import clocks, identity, placement, votes
from haagent.core.events import AnyAction, Farewell
from haagent.core.group.state import Group
from haagent.core.membership import Newest, Peer
from haagent.core.messages import Heartbeat
from haagent.core.node import Node
from tests.sim import mutants
from tests.sim.invariants import Violation
from tests.sim.schedules import first_that_shows, run_seed
from tests.sim.story import play, stories
from tests.sim.world import Host, World


def _caught(first: int = 0, *, what: str = "both answer", **options: bool) -> int | None:
    return first_that_shows(what, range(first, first + 1_000), **options)


def test_voting_inside_a_live_lease_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.vote_inside_a_live_lease(monkeypatch)
    assert _caught() is not None


def test_missing_restart_silence_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.be_silent_after_no_restart(monkeypatch)
    # It takes a restart within one lease beside a cut: about one schedule in a hundred. Begin near one that has it.
    assert _caught(first=600) is not None


def test_a_lease_counted_from_receipt_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.count_from_receipt(monkeypatch)
    assert _caught() is not None


def test_a_farewell_before_the_address_is_gone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell says it at once, and not when what it speaks of is done."""
    perform = World._perform

    def hasty(self: World, host: Host, action: AnyAction) -> None:
        if isinstance(action, Farewell):
            self._say(host, action.beat)
        else:
            perform(self, host, action)

    monkeypatch.setattr(World, "_perform", hasty)
    # The successor has to be quicker than the address: about one schedule in five hundred. Begin near one that has it.
    assert _caught(first=6_300) is not None


def test_last_words_before_the_address_is_gone_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.speak_before_the_end(monkeypatch)
    assert _caught(has_guardians=True) is not None


def test_leases_that_go_by_the_steered_clock_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.count_as_steered(monkeypatch)
    # It takes a cut within a lease of a step: about one schedule in two hundred. Begin near one that has it.
    assert _caught(first=245, has_slews=True) is not None


def test_a_gate_that_knows_nothing_of_a_clock_that_may_be_steered_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a story, and by a seed."""
    mutants.tell_the_gate_all(monkeypatch)
    with pytest.raises(Violation, match="both answer"):
        play(next(path for path in stories() if path.stem == "steered_clock").read_text())
    # It takes an agent that freezes around a step: about one schedule in five hundred. Begin near one that has it.
    assert _caught(first=950, has_slews=True) is not None


def test_a_node_that_goes_on_with_a_clock_beyond_the_bound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    written = next(path for path in stories() if path.stem == "steered_clock").read_text()
    monkeypatch.setattr(clocks, "advance", lambda state, now: None)
    assert play(written) != written


def test_a_failback_that_knows_nothing_of_weights_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """It undoes what they have done, and they what it has done, without end."""
    genuine = placement.should_yield

    def blind(group, holder, candidates):  # type: ignore[no-untyped-def]
        return genuine(group, holder, [msgspec.structs.replace(one, penalty=0) for one in candidates])

    monkeypatch.setattr(placement, "should_yield", blind)
    # It takes automatic failback, and penalties that matter to it: one schedule in fifty. Begin near one that has it.
    assert _caught(first=150, what="what is where it should be moves", has_weights=True) is not None


def test_leaving_addresses_in_a_maintenance_that_nobody_has_heard_of_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.leave_unheard(monkeypatch)
    assert _caught(has_freezes=True) is not None


def test_taking_what_may_have_been_left_in_a_maintenance_that_is_over_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutants.keep_for_nobody(monkeypatch)
    assert _caught(has_freezes=True) is not None


def test_a_slice_that_is_taken_for_the_whole_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of the other groups is lost with each: their votes are never seen together."""
    genuine = Peer.take_in

    def forgetful(self: Peer, beat: Heartbeat) -> None:
        self.groups, self.told = {}, {}
        genuine(self, beat)

    monkeypatch.setattr(Peer, "take_in", forgetful)
    assert _caught(what="", has_slices=True) is not None


def test_of_a_heartbeat_only_the_first_slice_is_read_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replay rule as it was when a heartbeat was one thing."""

    def takes(self: Newest, beat: Heartbeat) -> bool:
        is_new, self.seq = beat.seq > self.seq, max(self.seq, beat.seq)
        self.parts |= {beat.part}
        return is_new

    monkeypatch.setattr(Newest, "takes", takes)
    assert _caught(what="nobody answers", has_slices=True) is not None


def test_a_penalty_that_is_not_told_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Group.beat
    monkeypatch.setattr(Group, "beat", lambda group, now: msgspec.structs.replace(genuine(group, now), penalty=0))
    assert _caught(what="elsewhere", has_weights=True) is not None


def test_a_life_that_does_not_know_that_it_was_put_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads what it says, and it never learns why."""
    written = next(path for path in stories() if path.stem == "put_back").read_text()
    assert play(written).endswith("web: A\n")
    monkeypatch.setattr(identity, "hear", lambda state, now, beat: None)
    assert play(written).endswith("web: nobody\n")


def test_a_survivor_that_listens_after_every_stall_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """In `consistent`, where it need not: one that stalls all the time takes nothing."""
    written = next(path for path in stories() if path.stem == "stalled_survivor").read_text()
    assert play(written).endswith("web: B\n")
    genuine = Node._notice_stall

    def listening(self: Node, now: float) -> None:
        deadline = self.state.deadline
        genuine(self, now)
        if now > deadline + self.state.settings.interval_s:
            self.state.listen_until = now + self.state.settings.lease_s

    monkeypatch.setattr(Node, "_notice_stall", listening)
    assert play(written).endswith("web: nobody\n")


@pytest.mark.parametrize("without_a_rule", [mutants.notice_no_twin, mutants.stand_by, mutants.forgive_the_silent])
@pytest.mark.parametrize("story", ["doubled_node", "doubled_witness"])
def test_a_life_that_does_not_stand_down_is_caught(
    story: str, without_a_rule: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = next(path for path in stories() if path.stem == story).read_text()
    without_a_rule(monkeypatch)
    assert _goes_wrong(written)


def _goes_wrong(written: str) -> bool:
    """The elder does not go on as if nothing were the matter, or both serve."""
    try:
        return play(written) != written
    except Violation as violation:
        return "both answer" in str(violation)


def test_a_vote_for_one_of_two_that_began_at_the_same_time_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a story, and by a seed that had two leaders."""
    mutants.vote_for_one_of_two(monkeypatch)
    written = next(path for path in stories() if path.stem == "doubled_at_once").read_text()
    assert play(written) != written
    with pytest.raises(Violation, match="both answer"):
        run_seed(2_000_427, has_twins=True, has_slews=True)


def test_the_vote_of_a_life_whose_elder_was_heard_a_moment_ago_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """T says that it is B. B holds, and is frozen before anybody can tell that they are two; T is silent for a lease
    from its own start, and B's lease has begun later."""
    run_seed(5_000_111, has_twins=True, has_slews=True, has_guardians=True)
    monkeypatch.setattr(votes, "_is_outlived", lambda *_: False)
    mutants.vote_before_the_elder_is_known(monkeypatch)  # A has started a moment ago, and hears both
    with pytest.raises(Violation, match="both answer"):
        run_seed(5_000_111, has_twins=True, has_slews=True, has_guardians=True)


def test_a_maintenance_of_which_others_were_told_by_others_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three files do not name A any more, which stops in a maintenance that two of them know of by B."""
    run_seed(8_100_127, has_edits=True, has_slews=True, has_freezes=True)
    mutants.count_who_was_told_by_others(monkeypatch)
    with pytest.raises(Violation, match="both answer"):
        run_seed(8_100_127, has_edits=True, has_slews=True, has_freezes=True)


@pytest.mark.parametrize(
    ("seed", "without_a_rule"),
    [(6_000_450, mutants.keep_for_a_name), (8_000_265, mutants.vote_before_the_elder_is_known)],
)
def test_a_twin_is_caught_that(
    seed: int, without_a_rule: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speaks for what its namesake has left in place; or has the vote of a node that has just met it, and has not heard
    the elder for longer than a lease."""
    run_seed(seed, has_twins=True, has_freezes=True)
    without_a_rule(monkeypatch)
    with pytest.raises(Violation, match="both answer"):
        run_seed(seed, has_twins=True, has_freezes=True)


def test_a_twin_that_nobody_notices_is_caught_by_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    mutants.notice_no_twin(monkeypatch)
    assert _caught(has_twins=True) is not None
