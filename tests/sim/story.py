"""Stories: faults and operators in words, and what the cluster did, to the millisecond.

A story is a text file. Blocks are separated by empty lines; a block is comments (`# why`), commands one to a line, then
`----` and the transcript that they must produce. The world of a story is a steady one, so that a transcript shows
decisions and nothing else: clocks agree, a datagram takes 1 ms, the kernel 1 ms to serve and 0.5 ms to stop serving.

    cluster A B W [witness=W] [available] [leader] [left_open] [groups=web:A,B;db:B] [interval=100ms] [alone_after=5s]
                        [failback=30s] [voters=A,B,W]     the others have files with themselves besides
                        (left_open: what is left in place in maintenance answers for good, as it does in fact)
    start A B W         one after the other, 10 ms apart
    reload web:A,B;db:B every agent reads a new file
    groups A,B web:A@1;db:B@2,3     the files of A and B have these groups, with these addresses, from now on
    file A,B A,B,C      the files of A and B have these voters from now on; voters: whose votes each node counts
    who                 which hosts answer for which group       why A               what `status` says on A
    double A T          there is a host T as well, whose agent says that it is A
    steer A -10%        a time service makes its kernel's clock so much slower than its counter
    snapshot A          of its memory and its clock              put_back A         to that
    trace A             from now on tell what A performs         untrace A

and every statement of `haagent simulate` (`haagent.simulate.language`), such as `run 1.2s`, `cut A from B W`, `kill A`.

In `consistent`, and in `available` until something is cut or lost, a story also fails when two hosts answer at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from haagent.core.settings import LEADER, Settings
from haagent.simulate.deeds import perform
from haagent.simulate.language import parse as parse_statements
from haagent.simulate.scenario import read
from tests.sim.faults import with_voters
from tests.sim.invariants import Watch
from tests.sim.world import World, make_settings

RULE = "----"
START_APART_S = 0.030  # and no fault of a story at a whole second meets a heartbeat on its way
ABOUT_LEADER = re.compile(
    rf"\s*[\d.]+ \S+ (is LEADER|is no longer leader|(?!answers|refuses|order|asked)\S+ {LEADER}\b)"
)


class Block(msgspec.Struct):
    line: int  # of its first command, for the message of a failure
    text: list[str]  # comments and commands as written
    commands: list[str]
    expected: list[str]


def parse(text: str) -> list[Block]:
    blocks, block, in_output = [], Block(1, [], [], []), False
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if not line.strip():
            if block.text:
                blocks.append(block)
            block, in_output = Block(number + 1, [], [], []), False
        elif in_output:
            block.expected.append(line)
        elif line == RULE:
            in_output = True
        else:
            block.text.append(line)
            if not line.startswith("#"):
                block.commands.append(line)
    return blocks


def play(text: str, kind: type[World] = World) -> str:
    """The story again, with the transcript that the core of today writes."""
    story, told = Story(kind), []
    for block in parse(text):
        output: list[str] = []
        for command in block.commands:
            output += story.perform(command)
        told.append("\n".join([*block.text, *([RULE, *output] if block.commands else [])]))
    return "\n\n".join(told) + "\n"


class Story:
    def __init__(self, kind: type[World] = World) -> None:
        self._kind = kind
        self.world: World | None = None
        self.shows_leader = False
        self.watch: Watch | None = None
        self.told = 0

    def perform(self, command: str) -> Iterator[str]:
        verb, *words = command.split()
        if verb == "cluster":
            self._cluster(words)
            return
        assert self.world is not None, "a story begins with `cluster`"
        if verb in VERBS:
            extra = list(VERBS[verb](self, self.world, words) or ())
        else:
            self._play(self.world, command)
            extra = []
        for line in self.world.transcript[self.told :]:
            if self.shows_leader or not ABOUT_LEADER.match(line):
                yield line
        self.told = len(self.world.transcript)
        yield from extra

    def _cluster(self, words: list[str]) -> None:
        options = dict(word.split("=", 1) for word in words if "=" in word)
        self.shows_leader = "leader" in words
        is_consistent = "available" not in words
        failback = options.get("failback")
        settings = make_settings(
            nodes="".join(word for word in words if len(word) == 1),
            witnesses=options.get("witness", ""),
            groups=_groups(options.get("groups", "web:A,B")),
            addresses=_addresses(options.get("groups", "")),
            consistent=is_consistent,
            interval_s=_seconds(options.get("interval", "100ms")),
            failback_after_s=None if failback is None else _seconds(failback),
            alone_after_s=_seconds(options.get("alone_after", "5s")),
        )
        self.world = world = self._kind.steady(settings)
        world.opens_gates_for_good = "left_open" in words
        if "voters" in options:
            voters = options["voters"].split(",")
            world.files = {name: with_voters(world, {*voters, name}) for name in world.hosts}
        self.watch = Watch(self.world, never_two=True, ordered=is_consistent)

    # ------------------------------------------------------------------ verbs

    def start(self, world: World, names: list[str]) -> None:
        for name in names:
            world.run(world.t + START_APART_S)
            world.start(name)

    def _play(self, world: World, text: str) -> None:
        """Statements of the product's language, as the operator knows it."""
        began = world.t
        scenario = read(text, world.settings, name=text, knows_names=False)
        for deed in scenario.deeds:
            world.run(began + deed.at_s)
            if deed.verb in ("cut", "isolate", "lose"):
                self._two_may_hold(world)
            perform(world, deed, lambda _: None)
        for statement in parse_statements(text, []):
            if statement.verb == "run":
                world.run(world.t + _seconds(statement.words["time"]))

    def _two_may_hold(self, world: World) -> None:
        assert self.watch is not None
        self.watch.never_two = world.settings.consistent

    def reload(self, world: World, words: list[str]) -> None:
        world.reconfigure(with_groups(world, words[0], config_hash="new"))

    def groups(self, world: World, words: list[str]) -> None:
        world.settings = with_groups(world, words[1], config_hash=words[1])  # that of those that start later
        for name in words[0].split(","):
            world.edit(name, world.settings)

    def file(self, world: World, words: list[str]) -> None:
        """`file A,B A,B,C`: the files of A and B have these voters from now on."""
        for name in words[0].split(","):
            world.edit(name, with_voters(world, words[1].split(",")))

    def voters(self, world: World, _: list[str]) -> Iterator[str]:
        for name, host in world.hosts.items():
            if host.node is not None:
                yield f"{name} counts {', '.join(host.node.state.agreed.voters)}"

    def who(self, world: World, _: list[str]) -> Iterator[str]:
        for group in world.settings.groups:
            if group.name != LEADER or self.shows_leader:
                serving = world.serving(group.name)
                yield f"{group.name}: {' and '.join(serving) if serving else 'nobody'}"
        for address, text in sorted({pair for group in world.settings.groups for pair in group.addresses.items()}):
            yield f"{text}: {' and '.join(world.serving_address(address)) or 'nobody'}"

    def why(self, world: World, words: list[str]) -> Iterator[str]:
        host = world.hosts[words[0]]
        assert host.node is not None
        for group in host.node.view(host.local(world.t)).groups:
            if group.name != LEADER or self.shows_leader:
                yield f"{group.name}: {'; '.join((group.why, *group.withheld))}"

    def snapshot(self, world: World, words: list[str]) -> None:
        world.snapshot(words[0])

    def put_back(self, world: World, words: list[str]) -> None:
        world.put_back(words[0])

    def double(self, world: World, words: list[str]) -> None:
        """`double A T`: there is a host T as well, whose agent says that it is A."""
        world.double(*words)

    def steer(self, world: World, words: list[str]) -> None:
        world.steer(words[0], float(words[1].rstrip("%")) / 100)

    def trace(self, world: World, names: list[str]) -> None:
        world.traced |= set(names)

    def untrace(self, world: World, names: list[str]) -> None:
        world.traced -= set(names)


