"""One group on this node: what the core wants of it, as a level, and all that is done to make it so.

What comes next is decided by `plan`, and done here, with the tasks, timers and retries that it takes. As long as the
steps are done at once (arp), a whole take and its answer happen inside one `_go_on`, and so do the end of the traffic
and `Dropped`. A step that must wait continues in a task, and so does the rest of a drop (the backend).

The tenure is one object, and a continuation compares it by identity each time it wakes: a take that was overtaken finds
another tenure (or none) and stops. Addresses are added only inside a turn of the loop in which the tenure was current.
So there is no moment at which a late end of a take could bring an address back.

`Dropped` is said when the kernel has confirmed that no traffic arrives, never before: the gate is shut, or, where there
is none, the addresses are gone. Behind a shut gate they go a moment later: the kernel may take milliseconds for it, and
the heartbeat that releases is not to wait. For the same reason a successor may have them, behind its own shut gate, a
moment before its turn (`prepare`). A removal that the kernel refuses is tried again until it works. `TakeFailed` is
said on the same terms, and waits until the backend has been rolled back.

A reload changes the steps, and not the pipeline: what is wanted, what is owed and what is under way stay where the core
reaches them. A group that the configuration does not name any more keeps its pipeline until nothing of it is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from haagent.activation.hooks import Hooks
from haagent.activation.plan import Act, Owed, State, decide
from haagent.activation.step import NO_BALLOT, Later, Step, Tenure
from haagent.activation.steps import AHEAD_S, Leftover
from haagent.activation.surroundings import Clock, Post
from haagent.activation.work import Work
from haagent.core.event_kinds import Kind, Remark
from haagent.core.events import Dropped, TakeFailed, Taken
from haagent.core.messages import Ballot
from haagent.kernel.timer import Timer
from haagent.plugins.contained import one_line

GRACE_S = 0.002  # after `until`: the core's own timer goes first; only a hung core lets ours act
HIDDEN_S = 0.01  # how long an address may stay behind a shut gate: the successor is at work meanwhile
RETRY_FIRST_S, RETRY_MAX_S = 0.01, 1.0  # of a removal that the kernel refused
VERIFY_S = 10.0  # between two questions to a backend that is not local: their APIs are rate limited


class GroupPipeline:
    def __init__(self, name: str, *, steps: Sequence[Step], hooks: Hooks, post: Post, note: Remark, now: Clock) -> None:
        self.name = name
        self.tenure: Tenure | None = None
        self.is_adopting = False  # an earlier life's addresses are left in place until the core has decided
        self.is_hidden = False  # addresses may be there, behind a shut gate; they go again if no take comes
        self.leftovers: tuple[Leftover, ...] = ()
        self.counters: Counter[str] = Counter()
        self._post, self._note, self._now = post, note, now
        self._state = State(len(steps))
        self._work = Work()
        self.timings = self._work.timings
        self._hooks = hooks
        self._equip(steps)
        self._ballot, self._error = NO_BALLOT, ""  # of what is owed
        self._refusal = ""  # of the kernel, as last noted
        self._lapsed: Ballot | None = None
        self._verified_at = 0.0
        self._lease_timer, self._retry = Timer(self.check_lease), Timer(self._shut_again)
        self._retry_s = RETRY_FIRST_S
        self._acts = (self._take, self._tell_taken, self._shut, self._tell_owed, self._undo)  # in the order of `Act`

    def _equip(self, steps: Sequence[Step]) -> None:
        self._steps = tuple(steps)
        self._shutting = tuple(step for step in reversed(steps) if step.shuts)
        self._renewed = tuple(step for step in steps if type(step).renew is not Step.renew)  # often: only who needs it

    @property
    def is_complete(self) -> bool:
        return self._state.is_told

    @property
    def is_open(self) -> bool:
        """Traffic is let in, or may be: the take has come as far as the steps that do that."""
        return self.tenure is not None and any(step.shuts for step in self._steps[: self._state.begun])

    @property
    def has_lease(self) -> bool:
        return self.tenure is not None and self._now() < self.tenure.until

    @property
    def is_settled(self) -> bool:
        """Nothing of it is left on this host, and nothing is owed to the core."""
        is_there = self.tenure is not None or self.is_adopting or self.is_hidden or self.leftovers
        return not is_there and self._state.owed is Owed.NOTHING

    @property
    def _is_proved(self) -> bool:
        """No traffic arrives, whatever is there."""
        return any(step.is_proof for step in self._shutting) and all(each.is_proof for each in self.leftovers)

    def facts(self) -> dict[str, Any]:
        return {key: fact for step in self._steps for key, fact in step.facts().items()}

    # the core's words

    def take(self, ballot: Ballot, until: float, vanished: tuple[str, ...] = ()) -> None:
        self.is_adopting = False
        if self.tenure is not None and self.tenure.ballot == ballot:
            self.renew(until)
            if self.is_complete:
                self._post(Taken(group=self.name, ballot=ballot))
            return
        self._leave(Owed.NOTHING)
        self._verified_at, self._lapsed, self.is_hidden = self._now(), None, False
        self.tenure = Tenure(ballot, until, vanished)
        self._state.is_wanted, self._state.begun = True, 0
        self._shed()
        self.go_on()
        self._watch_lease()

    def prepare(self) -> None:
        """A take or a drop is expected within milliseconds: what makes neither difference nor noise is done now."""
        is_idle = self.tenure is None and not self.is_adopting and not self.is_hidden
        try:
            for step in self._steps:
                step.rehearse()
            if is_idle and self._is_proved:
                self._hide(AHEAD_S)
                for step in self._steps:
                    step.take_ahead()
        except step.faults as fault:
            self._note(Kind.FAILED, f"{step.name}: the move was not prepared: {fault}")

    def take_again(self) -> None:
        """What its steps are to do has changed; that it is served is known."""
        self._begin_anew()
        self._state.done, self._state.is_waiting = 0, False
        self.go_on()

    def renew(self, until: float) -> None:
        if self.tenure is not None:
            self.tenure.until = until
            for step in self._renewed:
                step.renew(until)
        elif self._lapsed is not None:
            self._post(Dropped(group=self.name, ballot=self._lapsed))  # the core has missed it: say it again

    def drop(self, ballot: Ballot, why: str) -> None:
        was_active = self.tenure is not None or self.is_adopting
        if self.is_adopting:
            self._state.begun = len(self._steps)  # nothing is known of what the earlier life did
        self.is_adopting, self._lapsed, self._ballot = False, None, ballot
        self._leave(Owed.DROPPED)
        self.go_on()
        if was_active:
            self._hooks.add("released", ballot, why)

    def reassert(self) -> None:
        """A rival was heard, or an address was put back: say again who serves."""
        if self.tenure is None:
            return
        for step in self._steps:
            if step.announce():
                self.counters["announced"] += 1
            elif step.is_asked:
                self._verified_at = 0.0
        self.verify()

    async def close(self) -> None:
        if self.tenure is not None:  # what an earlier life left, or this one leaves in place, stays
            self.drop(self.tenure.ballot, "the agent stops")
        self.hide_nothing()
        self._retry.cancel()
        await self.finished()

    def finished(self) -> Coroutine[Any, Any, None]:
        """Waits for what has been begun at this moment: steps, and hooks."""
        return self._hooks.finished(frozenset(self._work.live))

    def end(self, why: str) -> None:
        """The configuration has no such group any more."""
        if self.tenure is not None or self.is_adopting:
            self.drop(self.tenure.ballot if self.tenure is not None else NO_BALLOT, why)
        self.hide_nothing()  # another group may get its addresses in this very turn

    def retire(self) -> None:
        """This process ends and leaves the group in place: no word, no timer, no task."""
        self._leave(Owed.NOTHING)
        self._state.begun = 0
        self._lease_timer.cancel()

    def refit(self, fresh: GroupPipeline, leftover: Leftover | None) -> None:
        """The steps of that one from now on; they are taken by `go_on`, when all groups have been refitted or ended.

        `leftover`: what they know nothing of any more.
        """
        for step in self._steps:
            step.retire(self._ballot if self.tenure is None else self.tenure.ballot)
        self._begin_anew()
        self._hooks.become(fresh._hooks)
        self._equip(fresh._steps)
        self._state.begin_anew(len(self._steps))
        if leftover is not None:
            self.leftovers += (leftover,)
            self._shed()

    def _begin_anew(self) -> None:
        self._work.revoke()
        if self.tenure is not None:  # another object, so that what still waits for an old step ends there
            self.tenure = Tenure(self.tenure.ballot, self.tenure.until, () if self.is_open else self.tenure.vanished)

    def go_on(self) -> None:
        while (act := decide(self._state)) is not Act.REST:
            self._acts[act]()

    def _leave(self, owed: Owed) -> None:
        """The tenure, and whatever is under way for it."""
        self.tenure = None
        self._state.leave(owed)
        self._work.revoke()
        self._retry.cancel()

    # taking

    def _take(self) -> None:
        tenure, state = self.tenure, self._state
        assert tenure is not None
        for position in range(state.done, state.steps):
            step = self._steps[position]
            state.begun = position + 1
            fault, later = self._work.at_once(step, "take", partial(step.take, tenure))
            if fault:
                self._fail(tenure, step, fault)
                return
            if later is not None:
                state.is_waiting = True
                self._work.run(partial(self._continue, tenure, step, later), revocable=True)
                return
            state.done = position + 1

    async def _continue(self, tenure: Tenure, step: Step, later: Later) -> None:
        if self.tenure is not tenure:
            return
        fault, _ = await self._work.later(step, "take", later)
        if self.tenure is not tenure:
            return
        self._state.is_waiting = False
        if fault:
            self._fail(tenure, step, fault)
        else:
            self._state.done += 1
        self.go_on()

    def _fail(self, tenure: Tenure, step: Step, fault: str) -> None:
        self._ballot, self._error = tenure.ballot, one_line(f"{step.name}: {fault}")
        self._leave(Owed.FAILED)
        self._note(Kind.FAILED, self._error)
        self._hooks.add("failed", tenure.ballot, self._error)

    def _tell_taken(self) -> None:
        assert self.tenure is not None
        self._state.is_told = True
        self._post(Taken(group=self.name, ballot=self.tenure.ballot))
        self._hooks.add("taken", self.tenure.ballot, "")

    # letting go

    def _shut(self) -> None:
        self._state.is_due = False
        self._retry.cancel()
        faults = self._drop_leftovers()
        for step in self._shutting:
            if fault := self._drop(step)[0]:
                faults.append(f"{step.name}: {fault}")
            elif not faults and not self.is_hidden and step.is_proof:
                self._hide(HIDDEN_S)
                return
        is_proved = self._is_proved
        self.is_hidden = bool(faults) and is_proved
        self._state.is_silent = is_proved or not faults
        if faults:
            self._try_again(faults)
        else:
            self._retry_s, self._refusal = RETRY_FIRST_S, ""

    def _hide(self, wait_s: float) -> None:
        """What is left behind the step that proves silence goes a moment later."""
        self.is_hidden = self._state.is_silent = True
        self._retry.set(wait_s)

    def hide_nothing(self) -> None:
        """What is only hidden goes now."""
        if self.is_hidden:
            self._shut_again()

    def _shed(self) -> None:
        """What a reload has taken from the group goes, whether it is wanted or not."""
        if faults := self._drop_leftovers():
            self._try_again(faults)

    def _drop_leftovers(self) -> list[str]:
        refused = {each: fault for each in self.leftovers if (fault := self._drop(each)[0])}
        self.leftovers = tuple(refused)
        return list(refused.values())

    def _drop(self, step: Step) -> tuple[str, Later | None]:
        return self._work.at_once(step, "drop", partial(step.drop, self._ballot))

    def _try_again(self, faults: Sequence[str]) -> None:
        refusal = "; ".join(faults)
        if refusal != self._refusal:
            quiet = "; the gate is shut, so no traffic arrives" if self.is_hidden else ""
            kind = Kind.FAILED if self.is_hidden else Kind.STUCK
            self._note(kind, f"{refusal}{quiet}; trying again until it works")
        self._refusal = refusal
        self._retry.set(self._retry_s)
        self._retry_s = min(RETRY_MAX_S, 2 * self._retry_s)

    def _shut_again(self) -> None:
        if self._state.is_wanted:
            self._shed()
        else:
            self._state.is_due = True
            self.go_on()

    def _tell_owed(self) -> None:
        owed, self._state.owed = self._state.owed, Owed.NOTHING
        if owed is Owed.DROPPED:
            self._post(Dropped(group=self.name, ballot=self._ballot))
        else:
            self._post(TakeFailed(group=self.name, ballot=self._ballot, error=self._error))

    def _undo(self) -> None:
        """Last first. It delays nobody: the traffic has ended."""
        laters: list[tuple[Step, Later]] = []
        for step in reversed(self._steps[: self._state.begun]):
            if step.shuts:
                continue
            fault, later = self._drop(step)
            if fault:
                self._note(Kind.FAILED, f"{step.name}: {fault}")
            elif later is not None:
                laters.append((step, later))
        self._state.begun = 0
        if laters:
            self._state.undoing += 1
            self._work.run(partial(self._finish_undoing, laters))

    async def _finish_undoing(self, laters: Sequence[tuple[Step, Later]]) -> None:
        for step, later in laters:
            fault, _ = await self._work.later(step, "drop", later)
            if fault:
                self._note(Kind.FAILED, f"{step.name}: not undone: {fault}")
        self._state.undoing -= 1
        self.go_on()

    # while it is held

    def verify(self) -> None:
        """Ask a backend that is not local whether we still hold. Called every two seconds; it asks more seldom."""
        tenure = self.tenure
        if tenure is None or not self.is_complete or self._work.live:
            return
        if self._now() - self._verified_at < VERIFY_S and self._verified_at:
            return
        self._verified_at = self._now()
        if any(step.is_asked for step in self._steps):
            self._work.run(partial(self._verify, tenure), revocable=True)

    async def _verify(self, tenure: Tenure) -> None:
        for step in self._steps:
            if not step.is_asked:
                continue
            fault, was_so = await self._work.later(step, "verify", partial(step.verify, tenure.ballot))
            if self.tenure is not tenure:
                return
            if fault:
                self._note(Kind.DRIFT, f"{step.name}: cannot tell whether clients are steered here: {fault}")
            elif not was_so:
                self.counters["repaired"] += 1
                self._note(Kind.DRIFT, f"{step.name}: clients were steered elsewhere; steered here again")

    def _watch_lease(self) -> None:
        if self.tenure is not None:
            # The loop counts CLOCK_MONOTONIC, which is steered: the difference is taken anew at each end.
            self._lease_timer.set(max(0.0, self.tenure.until + GRACE_S - self._now()))

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
