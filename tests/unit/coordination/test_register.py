"""What may be written under one group's key, and when. The clock is a number, etcd is what the test says it answers."""

from __future__ import annotations

import msgspec
import pytest

from haagent.coordination.register import RENEW, Outcome, Register, Write, owners, proofs
from haagent.coordination.stored import UNREADABLE, Stored, decode
from haagent.core.events import Claim, Denied, Freed, Granted
from haagent.core.messages import Ballot

LEASE_S = 1.0
MINE, THEIRS = 7, 8  # lives


def register() -> Register:
    return Register("web", node="A", boot=MINE, lease_s=LEASE_S)


def claim(round_: int, *freed: Freed) -> Claim:
    return Claim("web", Ballot(round_, "A"), 0.0, freed)


def stored(round_: int, node: str = "B", boot: int = THEIRS, **changes: object) -> Stored:
    return msgspec.structs.replace(Stored(round_, node, boot, beat=1, lease_ms=1000), **changes)


def learn(one: Register, now: float, revision: int, value: Stored | None = None) -> None:
    one.learn(now, revision=revision if value else 0, value=value.encode() if value else b"", as_of=revision)


def due(one: Register, now: float) -> Write:
    write = one.write(now)
    assert write is not None
    return write


def held(now: float = 0.0, round_: int = 5) -> Register:
    """Bound to us since `now`, at revision 10."""
    one = register()
    learn(one, now - LEASE_S, 9)
    one.want(claim(round_))
    assert one.written(now, due(one, now), sent_at=now, as_of=10) == Granted("web", Ballot(round_, "A"), now)
    return one


def test_nothing_is_written_before_the_key_was_seen() -> None:
    one = register()
    one.want(claim(5))
    assert (one.write(0.0), one.denial(0.0), one.due(0.0)) == (None, None, float("inf"))


def test_what_is_not_there_may_have_been_lost_and_is_waited_for() -> None:
    one = register()
    learn(one, 3.0, 9)
    one.want(claim(5))
    assert one.write(3.99) is None
    assert one.due(3.5) == 4.0
    written = due(one, 4.0)
    assert (written.revision, written.value.ballot, written.value.boot) == (0, Ballot(5, "A"), MINE)


def test_a_value_is_replaced_after_it_was_seen_unchanged_for_a_lease() -> None:
    one = register()
    learn(one, 3.0, 9, stored(4))
    one.want(claim(5))
    learn(one, 3.9, 10, stored(4, beat=2))
    assert one.write(4.89) is None
    assert due(one, 4.9).revision == 10


def test_the_longer_of_the_two_leases_counts() -> None:
    one = register()
    learn(one, 0.0, 9, stored(4, lease_ms=3000))
    one.want(claim(5))
    assert one.write(2.9) is None
    assert one.write(3.0) is not None


def test_seeing_the_same_again_does_not_prolong_it() -> None:
    one = register()
    learn(one, 0.0, 9, stored(4))
    one.want(claim(5))
    one.learn(0.9, revision=9, value=stored(4).encode(), as_of=30)
    assert one.write(1.0) is not None


def test_what_describes_an_older_state_is_ignored() -> None:
    one = register()
    learn(one, 0.0, 12, stored(4, released=True))
    learn(one, 0.1, 11, stored(4))
    one.want(claim(5))
    assert due(one, 0.1).revision == 12
    one.learn(0.2, revision=0, value=b"", as_of=11)  # a read that was overtaken: not there yet
    assert one.stored is not None


def test_what_was_released_is_taken_at_once_and_the_release_under_way_is_no_obstacle() -> None:
    one = register()
    learn(one, 0.0, 9, stored(4, released=True))
    one.want(claim(5))
    assert due(one, 0.0).instead == stored(4, released=True).encode()


@pytest.mark.parametrize(
    ("freed", "counts"),
    [
        (Freed(Ballot(4, "B"), THEIRS), True),
        (Freed(Ballot(9, "B"), THEIRS), True),
        (Freed(Ballot(3, "B"), THEIRS), False),  # it has claimed anew since
        (Freed(Ballot(9, "B"), THEIRS + 1), False),  # another life's word
        (Freed(Ballot(9, "C"), THEIRS), False),
    ],
)
def test_the_holders_own_word_frees_its_key_for_that_life(freed: Freed, *, counts: bool) -> None:
    one = register()
    learn(one, 0.0, 9, stored(4))
    one.want(claim(10, freed))
    assert (one.write(0.0) is not None) is counts
    if counts:
        assert due(one, 0.0).instead == stored(4, released=True).encode()


