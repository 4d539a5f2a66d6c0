"""From the text of a scenario to what happens when, for one cluster, or to all that is wrong with it.

Every fault is reported in one run, each with its line and what to write instead, as for a configuration.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from haagent.config.durations import NotADuration, format_duration, parse_duration
from haagent.config.faults import ConfigError, Fault, nearest, quoted
from haagent.core.settings import LEADER, Settings
from haagent.simulate.language import FORMS, Statement, parse

MAX_S = 3600.0  # more would take minutes and show nothing new
AFTER_S = 10.0  # without `until`: so long after the last statement, or a few leases
LIVES = ("start", "stop", "kill", "crash", "freeze", "thaw")
NEEDS_GROUP = ("fail", "mend", "unfit", "fit", "penalty", "failover")


class Deed(msgspec.Struct, frozen=True):
    """One thing that happens, with everything in it checked."""

    at_s: float
    text: str  # for the timeline
    verb: str
    nodes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # on the other side, or `via`
    group: str = ""
    time_s: float | None = None
    share: float = 0.0
    penalty: int = 0
    said: frozenset[str] = frozenset()  # the words in small letters, such as `force`


class Scenario(msgspec.Struct, frozen=True):
    deeds: tuple[Deed, ...]
    until_s: float
    absent: frozenset[str] = frozenset()  # nodes that are not there until they are started


class ScenarioError(ConfigError):
    """The same of a scenario."""


def read(text: str, settings: Settings, *, name: str, knows_names: bool = True) -> Scenario:
    """Raises `ScenarioError` with all faults. `name`: of the file, for them.

    Without `knows_names` a node or group that does not exist is let through, to see what the agents say to it.
    """
    faults: list[Fault] = []
    statements = parse(text, faults)
    reader = _Reader(settings, faults, knows_names=knows_names)
    for statement in statements:
        reader.add(statement)
    scenario = reader.scenario()
    if faults:
        raise ScenarioError(name, faults)
    return scenario


class _Reader:
    def __init__(self, settings: Settings, faults: list[Fault], *, knows_names: bool) -> None:
        self._settings = settings
        self._knows_names = knows_names
        self._groups = [group.name for group in settings.groups]
        self._faults = faults
        self._now_s = 0.0
        self._deeds: list[Deed] = []
        self._until: tuple[int, float] | None = None
        self._seen: dict[str, str] = {}  # node -> first verb that speaks of its life

    def add(self, statement: Statement) -> None:
        if statement.verb == "until":
            self._end(statement)
            return
        self._pass_time(statement)
        if statement.verb == "run":
            self._now_s += self._duration(statement, statement.words["time"]) or 0.0
        elif statement.verb:
            self._deeds.append(self._deed(statement))
        if self._now_s > MAX_S:
            self._refuse(statement, "later than one hour", f"write at most {format_duration(MAX_S)}")
            self._now_s = 0.0

    def scenario(self) -> Scenario:
        settings = self._settings
        until_s = self._now_s + max(AFTER_S, settings.alone_after_s + 4 * settings.lease_s)
        if self._until is not None:
            line, until_s = self._until
            if until_s < self._now_s:
                late, end = format_duration(self._now_s), format_duration(until_s)
                self._faults.append(
                    Fault(line, "", f"the end, {end}, is before the last statement", f"write `until {late}` or later")
                )
        absent = frozenset(name for name, verb in self._seen.items() if verb == "start")
        return Scenario(tuple(self._deeds), until_s, absent)

    # ------------------------------------------------------------------ time

    def _pass_time(self, statement: Statement) -> None:
        if not statement.time:
            return
        time_s = self._duration(statement, statement.time)
        if time_s is None:
            return
        at_s = self._now_s + time_s if statement.is_relative else time_s
        if at_s < self._now_s:
            before = format_duration(self._now_s)
            hint = "write the statements in the order of time"
            self._refuse(statement, f"{format_duration(at_s)} is before the statement above, at {before}", hint)
            return
        self._now_s = at_s

    def _end(self, statement: Statement) -> None:
        if statement.time:
            self._refuse(statement, "`until` has a time of its own", f"write `until {statement.words['time']}` alone")
        elif self._until is not None:
            self._refuse(statement, f"line {self._until[0]} names the end already", "remove one of them")
        elif (until_s := self._duration(statement, statement.words["time"])) is not None:
            self._until = (statement.line, until_s)
            if until_s > MAX_S:
                self._refuse(statement, "longer than one hour", f"write at most `until {format_duration(MAX_S)}`")

    def _duration(self, statement: Statement, text: str) -> float | None:
        try:
            return float(parse_duration(text))
        except NotADuration as error:
            self._faults.append(Fault(statement.line, "", f"{quoted(text)} is not a time", str(error)))
            return None

    # ------------------------------------------------------------------ names and numbers

    def _deed(self, statement: Statement) -> Deed:
        words = statement.words
        nodes = self._nodes(statement, "nodes") or self._nodes(statement, "node")
        others = self._nodes(statement, "nodes2") or self._nodes(statement, "node2")
        if statement.verb in ("maintenance", "clear"):  # their only node is the one after `via`
            nodes, others = (), nodes
        if statement.verb in ("cut", "heal", "lose", "delay"):
            for name in sorted(set(nodes) & set(others)):
                self._refuse(statement, f"{name} is on both sides", "name two different nodes")
        if statement.verb == "etcd" and not self._settings.arbiter:
            self._refuse(statement, "leases come from the nodes' votes here, not from etcd", "remove it")
        for name in nodes if statement.verb in LIVES else ():
            self._seen.setdefault(name, statement.verb)
        return Deed(
            at_s=self._now_s,
            text=statement.text,
            verb=statement.verb,
            nodes=nodes,
            others=others,
            group=self._group(statement),
            time_s=self._duration(statement, words["time"]) if "time" in words else None,
            share=self._share(statement),
            penalty=self._penalty(statement),
            said=statement.said,
        )

    def _nodes(self, statement: Statement, part: str) -> tuple[str, ...]:
        names = statement.words.get(part, "").split()
        arbiter = [self._settings.arbiter] if self._settings.arbiter and statement.verb in ("cut", "heal") else []
        for name in names:
            self._check(statement, "node", name, [*self._settings.voters, *arbiter])
        return tuple(names)

    def _group(self, statement: Statement) -> str:
        name = statement.words.get("group", "")
        if name:
            self._check(statement, "group", name, self._groups)
        elif statement.verb in NEEDS_GROUP:
            others = [group for group in self._groups if group != LEADER]
            if len(others) == 1:
                return others[0]
            form = FORMS[statement.verb][0].replace("[GROUP]", "GROUP")
            which = f"one of {', '.join(others)}" if others else "but there is none"
            self._refuse(statement, "it does not say which group", f"write `{form}`, {which}")
        return name

    def _share(self, statement: Statement) -> float:
        text = statement.words.get("percent", "0%")
        try:
            share = float(text.removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not text.endswith("%") or not 0 <= share <= 1:
            self._refuse(statement, f"{quoted(text)} is not a percentage", "write a number from `0%` to `100%`")
        return share

    def _penalty(self, statement: Statement) -> int:
        text = statement.words.get("number", "0")
        if not text.isdecimal():
            self._refuse(statement, f"{quoted(text)} is not a penalty", "write a whole number, `0` for none")
            return 0
        return int(text)

    def _check(self, statement: Statement, kind: str, name: str, known: Iterable[str]) -> None:
        names = list(known)
        if name in names or not self._knows_names:
            return
        near = nearest(name, names)
        hint = f"did you mean `{near}`?" if near else f"there are {', '.join(names)}"
        self._faults.append(Fault(statement.line, "", f"there is no {kind} {quoted(name)}", hint))

    def _refuse(self, statement: Statement, message: str, hint: str) -> None:
        self._faults.append(Fault(statement.line, "", f"{quoted(statement.text)}: {message}", hint))
