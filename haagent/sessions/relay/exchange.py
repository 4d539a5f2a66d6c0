"""One client's commands at Redis: sent and answered in order, and what becomes of them when the connection breaks.

`_items` are unanswered; the first `_sent` of them are on their way. Redis answers in order, so what it says belongs to
the first, and is passed on as it comes. Three things are kept back:

1. The reply to a change, until replicas have it (`sync`). Behind each row of changes a WAIT is sent; the replies of the
   row are in `_row` until it is answered.
2. A refusal of a Redis that is no master (REFUSALS). The command was not executed, so it will be sent to the next one.
   What else was on its way is heard to the end, and goes into `_again` too; a change that did succeed meanwhile must
   not be overtaken, so everything in front of it is answered with AWAY then.
3. Nothing else, so a value of any size takes little memory here.

When the connection is lost, what was only read is sent again. A change may have been made: it is answered with UNKNOWN,
and not repeated, and what was read before it is not repeated either. Who has waited for HOLD_S is answered with AWAY.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

from haagent.sessions.relay.framing import Broken, is_message
from haagent.sessions.relay.items import AWAY, UNKNOWN, Item
from haagent.sessions.relay.session import Session
from haagent.sessions.relay.source import LONGEST_PAUSE_S, SHORTEST_PAUSE_S, Source
from haagent.sessions.relay.upstream import Client, Fate, Upstream
from haagent.sessions.relay.wire import CONNECT_S

HOLD_S = 1.5
RETIRE_S = 0.5  # for what is on its way when another becomes master
MOST_SENT = 256  # commands on their way
LONGEST_ROW = 32  # changes with one WAIT
LONGEST_LINE = 64 * 1024

REFUSALS = {b"-READONLY", b"-LOADING", b"-MASTERDOWN", b"-UNBLOCKED"}
_ERROR, _ARRAY, _PUSH = b"-*>"


class Exchange:
    def __init__(self, source: Source, session: Session, client: Client, *, most_kept: int) -> None:
        self._source, self._session, self._client, self._most_kept = source, session, client, most_kept
        self._loop = asyncio.get_running_loop()
        self._items: deque[Item] = deque()
        self._sent = 0
        self._row: list[bytes] = []
        self._again: list[Item] = []
        self._upstream: Upstream | None = None
        self._is_retiring = self._is_bound = self._is_closed = self._is_suspect = self._is_over = False
        self._reaching: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._out: list[bytes] = []
        self._kept: list[bytes] = []  # of a reply that is not passed on yet
        self.kept_bytes = 0  # and of the row
        self._is_error = self._is_refused = False
        self._greetings = 0  # what a new connection was told and has not answered: commands come after that

    @property
    def waiting(self) -> int:
        """Commands that are unanswered."""
        return len(self._items) + len(self._again)

    @property
    def waiting_bytes(self) -> int:
        return sum(len(item.wire) for each in (self._items, self._again) for item in each)

    # ------------------------------------------------------------------ what the client asks

    def ask(self, found: list[Item]) -> None:
        items, source = self._items, self._source
        row = 0
        for item in found:
            if row and (not item.waits or row >= LONGEST_ROW):
                items.append(source.wait())
                row = 0
            items.append(item)
            row += item.waits
            if item.resets:
                items.extend(self._session.preamble())
        if row:
            items.append(source.wait())
        self._source.counts["commands"] += len(found)
        self.push()

    def push(self) -> None:
        """Send what may be sent."""
        items, upstream = self._items, self._upstream
        if upstream is None:
            self._answer_ours()
            self._flush()
            if items and not self._is_closed:
                self._reach()
            return
        if not self._again and not self._is_retiring and not self._greetings:
            wires = []
            while (
                self._sent < len(items) and self._sent < MOST_SENT and not upstream.is_full and not self._client.is_full
            ):
                item = items[self._sent]
                self._sent += 1
                item.again = False
                self._is_bound |= item.binds
                if item.answer is None:
                    wires.append(item.wire)
            if wires:
                upstream.write(wires[0] if len(wires) == 1 else b"".join(wires))
        self._answer_ours()
        self._flush()

    def close(self) -> None:
        """The client is gone. What it has sent is still executed."""
        self._is_closed = True
        self._items.clear()
        self._again.clear()
        self._sent = 0
        self._calm()
        if self._reaching is not None:
            self._reaching.cancel()
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None

    def read(self, *, wanted: bool) -> None:
        """The client reads, or does not."""
        if self._upstream is not None:
            self._upstream.read(wanted=wanted)
        if wanted:
            self.push()

    def _answer_ours(self) -> None:
        items = self._items
        while items and not self._again and (answer := items[0].answer) is not None:
            item = items.popleft()
            self._sent = max(0, self._sent - 1)
            self._out.append(answer)
            self._is_over |= item.closes

    def _flush(self) -> None:
        if self._out:
            out, self._out = self._out, []
            self._client.write(out[0] if len(out) == 1 else b"".join(out))
        if self._is_over:
            self._client.part()

    # ------------------------------------------------------------------ what Redis answers

    def passes(self, piece: bytes) -> None:
        self._out.append(piece)

    def keeps(self, piece: bytes) -> None:
        self._kept.append(piece)
        self.kept_bytes += len(piece)
        if self.kept_bytes > self._most_kept:
            self._client.drop("output_overflows")

    def went_on(self) -> None:
        """What came together has been taken in."""
        self._flush()
        if not self._is_closed:
            if self._sent < len(self._items):
                self.push()
            self._client.go_on()

    def begin(self, data: bytes, at: int) -> Fate | None:
        """Of the reply that begins there: what is done with it. None: more of it is needed to know."""
        first = data[at]
        items = self._items
        item = items[0] if self._sent else None
        if first == _PUSH or (first == _ARRAY and self._session.hears):
            if (is_aside := is_message(data, at, is_asked=item is not None)) is None:
                return None
            if is_aside:
                return Fate.ASIDE
        self._is_error = self._is_refused = False
        if item is None:
            raise Broken("nobody has asked")
        if first == _ERROR:
            end = data.find(b"\n", at)
            if end < 0:
                if len(data) - at > LONGEST_LINE:
                    raise Broken("a line without end")
                return None
            self._is_error = True
            if data[at:end].partition(b" ")[0].strip() in REFUSALS or (item.is_preamble and item.is_vital):
                self._is_refused = True
                return Fate.DROP
        if self._again:
            if not item.changes:
                return Fate.DROP
            for each in self._again:
                self._resolve(each)
            self._again.clear()
        if item.is_wait or item.waits:
            return Fate.KEEP
        if item.is_silent:
            return Fate.DROP
        item.begun = True
        return Fate.PASS

    def end(self) -> None:
        """Of a reply."""
        items = self._items
        if not items:  # the client was dropped
            return
        item = items[0]
        if item.frames > 1 and not self._is_error:
            item.frames -= 1
            return
        items.popleft()
        self._sent -= 1
        if self._is_refused or (self._again and not item.changes):
            self._refused(item)
            return
        if item.is_preamble:
            self._greetings -= 1
        elif item.is_wait:
            self._out += self._source.waited(b"".join(self._kept), self._row)
            self._row.clear()
            self.kept_bytes = 0
        elif item.waits:
            self._row.append(b"".join(self._kept))
        self._kept.clear()
        if item.frees:
            self._is_bound = any(items[at].binds for at in range(self._sent))
        if item.after is not None:
            item.after(not self._is_error)
        self._is_over |= item.is_vital and self._is_error
        if not item.is_silent:
            self._is_suspect = False
            self._calm()
        self._answer_ours()
        if self._is_retiring and not self._sent and self._upstream is not None:
            self._leave(self._upstream)

    # ------------------------------------------------------------------ when it is no master, or gone

    def _refused(self, item: Item) -> None:
        upstream = self._upstream
        assert upstream is not None  # it has just answered
        item.again = True
        self._again.append(item)
        self._is_suspect = True
        self._kept.clear()
        if self._is_bound:
            for each in list(self._items)[: self._sent]:  # the transaction is refused as a whole
                each.again = True
                if each.frees:
                    break
        while self._sent and self._items[0].answer is not None:  # it keeps its place
            self._again.append(self._items.popleft())
            self._sent -= 1
        if self._is_bound or not self._sent:
            self._leave(upstream)

    def _leave(self, upstream: Upstream) -> None:
        """It is no master any more; all that was sent is answered, or will be sent again."""
        upstream.close()
        self.lost(upstream)
        self._source.doubt()

    def retire(self) -> None:
        """Another one may be master now. What is on its way has a moment to come in."""
        upstream = self._upstream
        if upstream is None or self._is_retiring:
            return
        self._is_retiring = True
        if not self._sent:
            self.lost(upstream)
            upstream.close()
        else:
            self._loop.call_later(RETIRE_S, self._give_up_on, upstream)

    def _give_up_on(self, upstream: Upstream) -> None:
        if upstream is self._upstream:
            upstream.abort()
            self.lost(upstream)

    def broke(self, upstream: Upstream) -> None:
        """It says what no Redis says."""
        self._source.counts["strange_replies"] += 1
        self._give_up_on(upstream)

    def lost(self, upstream: Upstream) -> None:
        if upstream is not self._upstream:
            return  # it was left before
        self._upstream, self._is_retiring = None, False
        self._source.counts["reconnects"] += 1
        items, again = self._items, self._again
        if (self._sent and items[0].begun) or upstream.is_in_message:
            self._client.drop("lost_midway")  # a part of a reply cannot be taken back
            self._sent = 0
            items.clear()
            return
        self._kept.clear()
        self.kept_bytes = self._greetings = 0
        sent = [*again, *(items.popleft() for _ in range(self._sent))]
        again.clear()
        self._sent = 0
        self._out += [UNKNOWN] * len(self._row)
        self._source.counts["unknown_outcomes"] += len(self._row)
        self._row.clear()
        sent = [item for item in sent if not item.is_preamble]
        is_bound = self._is_bound or self._session.hears or self._session.is_stuck
        last = len(sent) - 1
        while last >= 0 and not is_bound and (not sent[last].changes or sent[last].again):
            last -= 1
        for item in sent[: last + 1]:
            self._resolve(item)
        rest = deque(sent[last + 1 :])
        while rest and rest[0].is_wait:
            rest.popleft()
        items.extendleft(reversed(rest))
        self._is_over |= is_bound
        self._answer_ours()
        self._flush()
        if items and not self._is_over and not self._is_closed:
            self._reach()
        self._client.go_on()

    def _resolve(self, item: Item) -> None:
        if item.is_silent:
            return
        self._is_over |= item.is_vital or item.closes
        if item.answer is not None:
            self._out.append(item.answer)
        elif item.changes and not item.again:
            self._source.counts["unknown_outcomes"] += 1
            self._out.append(UNKNOWN)
        else:
            self._source.counts["given_up"] += 1
            self._out.append(AWAY)

    # ------------------------------------------------------------------ the next connection

    def _reach(self) -> None:
        if self._source.is_away(HOLD_S):
            self._give_up()
            return
        if self._patience is None:
            self._patience = self._loop.call_later(HOLD_S, self._give_up)
        if self._reaching is None:
            self._reaching = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        is_held = self._is_suspect or self._source.target is None
        pause_s = SHORTEST_PAUSE_S if self._is_suspect else 0.0
        while self._items:
            if pause_s:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 it spreads retries
            pause_s = min(max(2 * pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
            address = await self._source.found()
            try:
                async with asyncio.timeout(CONNECT_S):
                    _, upstream = await address.connect(lambda: Upstream(self))
            except OSError:
                is_held = True
                self._source.doubt()
                continue
            if address == self._source.target:
                self._source.counts["held"] += len(self._items) if is_held else 0
                self._use(upstream)
                break
            upstream.abort()  # another one is master meanwhile
        self._reaching = None

    def _use(self, upstream: Upstream) -> None:
        self._upstream = upstream
        if self._client.is_full:
            upstream.read(wanted=False)
        first = self._session.preamble()
        for item in first:
            item.is_preamble = True
        self._items.extendleft(reversed(first))
        self._sent = self._greetings = len(first)
        upstream.write(b"".join([item.wire for item in first]))

    def _give_up(self) -> None:
        self._patience = None
        if self._upstream is not None and (self._again or self._greetings):
            self._give_up_on(self._upstream)
        if self._upstream is not None:
            return  # what was sent there is answered when it is done
        for item in self._items:
            item.again = True  # none of them is on its way
            self._resolve(item)
        self._items.clear()
        self._flush()
        self._client.go_on()

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