def test_a_claim_that_is_lower_must_be_raised_once_the_key_is_free() -> None:
    one = register()
    learn(one, 0.0, 9, stored(6))
    one.want(claim(5))
    assert one.denial(0.5) is None  # its holder may be dead: the claim waits
    assert one.denial(1.0) == Denied("web", Ballot(5, "A"), Ballot(6, "B"), is_bound=False)
    assert one.denial(1.1) is None  # said once
    assert (one.write(1.1), one.due(1.1)) == (None, float("inf"))
    one.want(claim(7))
    assert one.denial(1.1) is None
    assert one.write(1.1) is not None


def test_a_claim_is_refused_when_the_holder_lives() -> None:
    one = register()
    learn(one, 0.0, 9, stored(4))
    one.want(claim(5))
    assert one.denial(0.0) is None
    learn(one, 0.2, 10, stored(4, beat=2))
    assert one.denial(0.2) == Denied("web", Ballot(5, "A"), Ballot(4, "B"), is_bound=True)
    assert one.denial(0.3) is None
    learn(one, 0.4, 11, stored(4, beat=3))
    assert one.denial(0.4) is not None  # a level: it lives still


def test_renewals_are_written_in_time_and_can_be_brought_forward() -> None:
    one = held(now=2.0)
    assert one.write(2.1) is None
    assert one.due(2.1) == pytest.approx(2.0 + RENEW * LEASE_S)
    assert one.write(2.1, ahead_s=0.1) is not None
    assert due(one, 2.2).instead == b""


def test_no_two_values_are_alike() -> None:
    one = held()
    assert len({due(one, 0.5).value for _ in range(5)}) == 5


def test_a_raised_ballot_is_written_at_once() -> None:
    one = held()
    one.want(claim(6))
    assert due(one, 0.01).value.ballot == Ballot(6, "A")


def test_an_answer_that_comes_late_counts_from_when_it_was_sent() -> None:
    one = held()
    write = due(one, 0.5)
    assert one.written(0.9, write, sent_at=0.5, as_of=11) == Granted("web", Ballot(5, "A"), 0.5)


def test_a_request_that_came_twice_has_succeeded() -> None:
    one = held()
    write = due(one, 0.5)
    value = write.value.encode()
    granted = one.settle(0.6, write, Outcome(False, 11, value), sent_at=0.5, as_of=14)
    assert granted == Granted("web", Ballot(5, "A"), 0.5)
    assert due(one, 0.7).revision == 11


def test_a_refused_renewal_tells_who_has_it() -> None:
    one = held()
    write = due(one, 0.5)
    assert one.settle(0.6, write, Outcome(False, 11, stored(6).encode()), sent_at=0.5, as_of=11) is None
    assert one.denial(0.6) == Denied("web", Ballot(5, "A"), Ballot(6, "B"), is_bound=True)
    assert one.write(0.6) is None


def test_what_is_released_keeps_its_round() -> None:
    one = held()
    one.release()
    assert one.due(0.1) < 0.1
    assert due(one, 0.1).value == Stored(5, "A", MINE, beat=1, lease_ms=1000, released=True)
    assert one.written(0.1, due(one, 0.1), sent_at=0.1, as_of=11) is None
    assert (one.write(0.1), one.due(0.1)) == (None, float("inf"))


def test_a_claim_whose_answer_never_came_is_released_when_it_shows_up() -> None:
    one = register()
    learn(one, 0.0, 9, stored(4, released=True))
    one.want(claim(5))
    landed = due(one, 0.0).value
    one.release()
    assert one.write(0.3) is None
    learn(one, 0.4, 10, landed)
    assert due(one, 0.4).value.released


def test_a_claim_of_an_earlier_life_binds_like_anybodys() -> None:
    one = register()
    learn(one, 0.0, 9, stored(4, "A", THEIRS))
    one.want(claim(5))
    assert one.write(0.9) is None
    assert one.write(1.0) is not None


