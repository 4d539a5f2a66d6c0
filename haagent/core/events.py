"""What enters the core (events, past tense) and what leaves it (actions, imperative).

Contract of the actions: the shell performs them in list order, which is the order of urgency: letting go before all,
words for people last. `Send` is best effort. `Take` and `Drop` set the wanted
level of a group and are answered later by `Taken`, `TakeFailed` or `Dropped`, each naming the ballot it answers.
Instants (`until`) are seconds of the same clock as `now`.

All are tagged structs, so that a trace of (now, events, actions) can be written and replayed.
"""

from __future__ import annotations

import msgspec

from haagent.core.event_kinds import Kind
from haagent.core.messages import Ballot, Heartbeat, Record
from haagent.core.settings import Memory, Settings


class Event(msgspec.Struct, frozen=True, tag=True):
    """Something that has happened."""


class Woke(Event, frozen=True, tag=True):
    """The deadline passed."""


class HeartbeatHeard(Event, frozen=True, tag=True):
    beat: Heartbeat
    link: str  # name of the interface it came in on


class HealthChanged(Event, frozen=True, tag=True):
    """Whether this node is fit to hold `group`, and what its failing checks weigh. A group starts fit, with nothing."""

    group: str
    ok: bool
    why: str = ""
    penalty: int = 0


class GatewayChanged(Event, frozen=True, tag=True):
    reachable: bool | None


class Guarded(Event, frozen=True, tag=True):
    """The answer to `Watch`, each time it changes: who still answers for the addresses; empty: nobody does."""

    group: str
    why: str


class Fenced(Event, frozen=True, tag=True):
    """It has been made sure that `node` is down: by its fence, or the operator says so."""

    node: str
    how: str = ""


class ArbiterChanged(Event, frozen=True, tag=True):
    """Whether the outside arbiter (etcd) can be reached."""

    reachable: bool
    why: str = ""


class Granted(Event, frozen=True, tag=True):
    """The arbiter is bound to `ballot`, for one lease from `asked_at` at the least."""

    group: str
    ballot: Ballot
    asked_at: float  # when the request was sent
    addresses: tuple[int, ...] = ()  # of those that the claim names: what nobody had when it was written there


class Recorded(Event, frozen=True, tag=True):
    """Which addresses other nodes have by what they have written at the arbiter: all of them, each time it changes."""

    owners: tuple[tuple[int, str, str], ...]  # number, node, group


class Denied(Event, frozen=True, tag=True):
    """The arbiter is bound to somebody else, who lives; or it has seen a ballot that is not lower than this claim."""

    group: str
    ballot: Ballot  # the claim that is refused
    stored: Ballot  # what stands there
    is_bound: bool  # to somebody else; otherwise a higher ballot is all it takes


class Taken(Event, frozen=True, tag=True):
    """The activation of `group` is complete: clients are served here."""

    group: str
    ballot: Ballot


class TakeFailed(Event, frozen=True, tag=True):
    """The activation failed and was rolled back: nothing of it is left."""

    group: str
    ballot: Ballot
    error: str


class Dropped(Event, frozen=True, tag=True):
    """No traffic for `group` can arrive here any more."""

    group: str
    ballot: Ballot


class AddressFound(Event, frozen=True, tag=True):
    """At start: an earlier life of this agent left `group`'s addresses in place (maintenance lets us adopt them)."""

    group: str


class Asked(Event, frozen=True, tag=True):
    """An operator's command, answered by `Answer` with the same id."""

    id: int
    what: str  # move | standby | unstandby | maintenance | clear
    group: str = ""
    node: str = ""
    on: bool = True
    force: bool = False
    wait_s: float = 10.0  # of a move: void after this


class Reconfigured(Event, frozen=True, tag=True):
    settings: Settings


class Lingering(Event, frozen=True, tag=True):
    """Another configuration has taken these from the group, and the kernel does not let go of them yet."""

    group: str
    addresses: tuple[int, ...]


class ClockSet(Event, frozen=True, tag=True):
    """Wall-clock seconds at `now` = 0, for the history only."""

    offset_s: float


class ClockSteered(Event, frozen=True, tag=True):
    """The host's clock is made to run so much faster than its counter: told when that goes beyond the bound, or comes
    back (`clocks`)."""

    slew: float


class Noticed(Event, frozen=True, tag=True):
    """The shell did or saw something worth a line of history (an address restored, a link lost). Nothing follows."""

    kind: Kind
    group: str
    text: str


