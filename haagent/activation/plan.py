"""What a group's pipeline does next: decided here from plain values, and done elsewhere (`pipeline`).

A group has an order of steps. Taking walks it; letting go first drops the steps that shut the traffic, last first, then
says so, then undoes the rest, last first. `decide` looks at what is wanted and how far things are, and names one act;
the pipeline performs it, writes down what became of it, and asks again until there is nothing to do but wait.

Why a drop always wins. What is wanted is asked first, so once it is not, no state of anything else leads to TAKE: not a
step that is still under way, not a failure, not a timer. Whatever was owed, shutting comes before telling, and telling
`Dropped` waits for nothing but the silence; undoing, which may take its time in a cloud, comes after it. `TakeFailed`
waits for that too: the next node is not to fight with our own roll-back.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto

import msgspec


class Owed(Enum):
    """The core's answer that is still to be given, once it is true."""

    NOTHING = auto()
    DROPPED = auto()
    FAILED = auto()


class Act(IntEnum):
    TAKE = 0  # the next step, and those after it, as far as they are done at once
    TELL_TAKEN = auto()
    SHUT = auto()  # drop what lets traffic in
    TELL = auto()  # what is owed
    UNDO = auto()  # drop the other steps that were begun
    REST = auto()  # until a task, a timer or the core changes something


class State(msgspec.Struct):
    steps: int  # how many there are
    is_wanted: bool = False
    begun: int = 0  # steps of the last tenure that may have had an effect and are not undone
    done: int = 0  # steps of this tenure that are
    is_waiting: bool = False  # for the end of the step after those
    is_told: bool = False  # that all are
    is_due: bool = False  # what lets traffic in is to be shut, for the first time or again
    is_silent: bool = True  # no traffic arrives: all that lets it in is gone, or one of it proves so
    undoing: int = 0  # how many roll-backs are under way
    owed: Owed = Owed.NOTHING

    def leave(self, owed: Owed) -> None:
        """Whatever was wanted."""
        self.is_wanted = self.is_waiting = self.is_told = self.is_silent = False
        self.done, self.owed, self.is_due = 0, owed, owed is not Owed.NOTHING

    def begin_anew(self, steps: int) -> None:
        """The steps are others; what is wanted and what is owed stay."""
        self.steps, self.begun, self.done = steps, 0, 0
        self.is_waiting = self.is_told = False


def decide(state: State) -> Act:
    if state.is_wanted:
        if state.done < state.steps:
            return Act.REST if state.is_waiting else Act.TAKE
        return Act.REST if state.is_told else Act.TELL_TAKEN
    if state.is_due:
        return Act.SHUT
    if state.owed is Owed.DROPPED and state.is_silent:
        return Act.TELL
    if state.begun:
        return Act.UNDO
    if state.owed is Owed.FAILED and state.is_silent and not state.undoing:
        return Act.TELL
    return Act.REST