def test_who_has_a_lease_puts_a_deleted_key_back_at_once() -> None:
    one = held()
    learn(one, 0.3, 30)
    assert due(one, 0.3).revision == 0
    assert one.write(0.96) is None  # its lease is over: now it waits like everybody
    assert one.write(1.3) is not None


def test_who_has_let_go_does_not_put_it_back() -> None:
    one = held()
    one.release()
    one.written(0.1, due(one, 0.1), sent_at=0.1, as_of=11)
    learn(one, 0.2, 12, stored(6))
    learn(one, 0.3, 13)
    one.want(claim(7))
    assert one.write(0.4) is None


def test_after_a_loss_of_data_releases_are_not_believed_for_a_lease() -> None:
    one = register()
    learn(one, 0.0, 90, stored(8))
    one.forget(5.0)
    assert one.write(5.0) is None
    learn(one, 5.1, 3, stored(2, released=True))  # that too is less than was seen
    one.want(claim(9))
    assert one.write(6.0) is None
    assert one.write(6.1) is not None


@pytest.mark.parametrize("value", [b"", b"?", b"[]", b'{"round":-1,"node":"B","boot":1}', b'{"round":1,"node":"B"}'])
def test_what_somebody_else_wrote_there_binds_and_names_nobody(value: bytes) -> None:
    assert decode(value) == UNREADABLE
    one = register()
    one.learn(0.0, revision=9, value=value, as_of=9)
    one.want(claim(1))
    assert one.write(0.9) is None
    assert one.write(1.0) is not None


def test_fields_of_a_later_release_are_no_obstacle() -> None:
    assert decode(stored(3).encode()[:-1] + b',"more":[1]}') == stored(3)


# ---------------------------------------------------------------------- a store that was restored from a backup


def claim_after(round_: int, after: Ballot, at: float) -> Claim:
    return Claim("web", Ballot(round_, "A"), at, (), after)


def test_what_goes_back_is_not_free_for_the_longest_lease_that_was_seen() -> None:
    one = register()
    learn(one, 0.0, 90, stored(8, lease_ms=3000))
    learn(one, 1.0, 91, stored(4, released=True))  # the revision has grown all the same
    assert one.is_past
    one.want(claim(9))
    assert (one.write(3.9), one.due(1.0)) == (None, 4.0)
    assert one.write(4.0) is not None


@pytest.mark.parametrize(
    "older",
    [stored(5, "A", MINE), stored(4, released=True), stored(6, beat=1), stored(6, beat=2)],
    ids=["once ours", "once released", "fewer renewals", "not yet released"],
)
def test_however_it_has_gone_back(older: Stored) -> None:
    one = register()
    learn(one, 0.0, 90, stored(6, beat=2, released=True))
    learn(one, 5.0, 91, older)
    one.want(Claim("web", Ballot(9, "A"), 5.0, (Freed(Ballot(8, "B"), THEIRS),)))
    assert one.write(5.9) is None
    assert one.write(6.0) is not None


def test_who_has_a_lease_writes_it_again_at_once() -> None:
    one = held(round_=6)
    learn(one, 0.1, 91, stored(5))
    assert one.denial(0.1) is None
    again = due(one, 0.1)
    assert again.value.ballot == Ballot(6, "A")
    assert one.written(0.2, again, sent_at=0.1, as_of=92) == Granted("web", Ballot(6, "A"), 0.1)


def test_but_not_over_one_that_is_newer() -> None:
    one = held(round_=6)
    learn(one, 0.1, 91, stored(7))
    assert one.write(0.2) is None


def test_what_others_have_heard_of_is_looked_for_again_and_then_waited_for() -> None:
    one = register()
    learn(one, 0.0, 9, stored(4, released=True))
    one.want(claim_after(9, Ballot(6, "B"), 5.0))
    assert one.is_behind
    assert (one.write(5.0), one.due(5.0)) == (None, float("inf"))
    value = stored(4, released=True).encode()
    one.learn(5.2, revision=9, value=value, as_of=9, asked_at=4.9)  # it was read before
    assert one.is_behind
    one.learn(5.3, revision=9, value=value, as_of=9, asked_at=5.1)
    assert (one.is_behind, one.is_past) == (False, True)
    assert one.write(6.2) is None
    one.want(claim_after(9, Ballot(6, "B"), 6.25))  # it is said with every claim, and is gone all the same
    assert one.write(6.3) is not None


