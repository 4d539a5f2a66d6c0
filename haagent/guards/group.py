"""One group's addresses among the neighbours: asked about before they are taken, defended while they are held.

What is heard of an address means: while the group is not held here and the core wants to know, somebody answers for
it; while it is held, somebody else uses it too. A probe (somebody asks whether the address is free) is neither: our
kernel answers it as it answers any question, and that keeps a well-behaved host away. It is still worth a line, unless
it is marked as the question of another node of a cluster.

One question is also asked at each take, without waiting for the answer: the lease decides, and what comes back is a
conflict with somebody who is not part of this.
"""

from __future__ import annotations

import asyncio
from typing import Any

from haagent.config import GroupConfig
from haagent.core.event_kinds import Kind
from haagent.core.events import Guarded
from haagent.guards.conflict import Conflict
from haagent.guards.frames import Heard, question
from haagent.guards.inquiry import Inquiry, round_s
from haagent.guards.sniffer import Sniffer
from haagent.guards.surroundings import Surroundings
from haagent.kernel.timer import Timer

TOLD_AFTER_S = 1.0  # a heartbeat that is merely late is no line of history


class GroupGuard:
    def __init__(self, spec: GroupConfig, sniffer: Sniffer, around: Surroundings) -> None:
        self.name = spec.name
        self.addresses = {address.ip.packed: address.ip for address in spec.addresses}
        self.sniffer = sniffer
        self.conflict = Conflict()
        self.inquiry: Inquiry | None = None
        self._around = around
        self._frames: tuple[bytes, ...] = ()
        self._mac = b""
        self._told: str | None = None  # to the core
        self._asking_since = 0.0
        self._is_noted = False
        self._timer, self._defence = Timer(self._tick), Timer(self._defend_now)

    # the core's words

    def watch(self, *, on: bool) -> None:
        self._stop()
        if not on:
            return
        self.sniffer.drain()  # what was said before the question answers nothing
        self.inquiry = Inquiry(now=self._now(), round_s=round_s(self._around.lease_s))
        self._told, self._asking_since, self._is_noted = None, self._now(), False
        self._tick()

    def ask_once(self) -> None:
        """When the addresses have just been taken: an answer to it is a conflict."""
        if self.inquiry is None and not self.sniffer.fault:
            self.sniffer.say(self._questions())

    def prepare(self) -> None:
        """Write the questions before they are needed: the interface is there, or has changed."""
        self._questions()

    # what is heard

    def heard(self, said: Heard) -> None:
        if self._around.is_held(self.name):
            if not self._around.is_withheld(self.name, said.address):
                self._heard_while_held(said)
        elif self.inquiry is not None and not said.is_probe:
            who, which = said.mac.hex(":"), self.addresses[said.address]
            self.inquiry.answered(f"{which} is still answered by {who} on {self.sniffer.interface}")
            self._publish()

    def _heard_while_held(self, said: Heard) -> None:
        who, where, which = said.mac.hex(":"), self.sniffer.interface, self.addresses[said.address]
        now = self._now()
        if said.is_probe:
            if not said.is_marked:
                self.conflict.counters["probes"] += 1
                if self.conflict.may_say(now, f"{who} asks {which}"):
                    self._note(Kind.CONFLICT, f"{who} on {where} asks whether {which} is free: it is not")
            return
        self.conflict.heard(now)
        if count := self.conflict.may_say(now, f"{who} {which}"):
            times = f" ({count} times since this was last said)" if count > 1 else ""
            text = f"{who} on {where} says that it has {which}{times}"
            self._note(Kind.CONFLICT, f"{text}; this node holds the lease and announces the address again")
        if self.conflict.defend_at is not None and not self._defence.is_set:
            self._defence.set(max(0.0, self.conflict.defend_at - now))

    def _defend_now(self) -> None:
        if self._around.is_held(self.name):
            self.conflict.defended(self._now())
            self._around.defend(self.name)
        else:
            self.conflict.forget()

    # asking

    def _tick(self) -> None:
        inquiry = self.inquiry
        if inquiry is None:
            return
        self.sniffer.drain()
        now = self._now()
        if not self.sniffer.has_neighbours:
            inquiry.word, inquiry.due = "", now + TOLD_AFTER_S
        elif inquiry.advance(now) and (self.sniffer.fault or not self.sniffer.say(self._questions())):
            inquiry.void()
        self._publish()
        if self.inquiry is inquiry:  # what was published may have ended it
            self._timer.set(max(0.0, inquiry.due - now))

    def _publish(self) -> None:
        word = self.inquiry.word if self.inquiry is not None else None
        if word is None:
            return
        if word and not self._is_noted and self._now() >= self._asking_since + TOLD_AFTER_S:
            self._is_noted = True
            self._note(Kind.IN_USE, f"not taken while it is in use: {word}")
        if word == self._told:
            return
        if not word and self._is_noted:
            self._is_noted = False
            self._note(Kind.FREE, "nobody answers for its addresses any more")
        self._told = word
        self._around.post(Guarded(self.name, word))

    def _questions(self) -> tuple[bytes, ...]:
        link = self.sniffer.link
        if link is None or not link.is_ethernet:
            return ()
        if link.mac != self._mac:
            self._mac = link.mac
            layouts = self._around.layouts
            self._frames = tuple(question(layouts, address, link.mac) for address in self.addresses.values())
        return self._frames

    # the rest

    def status(self) -> dict[str, Any]:
        return {
            "asking": self.inquiry is not None,
            "word": self.inquiry.word if self.inquiry is not None else None,
            "counters": dict(self.conflict.counters),
        }

    def close(self) -> None:
        self._stop()
        self._defence.cancel()

    def _stop(self) -> None:
        self.inquiry = None
        self._timer.cancel()

    def _note(self, kind: Kind, text: str) -> None:
        self._around.note(kind, self.name, text)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
