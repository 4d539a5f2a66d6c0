"""One group on this node: what the core wants of it, as a level, and when its lease ends.

What comes next for it is decided by `plan` and done by `performer`; here is what is said to it.

`Dropped` is said when the kernel has confirmed that no traffic arrives, never before: the gate is shut, or, where there
is none, the addresses are gone. Behind a shut gate they go a moment later: the kernel may take milliseconds for it, and
the heartbeat that releases is not to wait. For the same reason a successor may have them, behind its own shut gate, a
moment before its turn (`prepare`). A removal that the kernel refuses is tried again until it works. `TakeFailed` is
said on the same terms, and waits until the backend has been rolled back.

A reload changes the steps, and not the pipeline: what is wanted, what is owed and what is under way stay where the core
reaches them. A group that the configuration does not name any more keeps its pipeline until nothing of it is left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from haagent.activation.hooks import Hooks
from haagent.activation.performer import Performer
from haagent.activation.plan import Owed
from haagent.activation.ports import Clock, Post
from haagent.activation.step import Step, Tenure
from haagent.activation.steps import AHEAD_S, Leftover
from haagent.core.event_kinds import Kind, Note
from haagent.core.events import Dropped, Taken
from haagent.core.messages import Ballot
from haagent.plugins.contained import one_line

GRACE_S = 0.002  # after `until`: the core's own timer goes first; only a hung core lets ours act
VERIFY_S = 10.0  # between two questions to a backend that is not local: their APIs are rate limited


class GroupPipeline:
    def __init__(
        self, name: str, *, steps: Sequence[Step], hooks: Hooks | None, post: Post, note: Note, now: Clock
    ) -> None:
        self.name = name
        self.is_adopting = False  # an earlier life's addresses are left in place until the core has decided
        self.counters: Counter[str] = Counter()
        self._post, self._tell, self._now = post, note, now
        self._performer = Performer(name, steps=steps, hooks=hooks, post=post, note=self._note)
        self._lapsed: Ballot | None = None
        self._guard: asyncio.TimerHandle | None = None
        self._verified_at = 0.0

    @property
    def tenure(self) -> Tenure | None:
        return self._performer.tenure

    @property
    def is_complete(self) -> bool:
        return self._performer.state.is_told

    @property
    def is_hidden(self) -> bool:
        """Addresses may be there, behind a shut gate; they go again if no take comes."""
        return self._performer.is_hidden

    @property
    def is_open(self) -> bool:
        """Traffic is let in, or may be: the take has come as far as the steps that do that."""
        return self.tenure is not None and any(
            step.shuts for step in self._performer.steps[: self._performer.state.begun]
        )

    @property
    def has_lease(self) -> bool:
        return self.tenure is not None and self._now() < self.tenure.until

    @property
    def timings(self) -> dict[str, dict[str, int]]:
        """Of each step, how long it took last: `take_us`, `drop_us`."""
        return self._performer.timings

    def facts(self) -> dict[str, Any]:
        return {key: fact for step in self._performer.steps for key, fact in step.facts().items()}

    def take(self, ballot: Ballot, until: float, vanished: tuple[str, ...] = ()) -> None:
        self.is_adopting = False
        if self.tenure is not None and self.tenure.ballot == ballot:
            self.renew(until)
            if self.is_complete:
                self._post(Taken(group=self.name, ballot=ballot))
            return
        self._lapsed = None
        self._verified_at = self._now()
        self._performer.begin(Tenure(ballot, until, vanished))
        self._watch_lease()

    def prepare(self) -> None:
        """A take or a drop is expected within milliseconds: what makes neither difference nor noise is done now."""
        is_idle = self.tenure is None and not self.is_adopting and not self.is_hidden
        try:
            for step in self._performer.steps:
                step.rehearse()
            if is_idle and self._performer.is_proved:
                self._performer.hide(AHEAD_S)
                for step in self._performer.steps:
                    step.take_ahead()
        except step.faults as fault:
            self._note(Kind.FAILED, f"{step.name}: the move was not prepared: {fault}")

    def renew(self, until: float) -> None:
        if self.tenure is not None:
            self.tenure.until = until
            for step in self._performer.renewed:
                step.renew(until)
        elif self._lapsed is not None:
            self._post(Dropped(group=self.name, ballot=self._lapsed))  # the core has missed it: say it again

    def drop(self, ballot: Ballot, why: str) -> None:
        was_active = self.tenure is not None or self.is_adopting
        if self.is_adopting:
            self._performer.state.begun = len(self._performer.steps)  # nothing is known of what the earlier life did
        self.is_adopting, self._lapsed = False, None
        self._performer.end(ballot)
        if was_active:
            self._performer.call_hooks("released", ballot, why)

    def reassert(self) -> None:
        """A rival was heard, or an address was put back: say again who serves."""
        if self.tenure is None:
            return
        for step in self._performer.steps:
            if step.announce():
                self.counters["announced"] += 1
            elif step.is_asked:
                self._verified_at = 0.0
        self.verify()

    def verify(self) -> None:
        """Ask a backend that is not local whether we still hold. Called every two seconds; it asks more seldom."""
        tenure = self.tenure
        turns = self._performer.turns
        if tenure is None or not self.is_complete or turns.is_busy:
            return
        if self._now() - self._verified_at < VERIFY_S and self._verified_at:
            return
        self._verified_at = self._now()
        if any(step.is_asked for step in self._performer.steps):
            turns.run(partial(self._verify, tenure), revocable=True)

    async def close(self) -> None:
        if self.tenure is not None:
            self.drop(self.tenure.ballot, "the agent stops")
        self._performer.hide_nothing()
        self._performer.call_off_retry()
        await self.finished()

    def finished(self) -> Coroutine[Any, Any, None]:
        """Waits for what has been begun at this moment: steps, and hooks."""
        return self._performer.finished()

    # a reload, in one turn of the loop: first all groups are refitted or ended, then all go on

    def refit(self, fresh: GroupPipeline, leftover: Leftover | None) -> None:
        """The steps of that one from now on. `leftover`: what they know nothing of any more."""
        vanished = () if self.is_open or self.tenure is None else self.tenure.vanished
        self._performer.refit(fresh._performer, leftover, vanished)

    def go_on(self) -> None:
        self._performer.go_on()

    def end(self, why: str) -> None:
        """The configuration has no such group any more."""
        if self.tenure is not None or self.is_adopting:
            self.drop(self.tenure.ballot if self.tenure is not None else Ballot(0, ""), why)
        self._performer.hide_nothing()  # another group may get its addresses in this very turn

    @property
    def leftovers(self) -> tuple[Leftover, ...]:
        return self._performer.leftovers

    @property
    def is_settled(self) -> bool:
        """Nothing of it is left on this host, and nothing is owed to the core."""
        is_owing = self._performer.state.owed is not Owed.NOTHING
        return self.tenure is None and not is_owing and not self.is_hidden and not self.leftovers

    def retire(self) -> None:
        """This process ends and leaves the group in place: no word, no timer, no task."""
        self._performer.retire()
        if self._guard is not None:
            self._guard.cancel()

    async def _verify(self, tenure: Tenure) -> None:
        for step in self._performer.steps:
            if not step.is_asked:
                continue
            answers: list[bool] = []

            async def ask(step: Step = step, answers: list[bool] = answers) -> None:
                answers.append(await step.verify(tenure.ballot))

            fault = await self._performer.bounded(step, ask())
            if self.tenure is not tenure:
                return
            if fault:
                self._note(Kind.DRIFT, f"{step.name}: cannot tell whether clients are steered here: {fault}")
            elif answers == [False]:
                self.counters["repaired"] += 1
                self._note(Kind.DRIFT, f"{step.name}: clients were steered elsewhere; steered here again")

    # the lease

    def _watch_lease(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
        if self.tenure is not None:
            # call_at counts CLOCK_MONOTONIC, `until` CLOCK_BOOTTIME: the difference is taken anew at each end.
            left = max(0.0, self.tenure.until + GRACE_S - self._now())
            self._guard = asyncio.get_running_loop().call_later(left, self.check_lease)

    def check_lease(self) -> None:
        """Defence in depth: the core lets go before the lease ends. If it hangs, this does."""
        tenure = self.tenure
        if tenure is None:
            return
        late = self._now() - tenure.until
        if late < GRACE_S / 2:  # not all of it: a timer may fire a moment early
            self._watch_lease()
            return
        self.counters["lapsed"] += 1
        self.drop(tenure.ballot, "lapsed")
        self._lapsed = tenure.ballot
        self._note(
            Kind.LAPSED,
            f"the lease of ballot {tenure.ballot} ended {1000 * late:.0f} ms ago, neither renewed nor dropped:"
            " released without a request; the agent hung or was starved of processor time",
        )

    def _note(self, kind: Kind, text: str) -> None:
        self._tell(kind, self.name, one_line(text))
