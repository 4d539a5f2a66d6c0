from __future__ import annotations

import random

from haagent.core.leases import MAX_KEPT, Leases


def test_the_longest_counts_until_it_has_run_out() -> None:
    leases = Leases()
    assert leases.longest_ms(0.0) == 0
    leases.hear(0.0, 10_000)
    leases.hear(8.0, 350)
    assert leases.longest_ms(10.09) == 10_000
    assert leases.longest_ms(10.11) == 0
    leases.hear(10.2, 350)
    assert leases.longest_ms(10.2) == 350


def test_one_of_middle_length_is_not_forgotten_beside_a_long_one() -> None:
    leases = Leases()
    leases.hear(0.0, 10_000)
    leases.hear(9.0, 5_000)
    leases.hear(9.5, 350)
    assert leases.longest_ms(11.0) == 5_000


def test_many_are_kept_as_few_and_none_counts_for_too_short() -> None:
    leases, heard, rng = Leases(), [], random.Random(1)
    for step in range(2_000):
        now, lease_ms = step / 100, rng.randrange(1, 60_000)
        heard.append((lease_ms, now + 1.01 * lease_ms / 1000))
        leases.hear(now, lease_ms)
        assert len(leases._until) <= MAX_KEPT
        assert leases.longest_ms(now) >= max(ms for ms, until in heard if until > now)
