"""The performer of a group's plan: does what `plan.decide` names, with the tasks, timers and retries that it takes.

As long as the steps are done at once (arp), a whole take and its answer happen inside one `go_on`, and so do the end of
the traffic and `Dropped`. A step that must wait continues in a task, and so does the rest of a drop (the backend).

The tenure is one object, and a continuation compares it by identity each time it wakes: a take that was overtaken finds
another tenure (or none) and stops. Addresses are added only inside a turn of the loop in which the tenure was current.
So there is no moment at which a late end of a take could bring an address back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Sequence
from functools import partial
from typing import Any

from haagent.activation.hooks import Call, Hooks
from haagent.activation.plan import Act, Owed, State, decide
from haagent.activation.ports import Post
from haagent.activation.step import Later, Step, Tenure
from haagent.activation.steps import Leftover
from haagent.activation.turns import Turns
from haagent.core.event_kinds import Kind, Remark
from haagent.core.events import Dropped, TakeFailed, Taken
from haagent.core.messages import Ballot
from haagent.plugins.contained import one_line

HIDDEN_S = 0.01  # how long an address may stay behind a shut gate: the successor is at work meanwhile
RETRY_FIRST_S, RETRY_MAX_S = 0.01, 1.0  # of a removal that the kernel refused


class Performer:
    def __init__(self, group: str, *, steps: Sequence[Step], hooks: Hooks | None, post: Post, note: Remark) -> None:
        self.tenure: Tenure | None = None
        self.state = State(len(steps))
        self.leftovers: tuple[Leftover, ...] = ()
        self.is_hidden = False  # addresses may be there, behind a shut gate; they go again if no take comes
        self.timings: dict[str, dict[str, int]] = {}  # step -> {"take_us", "drop_us"}
        self.turns = Turns()
        self._equip(steps, hooks)
        self._group, self._post, self._note = group, post, note
        self._ballot, self._error = Ballot(0, ""), ""  # of what is owed
        self._unshed = ""  # why leftovers are still there
        self._refusal = ""  # of the kernel, as last noted
        acts = {
            Act.SHED: self._shed,
            Act.TAKE: self._take,
            Act.TELL_TAKEN: self._tell_taken,
            Act.SHUT: self._shut,
            Act.TELL: self._tell_owed,
            Act.UNDO: self._undo,
        }
        self._acts = tuple(acts[act] for act in Act if act is not Act.REST)  # by index: it is quicker
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = RETRY_FIRST_S

    def _equip(self, steps: Sequence[Step], hooks: Hooks | None) -> None:
        self.steps, self._hooks = tuple(steps), hooks
        self._shutting = tuple(step for step in reversed(steps) if step.shuts)
        self.renewed = tuple(step for step in steps if type(step).renew is not Step.renew)  # often: only who needs it
        self.state.steps = len(steps)
        self.turns.patience_s = 2 * sum(step.timeout_s for step in steps)

    @property
    def is_proved(self) -> bool:
        """No traffic arrives, whatever is there."""
        return any(step.is_proof for step in self._shutting) and all(each.is_silent for each in self.leftovers)

    def begin(self, tenure: Tenure) -> None:
        self._leave(Owed.NOTHING)
        self.is_hidden = False
        self.tenure = tenure
        self.state.is_wanted, self.state.begun = True, 0
        self.go_on()

    def end(self, ballot: Ballot) -> None:
        self._ballot = ballot
        self._leave(Owed.DROPPED)
        self.go_on()

    def retire(self) -> None:
        """Without a word: timers and tasks end, and what is there stays."""
        self._leave(Owed.NOTHING)
        self.state.begun = 0

    def hide(self, wait_s: float) -> None:
        """What is left behind the step that proves silence goes a moment later."""
        self.is_hidden = self.state.is_silent = True
        self._shut_in(wait_s)

    def hide_nothing(self) -> None:
        """What is only hidden goes now."""
        if self.is_hidden:
            self._shut_again()

    def finished(self) -> Coroutine[Any, Any, None]:
        return _over(self.turns.live, self._hooks)

    def refit(self, fresh: Performer, leftover: Leftover | None, vanished: tuple[str, ...]) -> None:
        """With its steps from now on; they are taken by `go_on`."""
        self.turns.revoke()
        for step in self.steps:
            step.retire(self._ballot if self.tenure is None else self.tenure.ballot)
        if self.tenure is not None:  # another object, so that what still waits for an old step ends there
            self.tenure = Tenure(self.tenure.ballot, self.tenure.until, vanished)
        if fresh._hooks is not None and self._hooks is not None:
            fresh._hooks.follow(self._hooks)
        self._equip(fresh.steps, fresh._hooks)
        self.state.begun = self.state.done = 0
        self.state.is_waiting = self.state.is_told = False
        if leftover is not None:
            self.leftovers += (leftover,)
            self._shed()

    def go_on(self) -> None:
        while (act := decide(self.state)) is not Act.REST:
            self._acts[act]()

    async def bounded(self, step: Step, work: Awaitable[object]) -> str:
        """The fault in words, empty if there was none."""
        limit_s = step.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await work
        except TimeoutError:
            return f"no answer within {limit_s:g} s"
        except step.faults as fault:
            return str(fault)
        return ""

    def call_hooks(self, event: str, ballot: Ballot, why: str) -> None:
        if self._hooks is not None:
            self._hooks.add(Call(event, ballot, why))

    def _leave(self, owed: Owed) -> None:
        """The tenure, and whatever is under way for it."""
        state = self.state
        self.tenure = None
        state.is_wanted = state.is_waiting = state.is_told = state.is_silent = False
        state.done, state.owed, state.is_due = 0, owed, owed is not Owed.NOTHING
        state.is_shed_due = bool(self.leftovers)
        self.turns.revoke()
        if self._retry is not None:
            self.call_off_retry()

    # taking

    def _take(self) -> None:
        tenure, state = self.tenure, self.state
        assert tenure is not None
        for position in range(state.done, state.steps):
            step = self.steps[position]
            state.begun = position + 1
            began = time.perf_counter_ns()
            try:
                later = step.take(tenure)
            except step.faults as fault:
                self._fail(tenure, step, str(fault))
                return
            if later is not None:
                state.is_waiting = True
                self.turns.run(partial(self._continue, tenure, step, later), revocable=True)
                return
            self._measure(step, "take_us", began)
            state.done = position + 1

    async def _continue(self, tenure: Tenure, step: Step, later: Later) -> None:
        if self.tenure is not tenure:
            return
        began = time.perf_counter_ns()
        fault = await self.bounded(step, later())
        if self.tenure is not tenure:
            return
        self.state.is_waiting = False
        if fault:
            self._fail(tenure, step, fault)
        else:
            self._measure(step, "take_us", began)
            self.state.done += 1
        self.go_on()

    def _fail(self, tenure: Tenure, step: Step, fault: str) -> None:
        self._ballot, self._error = tenure.ballot, one_line(f"{step.name}: {fault}")
        self._leave(Owed.FAILED)
        self._note(Kind.FAILED, self._error)
        self.call_hooks("failed", tenure.ballot, self._error)

    def _tell_taken(self) -> None:
        assert self.tenure is not None
        self.state.is_told = True
        self._post(Taken(group=self._group, ballot=self.tenure.ballot))
        self.call_hooks("taken", self.tenure.ballot, "")

    # letting go

    def _shut(self) -> None:
        self.state.is_due = False
        self.call_off_retry()
        faults = [self._unshed] if self._unshed else []
        for step in self._shutting:
            if fault := self._shut_step(step):
                faults.append(fault)
            elif not faults and not self.is_hidden and step.is_proof:
                self.hide(HIDDEN_S)
                return
        is_proved = self.is_proved
        self.is_hidden = bool(faults) and is_proved
        self.state.is_silent = is_proved or not faults
        if faults:
            self._try_again("; ".join(faults))
        else:
            self._retry_s, self._refusal = RETRY_FIRST_S, ""

    def _shed(self) -> None:
        self.state.is_shed_due = False
        refused: dict[Leftover, str] = {}
        for leftover in self.leftovers:
            try:
                leftover.drop()
            except leftover.faults as fault:
                refused[leftover] = str(fault)
        self.leftovers, self._unshed = tuple(refused), "; ".join(refused.values())
        if refused and not self.state.is_due:
            self._try_again(self._unshed)

    def _shut_step(self, step: Step) -> str:
        began = time.perf_counter_ns()
        try:
            step.drop(self._ballot)
        except step.faults as fault:
            return f"{step.name}: {fault}"
        finally:
            self._measure(step, "drop_us", began)
        return ""

    def _try_again(self, fault: str) -> None:
        if fault != self._refusal:
            kind, quiet = (
                (Kind.FAILED, "; the gate is shut, so no traffic arrives") if self.is_hidden else (Kind.STUCK, "")
            )
            self._note(kind, f"{fault}{quiet}; trying again until it works")
        self._refusal = fault
        self._shut_in(self._retry_s)
        self._retry_s = min(RETRY_MAX_S, 2 * self._retry_s)

    def _shut_in(self, wait_s: float) -> None:
        self.call_off_retry()
        self._retry = asyncio.get_running_loop().call_later(wait_s, self._shut_again)

    def _shut_again(self) -> None:
        self.state.is_due = not self.state.is_wanted
        self.state.is_shed_due = bool(self.leftovers)
        self.go_on()

    def call_off_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _tell_owed(self) -> None:
        owed, self.state.owed = self.state.owed, Owed.NOTHING
        if owed is Owed.DROPPED:
            self._post(Dropped(group=self._group, ballot=self._ballot))
        else:
            self._post(TakeFailed(group=self._group, ballot=self._ballot, error=self._error))

    def _undo(self) -> None:
        """Last first. It delays nobody: the traffic has ended."""
        laters: list[tuple[Step, Later]] = []
        for step in reversed(self.steps[: self.state.begun]):
            if step.shuts:
                continue
            try:
                later = step.drop(self._ballot)
            except step.faults as fault:
                self._note(Kind.FAILED, f"{step.name}: {fault}")
                continue
            if later is not None:
                laters.append((step, later))
        self.state.begun = 0
        if laters:
            self.state.undoing += 1
            self.turns.run(partial(self._finish_undoing, laters))

    async def _finish_undoing(self, laters: Sequence[tuple[Step, Later]]) -> None:
        for step, later in laters:
            began = time.perf_counter_ns()
            fault = await self.bounded(step, later())
            self._measure(step, "drop_us", began)
            if fault:
                self._note(Kind.FAILED, f"{step.name}: not undone: {fault}")
        self.state.undoing -= 1
        self.go_on()

    def _measure(self, step: Step, what: str, began_ns: int) -> None:
        self.timings.setdefault(step.name, {})[what] = (time.perf_counter_ns() - began_ns) // 1000


async def _over(live: frozenset[asyncio.Task[None]], hooks: Hooks | None) -> None:
    if live:
        await asyncio.wait(live)
    if hooks is not None:
        await hooks.finished()
