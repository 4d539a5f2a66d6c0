"""One group on this node: what the core wants of it, and the pipeline that makes it so.

`tenure` is the wanted level: a ballot and an instant, or None. `take` walks the steps in order; as long as they
are done at once (arp), the whole walk and its answer `Taken` happen inside the call. A step that must wait
continues in a task. `drop` needs no walk: the steps that shut the traffic are dropped inside the call, `Dropped`
is said, and the rest (the backend, the hooks) follows in a task.

Why a drop always wins. The tenure is one object, and a continuation compares it by identity each time it wakes: a
take that was overtaken finds another tenure (or none) and stops. Addresses are added only inside a turn of the
loop in which the tenure was current. So there is no moment at which a late end of a take could bring an address
back. Asynchronous work of a group runs one after another (`_background`), so a backend never sees a drop overlap
the take that it undoes.

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
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from haagent.activation.hooks import Call, Hooks
from haagent.activation.ports import Clock, Post
from haagent.activation.steer import SteerStep
from haagent.activation.steps import AHEAD_S, FAULTS, AddressStep, GateStep, Later, Leftover, Step, Tenure
from haagent.contained import one_line
from haagent.core.events import AnyEvent, Dropped, TakeFailed, Taken
from haagent.core.kinds import Kind, Note
from haagent.core.messages import Ballot

GRACE_S = 0.002  # after `until`: the core's own timer goes first; only a hung core lets ours act
HIDDEN_S = 0.01  # how long an address may stay behind a shut gate: the successor is at work meanwhile
RETRY_FIRST_S, RETRY_MAX_S = 0.01, 1.0  # of a removal that the kernel refused
VERIFY_S = 10.0  # between two questions to a backend that is not local: their APIs are rate limited


class GroupPipeline:
    def __init__(
        self, name: str, *, steps: Sequence[Step], hooks: Hooks | None, post: Post, note: Note, now: Clock
    ) -> None:
        self.name = name
        self.tenure: Tenure | None = None
        self.is_complete = False
        self.is_hidden = False  # addresses may be there, behind a shut gate; they go again if no take comes
        self.is_adopting = False  # an earlier life's addresses are left in place until the core has decided
        self.counters: Counter[str] = Counter()
        self.timings: dict[str, dict[str, int]] = {}  # step -> {"take_us", "drop_us"}
        self.leftovers: tuple[Leftover, ...] = ()
        self._equip(steps, hooks)
        self._reached = 0  # how many steps the current tenure has begun
        self._post, self._now = post, now
        self._tell = note
        self._live: set[asyncio.Task[None]] = set()
        self._taking: asyncio.Task[None] | None = None  # the one of them that a drop cancels
        self._owed: AnyEvent | None = None
        self._winding_down = 0  # how many are under way
        self._refusal = ""  # of the kernel, as last noted
        self._lapsed: Ballot | None = None
        self._guard: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = RETRY_FIRST_S
        self._verified_at = 0.0

    def _equip(self, steps: Sequence[Step], hooks: Hooks | None) -> None:
        self._steps, self._hooks = tuple(steps), hooks
        self.gate = next((step for step in self._steps if isinstance(step, GateStep)), None)
        self._address = next((step for step in self._steps if isinstance(step, AddressStep)), None)

    # the core's words

    @property
    def is_open(self) -> bool:
        """Traffic is let in, or may be: the take has come as far as the steps that do that."""
        return self.tenure is not None and any(step.shuts for step in self._steps[: self._reached])

    @property
    def has_lease(self) -> bool:
        return self.tenure is not None and self._now() < self.tenure.until

    def take(self, ballot: Ballot, until: float, vanished: tuple[str, ...] = ()) -> None:
        self.is_adopting = self.is_hidden = False
        if self.tenure is not None and self.tenure.ballot == ballot:
            self.renew(until)
            if self.is_complete:
                self._post(Taken(group=self.name, ballot=ballot))
            return
        self._cancel_take()
        self._owed = self._lapsed = None
        self.tenure = tenure = Tenure(ballot, until, vanished)
        self.is_complete, self._reached = False, 0
        self._proceed(tenure, 0)
        self._watch_lease()

    def prepare(self) -> None:
        """A take or a drop is expected within milliseconds: what makes neither difference nor noise is done now.

        Addresses are added behind the shut gate, and a transaction that changes nothing wakes the kernel's part of it.
        """
        if self.gate is None:
            return
        is_idle = self.tenure is None and not self.is_adopting and not self.is_hidden
        try:
            self.gate.rehearse()
            if is_idle and self._address is not None and self.gate.is_proof:
                self.is_hidden = True
                self._settle_in(AHEAD_S)
                self._address.prepare()
        except FAULTS as fault:
            self._note(Kind.FAILED, f"the move was not prepared: {fault}")

    def renew(self, until: float) -> None:
        if self.tenure is not None:
            self.tenure.until = until
            if self.gate is not None:
                self.gate.renew(until)
        elif self._lapsed is not None:
            self._post(Dropped(group=self.name, ballot=self._lapsed))  # the core has missed it: say it again

    def drop(self, ballot: Ballot, why: str) -> None:
        was_active = self.tenure is not None or self.is_adopting
        if self.is_adopting:
            self._reached = len(self._steps)  # nothing is known of what the earlier life did
        self.tenure, self.is_complete, self.is_adopting = None, False, False
        self._lapsed = None
        self._cancel_take()
        self._owed = Dropped(group=self.name, ballot=ballot)
        self._settle()
        if was_active:
            self._wind_down(ballot)
            self._call_hooks("released", ballot, why)

    def reassert(self) -> None:
        """A rival was heard, or an address was put back: say again who serves."""
        if self.tenure is None:
            return
        for step in self._steering():
            if step.announce():
                self.counters["announced"] += 1
            else:
                self._verified_at = 0.0
        self.verify()

    def verify(self) -> None:
        """Ask a backend that is not local whether we still hold. Called every two seconds; it asks more seldom."""
        tenure = self.tenure
        if tenure is None or not self.is_complete or self._live:
            return
        if self._now() - self._verified_at < VERIFY_S and self._verified_at:
            return
        self._verified_at = self._now()
        remote = [step for step in self._steering() if not step.is_immediate]
        if remote:
            self._taking = self._background(lambda: self._verify(tenure, remote))

    async def close(self) -> None:
        if self.tenure is not None:
            self.drop(self.tenure.ballot, "the agent stops")
        if self.is_hidden:
            self._settle()
        self._call_off_retry()
        await self.finished()

    def finished(self) -> Coroutine[Any, Any, None]:
        """Waits for what has been begun at this moment: steps, and hooks."""
        return _over(frozenset(self._live), self._hooks)

    # a reload, in one turn of the loop: first all groups are refitted or ended, then all go on

    def refit(self, fresh: GroupPipeline, leftover: Leftover | None) -> None:
        """The steps of that one from now on. `leftover`: what they know nothing of any more."""
        self._cancel_take()
        for step in self._steering():
            if step.is_immediate:
                step.drop(self.tenure.ballot if self.tenure is not None else Ballot(0, ""))  # it repeats itself no more
        if self.tenure is not None:
            # Another object, so that what still waits for an old step ends there.
            vanished = () if self.is_open else self.tenure.vanished
            self.tenure = Tenure(self.tenure.ballot, self.tenure.until, vanished)
        if fresh._hooks is not None and self._hooks is not None:
            fresh._hooks.follow(self._hooks)
        self._equip(fresh._steps, fresh._hooks)
        self.is_complete, self._reached = False, 0
        if leftover is not None:
            self.leftovers += (leftover,)
            self._settle()

    def go_on(self) -> None:
        if self.tenure is not None:
            self._proceed(self.tenure, 0)

    def end(self, why: str) -> None:
        """The configuration has no such group any more."""
        if self.tenure is not None or self.is_adopting:
            self.drop(self.tenure.ballot if self.tenure is not None else Ballot(0, ""), why)
        if self.is_hidden:
            self._settle()  # at once: another group may get its addresses in this very turn

    @property
    def is_settled(self) -> bool:
        """Nothing of it is left on this host, and nothing is owed to the core."""
        return self.tenure is None and self._owed is None and not self.is_hidden and not self.leftovers

    def retire(self) -> None:
        """This process ends and leaves the group in place: no word, no timer, no task."""
        self.tenure, self._owed = None, None
        self._cancel_take()
        self._call_off_retry()
        if self._guard is not None:
            self._guard.cancel()

    # taking

    def _proceed(self, tenure: Tenure, start: int) -> None:
        for position in range(start, len(self._steps)):
            step = self._steps[position]
            self._reached = position + 1
            began = time.perf_counter_ns()
            try:
                later = step.take(tenure)
            except FAULTS as fault:
                self._fail(tenure, f"{step.name}: {fault}")
                return
            if later is not None:
                self._taking = self._background(partial(self._continue, tenure, position, later))
                return
            self._measure(step, "take_us", began)
        self.is_complete = True
        self._verified_at = self._now()
        self._post(Taken(group=self.name, ballot=tenure.ballot))
        self._call_hooks("taken", tenure.ballot, "")

    async def _continue(self, tenure: Tenure, position: int, later: Later) -> None:
        if self.tenure is not tenure:
            return
        step = self._steps[position]
        began = time.perf_counter_ns()
        fault = await self._bounded(step, later())
        if self.tenure is not tenure:
            return
        if fault:
            self._fail(tenure, f"{step.name}: {fault}")
            return
        self._measure(step, "take_us", began)
        self._proceed(tenure, position + 1)

    def _fail(self, tenure: Tenure, fault: str) -> None:
        self.tenure = None
        error = one_line(fault)
        self._owed = TakeFailed(group=self.name, ballot=tenure.ballot, error=error)
        self._note(Kind.FAILED, error)
        self._taking = None
        self._wind_down(tenure.ballot)
        self._settle()
        self._call_hooks("failed", tenure.ballot, error)

    # letting go

    def _settle(self) -> None:
        """Say what is owed, as soon as it is true."""
        self._call_off_retry()
        left = self._shed()
        if self._owed is None and not self.is_hidden:
            if left:
                self._try_again(left)
            return
        if not self.is_hidden and not left and self._shuts_the_gate():
            self.is_hidden = True
            self._settle_in(HIDDEN_S)
            self._pay()
            return
        fault = "; ".join(filter(None, (left, self._shut())))
        is_silent = all(leftover.is_silent for leftover in self.leftovers)
        self.is_hidden = bool(fault) and is_silent and self.gate is not None and self.gate.is_proof
        if fault:
            self._try_again(fault)
            if not self.is_hidden:
                return
        else:
            self._retry_s, self._refusal = RETRY_FIRST_S, ""
        self._pay()

    def _settle_in(self, wait_s: float) -> None:
        self._call_off_retry()
        self._retry = asyncio.get_running_loop().call_later(wait_s, self._settle)

    def _call_off_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _pay(self) -> None:
        if self._owed is None or (isinstance(self._owed, TakeFailed) and self._winding_down):
            return  # `_undo` comes here again
        owed, self._owed = self._owed, None
        self._post(owed)

    def _try_again(self, fault: str) -> None:
        if fault != self._refusal:
            kind, quiet = (
                (Kind.FAILED, "; the gate is shut, so no traffic arrives") if self.is_hidden else (Kind.STUCK, "")
            )
            self._note(kind, f"{fault}{quiet}; trying again until it works")
        self._refusal = fault
        self._settle_in(self._retry_s)
        self._retry_s = min(RETRY_MAX_S, 2 * self._retry_s)

    def _shed(self) -> str:
        """What the configuration has taken from this group goes. Returns why some of it is still there."""
        refused: dict[Leftover, str] = {}
        for leftover in self.leftovers:
            try:
                leftover.drop()
            except FAULTS as fault:
                refused[leftover] = str(fault)
        self.leftovers = tuple(refused)
        return "; ".join(refused.values())

    def _shuts_the_gate(self) -> bool:
        return self.gate is not None and not self._drop_step(self.gate) and self.gate.is_proof

    def _shut(self) -> str:
        """No traffic arrives afterwards. Returns why that is not so."""
        return "; ".join(filter(None, (self._drop_step(step) for step in reversed(self._steps) if step.shuts)))

    def _drop_step(self, step: Step) -> str:
        ballot = self._owed.ballot if isinstance(self._owed, Dropped | TakeFailed) else Ballot(0, "")
        began = time.perf_counter_ns()
        try:
            step.drop(ballot)
        except FAULTS as fault:
            return f"{step.name}: {fault}"
        finally:
            self._measure(step, "drop_us", began)
        return ""

    def _wind_down(self, ballot: Ballot) -> None:
        """Undo the rest, last first: it delays nobody, the traffic has ended."""
        laters: list[tuple[Step, Later]] = []
        for step in reversed(self._steps[: self._reached]):
            if step.shuts:
                continue
            try:
                later = step.drop(ballot)
            except FAULTS as fault:
                self._note(Kind.FAILED, f"{step.name}: {fault}")
                continue
            if later is not None:
                laters.append((step, later))
        self._reached = 0
        if laters:
            self._winding_down += 1
            self._background(lambda: self._undo(laters))

    async def _undo(self, laters: Sequence[tuple[Step, Later]]) -> None:
        for step, later in laters:
            began = time.perf_counter_ns()
            fault = await self._bounded(step, later())
            self._measure(step, "drop_us", began)
            if fault:
                self._note(Kind.FAILED, f"{step.name}: not undone: {fault}")
        self._winding_down -= 1
        if isinstance(self._owed, TakeFailed):
            self._settle()

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
            " let go without being asked; the agent hung or was starved of processor time",
        )

    def _note(self, kind: Kind, text: str) -> None:
        self._tell(kind, self.name, one_line(text))

    # asynchronous work, one after another

    def _background(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._after(frozenset(self._live), work))
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        return task

    async def _after(self, earlier: frozenset[asyncio.Task[None]], work: Callable[[], Awaitable[None]]) -> None:
        if earlier:
            # Each is bounded by its steps' time limits; one that ignores even its cancellation is not waited for.
            await asyncio.wait(earlier, timeout=2 * sum(step.timeout_s for step in self._steps))
        await work()

    def _cancel_take(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    async def _bounded(self, step: Step, work: Awaitable[object]) -> str:
        """The fault in words, empty if there was none."""
        try:
            async with asyncio.timeout(step.timeout_s):
                await work
        except TimeoutError:
            return f"no answer within {step.timeout_s:g} s"
        except FAULTS as fault:
            return str(fault)
        return ""

    async def _verify(self, tenure: Tenure, remote: Sequence[SteerStep]) -> None:
        for step in remote:
            answers: list[bool] = []

            async def ask(step: SteerStep = step, answers: list[bool] = answers) -> None:
                answers.append(await step.verify(tenure.ballot))

            fault = await self._bounded(step, ask())
            if self.tenure is not tenure:
                return
            if fault:
                self._note(Kind.DRIFT, f"{step.name}: cannot tell whether clients are steered here: {fault}")
            elif answers == [False]:
                self.counters["repaired"] += 1
                self._note(Kind.DRIFT, f"{step.name}: clients were steered elsewhere; steered here again")

    def _steering(self) -> list[SteerStep]:
        return [step for step in self._steps if isinstance(step, SteerStep)]

    def _call_hooks(self, event: str, ballot: Ballot, why: str) -> None:
        if self._hooks is not None:
            self._hooks.add(Call(event, ballot, why))

    def _measure(self, step: Step, what: str, began_ns: int) -> None:
        self.timings.setdefault(step.name, {})[what] = (time.perf_counter_ns() - began_ns) // 1000


async def _over(live: frozenset[asyncio.Task[None]], hooks: Hooks | None) -> None:
    if live:
        await asyncio.wait(live)
    if hooks is not None:
        await hooks.finished()
