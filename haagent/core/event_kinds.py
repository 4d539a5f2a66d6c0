"""The kinds of events in the history: each is declared here once, with how grave it is and what it means.

The log takes its level from it, `haagent events` its colour and its filter, `status` what it warns of,
`docs/reference/events.md` its table. On the wire a kind is a word. A peer of a newer release may send one that is
unknown here: it is shown as it is, and counts as `info`.
"""

from __future__ import annotations

from collections.abc import Callable

from haagent.core.meaning import Meaningful


class Severity(Meaningful):
    """From the least to the gravest."""

    INFO = "info", "normal operation; there is nothing to do"
    WARNING = "warning", "something failed or was lost, and the agents cope with it; find out why"
    ERROR = "error", "a group was not served as it should be, or two nodes may serve it; look at once"

    def reaches(self, least: Severity) -> bool:
        gravest_last = list(Severity)
        return gravest_last.index(self) >= gravest_last.index(least)


class Kind(Meaningful):
    """What an event is about. The value is the word in the history."""

    severity: Severity

    def __init__(self, word: str, severity: Severity, meaning: str) -> None:
        super().__init__(word, meaning)
        self.severity = severity

    # groups
    TAKEN = "taken", Severity.INFO, "this node now serves the group"
    DROPPED = "dropped", Severity.INFO, "this node no longer serves the group; the text says why"
    YIELDING = "yielding", Severity.INFO, "this node hands the group over to another"
    STAYS = "stays", Severity.WARNING, "a planned move did not happen: the group stays where it is"
    ANNOUNCED = "announced", Severity.INFO, "the neighbours were told again which node has the group's addresses"
    FIT = "fit", Severity.INFO, "this node may hold the group again"
    UNFIT = "unfit", Severity.WARNING, "a check says that this node must not hold the group"
    CHECK = "check", Severity.WARNING, "a check that is not required, or has a weight, fails or passes again"
    FAILED = "failed", Severity.WARNING, "a step failed; this node or the next one tries it again"
    STUCK = "stuck", Severity.ERROR, "this node may still serve what it does not hold: it could not remove it"
    LAPSED = "lapsed", Severity.ERROR, "the agent hung: the lease ended unnoticed, and a timer released the group"
    CONFLICT = "conflict", Severity.ERROR, "another node claims the group too, or a stranger uses one of its addresses"
    IN_USE = "in_use", Severity.WARNING, "somebody still answers for the group's addresses, so it is not taken yet"
    FREE = "free", Severity.INFO, "nobody answers for the group's addresses any more"
    SHARED = "shared", Severity.WARNING, "an address is with another node, in another group; or not any more"
    RESTORED = "restored", Severity.WARNING, "somebody removed an address of the group; it was put back"
    REMOVED = "removed", Severity.WARNING, "something that should not be on this host was found and removed"
    DRIFT = "drift", Severity.WARNING, "the backend steered clients elsewhere, or does not say where"
    UNSENT = "unsent", Severity.WARNING, "the neighbours could not be told which node has the group's addresses"
    HOOK = "hook", Severity.INFO, "a hook succeeded"
    HOOK_FAIL = "hook_fail", Severity.WARNING, "a hook failed, was killed at its time limit, or was skipped"

    # the gate
    GATE = "gate", Severity.WARNING, "the kernel's gate was missing, late or changed by another program"
    BLOCKED = "blocked", Severity.ERROR, "the gate is shut and cannot be opened: nothing can be served by this node"

    # nodes
    ONLINE = "online", Severity.INFO, "a node is heard"
    OFFLINE = "offline", Severity.WARNING, "a node has stopped, or is silent"
    STALLED = "stalled", Severity.WARNING, "this node stood still for a while; in `available` it listens before it acts"
    STOPPING = "stopping", Severity.INFO, "this agent was asked to stop"
    RELOADED = "reloaded", Severity.INFO, "another configuration is in force on this node"
    FENCING = "fencing", Severity.INFO, "a fence agent was asked to switch a node off"
    FENCED = "fenced", Severity.INFO, "a node is down for certain: its fence or an operator says so"
    UNFENCED = (
        "unfenced",
        Severity.ERROR,
        "a fence failed, or cannot work: if its node vanishes, no other node takes its groups",
    )

    VOTERS = "voters", Severity.INFO, "the nodes agreed on another set of voters"

    TWIN = (
        "twin",
        Severity.ERROR,
        "two hosts use one node's name, or a machine was put back to an earlier state; that agent lets go",
    )
    TWIN_GONE = "twin_gone", Severity.INFO, "no other host uses this node's name any more, so that it votes again"

    CLOCK = "clock", Severity.ERROR, "this host's clock is steered further than leases are made for; the node lets go"
    CLOCK_OK = "clock_ok", Severity.INFO, "this host's clock is steered no further than that any more"

    # sessions
    JOINING = "joining", Severity.INFO, "this node's session store takes over what another node's has"
    JOINED = "joined", Severity.INFO, "this node's session store serves; the text says with whose sessions"
    IN_SYNC = (
        "in_sync",
        Severity.INFO,
        "another node's session store, or replicas of a Redis, have what changed here",
    )
    UNSYNCED = (
        "unsynced",
        Severity.WARNING,
        "another node's session store, or replicas of a Redis, lack what changed here",
    )

    # operators
    ASKED = "asked", Severity.INFO, "an operator gave a command"
    ORDER = "order", Severity.INFO, "a command that was given on another node has arrived at this one"

    # what the nodes stand on
    LINK_UP = "link_up", Severity.INFO, "heartbeats go over an interface"
    LINK_DOWN = "link_down", Severity.WARNING, "no heartbeats go over an interface"
    REACHED = "reached", Severity.INFO, "the gateway or the host of `guards.probe` answers again"
    UNREACHED = "unreached", Severity.WARNING, "neither the gateway nor the host of `guards.probe` answers"
    UNWATCHED = "unwatched", Severity.WARNING, "a guard cannot listen or probe, so it notices nothing"
    LEASES = "leases", Severity.INFO, "the arbiter (etcd) answers and gives the leases"
    NO_LEASES = "no_leases", Severity.ERROR, "the arbiter (etcd) gives no leases"
    FORGOT = "forgot", Severity.WARNING, "the arbiter (etcd) is in an earlier state; it is not believed for one lease"


_KINDS = {kind.value: kind for kind in Kind}


def severity_of(word: str) -> Severity:
    return _KINDS[word].severity if word in _KINDS else Severity.INFO


def declared(word: object) -> Kind:
    """What a plug-in calls it, which no type checker has seen. A word of its own is a fault of its own."""
    return _KINDS.get(word, Kind.FAILED) if isinstance(word, str) else Kind.FAILED


Note = Callable[[Kind, str, str], None]  # what the shell adds to the history: kind, group, text
Remark = Callable[[Kind, str], None]  # the same where the group is known, or none is meant: kind, text