SAID = (
    *("start", "reload", "groups", "file", "voters", "snapshot", "put_back", "double", "steer"),
    *("who", "why", "trace", "untrace"),
)
VERBS: dict[str, Callable[[Story, World, list[str]], Iterator[str] | None]] = {
    name: getattr(Story, name) for name in SAID
}


def _seconds(text: str) -> float:
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])


def _groups(text: str) -> dict[str, tuple[str, ...]]:
    """`web:A,B@1;db:B` -> {"web": ("A", "B"), "db": ("B",)}"""
    pairs = (part.partition("@")[0].partition(":") for part in text.split(";"))
    return {name: tuple(filter(None, prefer.split(","))) for name, _, prefer in pairs}


def _addresses(text: str) -> dict[str, tuple[int, ...]]:
    """`web:A,B@1,2;db:B` -> {"web": (1, 2), "db": ()}"""
    pairs = (part.partition("@") for part in text.split(";"))
    return {name.partition(":")[0]: tuple(map(int, filter(None, found.split(",")))) for name, _, found in pairs}


def with_groups(world: World, text: str, *, config_hash: str) -> Settings:
    made = make_settings(groups=_groups(text), addresses=_addresses(text))
    return msgspec.structs.replace(world.settings, groups=made.groups, config_hash=config_hash)


def stories() -> list[Path]:
    return sorted((Path(__file__).parent / "stories").glob("*.txt"))