class StopRequested(Event, frozen=True, tag=True):
    """Leave: hand over everything, then `Stopped`."""


# What one group is told.
AnyGroupEvent = HealthChanged | Taken | TakeFailed | Dropped | AddressFound | Guarded | Granted | Denied

AnyEvent = (
    AnyGroupEvent
    | Woke
    | HeartbeatHeard
    | GatewayChanged
    | Fenced
    | ArbiterChanged
    | Recorded
    | Asked
    | Reconfigured
    | Lingering
    | ClockSet
    | ClockSteered
    | Noticed
    | StopRequested
)


class Action(msgspec.Struct, frozen=True, tag=True):
    """Something the shell must do."""


class Send(Action, frozen=True, tag=True):
    """To every other node, over every link."""

    beat: Heartbeat


class Take(Action, frozen=True, tag=True):
    """Start to serve `group`; the right to do so ends at `until` unless renewed."""

    group: str
    ballot: Ballot
    until: float
    vanished: tuple[str, ...] = ()  # members that may still serve it: to be fenced before anything else is done
    withheld: tuple[int, ...] = ()  # of its addresses those that are not served, as in `Withhold`


class Withhold(Action, frozen=True, tag=True):
    """Of the addresses of `group`, which is held, serve all but these, by number.

    After a reload those that the group has gained are not served before this is said.
    """

    group: str
    addresses: tuple[int, ...]


class Renew(Action, frozen=True, tag=True):
    group: str
    until: float


class Drop(Action, frozen=True, tag=True):
    """Stop serving `group` now. Cancels a `Take` under way."""

    group: str
    ballot: Ballot
    why: str


class Farewell(Action, frozen=True, tag=True):
    """Send `beat` when `Drop` is done, if its `Dropped` is the first event of the next step; else forget it.

    It says what the core will say when it hears of that, so that the successor need not wait for the core.
    """

    group: str
    ballot: Ballot
    beat: Heartbeat


class Prepare(Action, frozen=True, tag=True):
    """`group` is about to move, to this node or away from it: do ahead what changes nothing and will be needed then."""

    group: str


class Watch(Action, frozen=True, tag=True):
    """Find out, and go on finding out until told otherwise, whether anybody answers for the addresses of `group`."""

    group: str
    on: bool


class Freed(msgspec.Struct, frozen=True):
    """A node has said in its life `boot` that it has let go of everything up to `ballot`."""

    ballot: Ballot
    boot: int


class Claim(Action, frozen=True, tag=True):
    """Ask the arbiter to bind itself to `ballot`, or to stay bound. It stands until `Relinquish`."""

    group: str
    ballot: Ballot
    asked_at: float
    freed: tuple[Freed, ...] = ()  # leases whose end the arbiter need not wait for
    after: Ballot | None = None  # it has granted this one before: a state of it that knows only lower ones is past
    addresses: tuple[int, ...] = ()  # that would be served with it


class Relinquish(Action, frozen=True, tag=True):
    """Tell the arbiter that `ballot` is free, and claim no more."""

    group: str
    ballot: Ballot


class Announce(Action, frozen=True, tag=True):
    """Tell the neighbours again who has the addresses: a rival was heard."""

    group: str
    why: str


class Remember(Action, frozen=True, tag=True):
    """Keep over a restart; written when convenient."""

    memory: Memory


class Note(Action, frozen=True, tag=True):
    """A line of this node's history."""

    record: Record


class Answer(Action, frozen=True, tag=True):
    """To the operator's command `id`. `status` is the exit status of design section 9: 0 done, 4 refused."""

    id: int
    status: int
    text: str


class Stopped(Action, frozen=True, tag=True):
    """Nothing is held any more and the peers have been told: the process may exit.

    With a reason why this life had to end, nobody was told, or may be: it exits so that another is started.
    """

    why: str = ""


# In this order within one step. A heartbeat never waits for a line of history to be written; it does wait for what it
# sets off: the group is still served while that is prepared.
URGENCY: tuple[type[Action], ...] = (
    *(Drop, Farewell, Take, Withhold, Prepare, Send, Relinquish, Claim, Watch, Announce, Renew),
    *(Answer, Note, Remember, Stopped),
)

_Urgent = Send | Take | Withhold | Renew | Drop | Farewell | Prepare | Watch | Claim | Relinquish | Announce
AnyAction = _Urgent | Remember | Note | Answer | Stopped