def test_a_heartbeat_may_be_faster_than_etcd() -> None:
    one = register()
    learn(one, 0.0, 9, stored(4, released=True))
    one.want(claim_after(9, Ballot(6, "B"), 5.0))
    learn(one, 5.001, 10, stored(6, released=True))
    assert not one.is_past
    assert one.write(5.002) is not None


def test_a_grant_by_one_that_has_forgotten_a_later_one_does_not_count() -> None:
    one = register()
    learn(one, 0.0, 9, stored(4, released=True))
    one.want(claim(5))
    write = due(one, 1.0)
    one.want(claim_after(5, Ballot(6, "B"), 1.1))  # heard meanwhile
    assert one.written(1.2, write, sent_at=1.0, as_of=11) is None
    assert one.write(1.3) is None


def test_an_answer_that_the_watch_has_overtaken_is_no_news() -> None:
    one = held()
    write = due(one, 0.5)
    learn(one, 0.6, 12, stored(6))
    assert one.written(0.7, write, sent_at=0.5, as_of=11) is None
    assert not one.is_past


# --- addresses


def naming(one: Register, *addresses: int, now: float, as_of: int) -> Granted | None:
    """It is written with these."""
    one.want(msgspec.structs.replace(claim(5), addresses=addresses))
    assert due(one, now).value.addresses == addresses
    return one.written(now, due(one, now), sent_at=now, as_of=as_of)


def test_an_address_is_ours_when_all_keys_were_read_after_it_was_written() -> None:
    one, other = held(), Register("db", node="A", boot=MINE, lease_s=LEASE_S)
    granted = Granted("web", Ballot(5, "A"), 0.1, (1, 2))
    assert naming(one, 1, 2, now=0.1, as_of=11) == msgspec.structs.replace(granted, addresses=())
    learn(other, 0.1, 10, stored(3, addresses=(2, 3)))
    found = owners((one, other), 0.1)
    assert found == ((2, "B", "db"), (3, "B", "db"))
    assert proofs((one, other), 0.1, found, as_of=10) == [], "somebody may have written since"
    assert proofs((one, other), 0.1, found, as_of=11) == [msgspec.structs.replace(granted, addresses=(1,))]
    assert proofs((one, other), 0.1, found, as_of=11) == [], "it is said once"
    learn(other, 0.2, 12, stored(3, beat=2, addresses=(3,)))
    assert proofs((one, other), 0.2, owners((one, other), 0.2), as_of=12) == [granted]
    assert naming(one, 1, 2, 3, now=0.3, as_of=13) == msgspec.structs.replace(granted, asked_at=0.3)


@pytest.mark.parametrize(("changes", "is_theirs"), [({}, True), ({"released": True}, False), ({"node": "A"}, True)])
def test_another_life_has_what_it_has_written_until_it_is_released_or_spent(
    changes: dict[str, object], is_theirs: bool
) -> None:
    one = Register("db", node="A", boot=MINE, lease_s=LEASE_S)
    learn(one, 3.0, 10, stored(3, addresses=(1,), **changes))
    assert bool(owners([one], 3.9)) is is_theirs
    assert owners([one], 4.0) == ()
    learn(one, 5.0, 11, stored(4, node="A", boot=MINE, addresses=(1,)))
    assert owners([one], 5.0) == ()


def test_what_was_ours_is_proved_anew_after_a_release_and_after_a_loss_of_data() -> None:
    one = held()
    naming(one, 1, now=0.1, as_of=11)
    assert proofs([one], 0.1, (), as_of=11) != []
    one.forget(0.2)
    learn(one, 0.2, 5)
    assert naming(one, 1, now=0.2, as_of=6) == Granted("web", Ballot(5, "A"), 0.2, ())
    assert proofs([one], 0.3, (), as_of=6) == [], "who had it has a lease to write it again"
    assert proofs([one], 1.2, (), as_of=7) == [Granted("web", Ballot(5, "A"), 0.2, (1,))]
    one.release()
    assert not one.is_unproved or proofs([one], 1.3, (), as_of=8) == []
