"""Stores of which one leads, with one rule left out. The simulation must find each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from haagent.core.store.strong.events import Answer, Appointed, Outcome
from haagent.core.store.strong.leading import Leading
from haagent.core.store.strong.machine import Machine
from haagent.core.store.strong.record import Record, Register

Mutant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, tuple[Mutant, int]] = {}  # with a seed that finds it: begin there


def mutant(seed: int) -> Callable[[Mutant], Mutant]:
    def enter(change: Mutant) -> Mutant:
        MUTANTS[change.__name__] = (change, seed)
        return change

    return enter


# What was changed is seen by nobody before it is safe


@mutant(2)
def reads_do_not_wait(patch: pytest.MonkeyPatch) -> None:
    def looked(self: Leading, keys: Any, ticket: int) -> None:
        self._do(Answer(ticket, Outcome.SAFE))

    patch.setattr(Leading, "looked", looked)


@mutant(7)
def who_leads_anew_does_not_ask_what_the_others_have(patch: pytest.MonkeyPatch) -> None:
    wrong = Leading.settle

    def settle(self: Leading, now: float) -> None:
        self.has_begun = True
        wrong(self, now)

    patch.setattr(Leading, "settle", settle)


# The record


@mutant(3)
def who_is_late_is_not_waited_for_at_once(patch: pytest.MonkeyPatch) -> None:
    wrong = Leading._propose

    def propose(self: Leading, members: dict[str, int]) -> None:
        wrong(self, members)
        self._records = {max(self._records): members}

    patch.setattr(Leading, "_propose", propose)


@mutant(4)
def one_voter_is_enough_for_the_record(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Register, "_majority", 1)


@mutant(1)
def who_was_left_out_may_lead(patch: pytest.MonkeyPatch) -> None:
    wrong = Register._found

    def found(self: Register, ballot: Any) -> Record | None:
        record = wrong(self, ballot)
        return record and structs.replace(record, members=record.members | {self._me: self.life})

    patch.setattr(Register, "_found", found)


# A restart is amnesia


@mutant(0)
def a_new_life_counts_as_the_old_one(patch: pytest.MonkeyPatch) -> None:
    def is_member(self: Register) -> bool:
        return self._record is not None and self._me in self._record.members

    wrong = Register._found

    def found(self: Register, ballot: Any) -> Record | None:
        record = wrong(self, ballot)
        if record is None or self._me not in record.members:
            return record
        return structs.replace(record, members=record.members | {self._me: self.life})

    patch.setattr(Register, "_is_member", is_member)
    patch.setattr(Register, "_found", found)
    appointed = Machine._appointed

    def whole(self: Machine, now: float, event: Appointed) -> None:
        self._since = event.record.since
        appointed(self, now, event)

    patch.setattr(Machine, "_appointed", whole)


# The lease


@mutant(15)
def a_lease_that_is_over_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Machine, "serves", lambda self, now: self._leading is not None and self._leading.has_begun)
