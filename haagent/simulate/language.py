"""The language of scenarios: faults and operators in words, one statement a line or separated by `;`.

    at 5s  cut A from B          # nothing passes between them
    at 9s  kill B
    until 20s

A statement begins with the time at which it happens (`at 5s`, or `after 2s` from the one before it), else it happens
together with the one before. What can be said is the table `FORMS`, and nothing else knows it: it is read here, it is
the help, and it is what a fault quotes when a statement is not written as it says.

This file knows words. Whether there is a node of that name, and whether the times make sense, is `scenario`'s.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import msgspec

from haagent.config.faults import Fault, quoted, suggestion

# Form, and meaning. Capitals stand for something; [...] may be left out; a|b is one of them; NODES is one or more.
FORMS: dict[str, tuple[str, str]] = {
    "start": ("start NODES", "start the agent; a node that is started later is absent until then"),
    "stop": ("stop NODES [back after TIME]", "stop the agent: it hands its groups over first"),
    "kill": ("kill NODES [entirely] [back after TIME]", "kill the agent (SIGKILL); `entirely`: its guardian too"),
    "crash": ("crash NODES [back after TIME]", "the host fails"),
    "freeze": ("freeze NODES [for TIME]", "freeze the agent and its guardian (SIGSTOP), or the whole host"),
    "thaw": ("thaw NODES", "let them run again"),
    "cut": (
        "cut NODES from|to NODES [heartbeats only] [for TIME]",
        "block all packets; `to`: only from the first to the second",
    ),
    "isolate": ("isolate NODES [for TIME]", "block all packets to and from them, also of clients and gateway"),
    "heal": ("heal [NODES] [from NODES]", "end every cut, isolation, loss and delay"),
    "lose": ("lose PERCENT [between NODE NODE]", "lose this share of the heartbeats"),
    "delay": ("delay TIME [between NODE NODE]", "delay each heartbeat by this time"),
    "fail": ("fail [GROUP] on NODES", "its activation fails from now on"),
    "mend": ("mend [GROUP] on NODES", "its activation works again"),
    "unfit": ("unfit [GROUP] on NODES", "a check of the group fails"),
    "fit": ("fit [GROUP] on NODES", "the check passes again"),
    "penalty": ("penalty NUMBER [GROUP] on NODES", "the weights of its failing checks add up to this"),
    "gateway": ("gateway of NODES lost|back", "they lose their gateway, or reach it again"),
    "etcd": ("etcd lost|back", "etcd stops answering, or answers again"),
    "failover": ("failover [GROUP] to NODE [force] [via NODE]", "as `haagent failover`; `via`: run on that node"),
    "standby": ("standby NODE [via NODE]", "as `haagent standby`"),
    "unstandby": ("unstandby NODE [via NODE]", "as `haagent unstandby`"),
    "maintenance": ("maintenance on|off [force] [via NODE]", "as `haagent maintenance`"),
    "confirm-down": ("confirm-down NODE [via NODE]", "as `haagent confirm-down`"),
    "clear": ("clear [GROUP] [via NODE]", "as `haagent clear`"),
    "run": ("run TIME", "let time pass"),
    "until": ("until TIME", "end the simulation"),
}

TIMES = ("at", "after")
NOISE = re.compile(r"(?<=[^\s,]),|\band\b|(?<=[^\s:]):(?=\s|$)")  # `A, B and C` are three nodes; `at 5s:` is `at 5s`
BEFORE = re.compile(r"^(at|after) \S+ (: )?", re.IGNORECASE)
COMMENT = re.compile(r"(^|\s)#.*")


class Statement(msgspec.Struct, frozen=True):
    line: int
    text: str  # as written, without the time
    verb: str
    time: str = ""  # as written; empty: with the statement before
    is_relative: bool = False  # `after`
    words: dict[str, str] = {}  # what was said for each of the form's capitals, by its name in small letters
    said: frozenset[str] = frozenset()  # the words that are said as the form has them


def parse(text: str, faults: list[Fault]) -> list[Statement]:
    """All statements. Those that are not understood are added to `faults`, and have no verb, but their time counts."""
    return [statement for line, part in _parts(text) if (statement := _statement(line, part, faults))]


def _parts(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        for part in COMMENT.sub("", line).split(";"):
            if part.strip():
                yield number, " ".join(part.split())


def _statement(line: int, text: str, faults: list[Fault]) -> Statement | None:
    words = NOISE.sub(" ", text).split()
    time, is_relative = "", False
    if words and words[0].lower() in TIMES:
        if len(words) == 1:
            faults.append(Fault(line, "", f"{quoted(text)} has no time and no statement", "write both: `at 5s kill A`"))
            return None
        time, is_relative, words = words[1], words[0].lower() == "after", words[2:]
    if not words:
        faults.append(Fault(line, "", f"{quoted(text)} has no statement", "write one after the time: `at 5s kill A`"))
        return None
    verb = words[0].lower()
    if verb not in FORMS:
        faults.append(Fault(line, "", f"there is no statement {quoted(verb)}", suggestion(verb, [*FORMS, *TIMES])))
        return Statement(line, text, "", time, is_relative)
    text = BEFORE.sub("", text)
    found = _pattern(FORMS[verb][0]).fullmatch(" ".join(words))
    if found is None:
        faults.append(Fault(line, "", f"{quoted(text)} is not understood", f"write `{FORMS[verb][0]}`"))
        return Statement(line, text, "", time, is_relative)
    parts = {name: value for name, value in found.groupdict().items() if value}
    named = {name: value for name, value in parts.items() if not name.startswith("_")}
    said = frozenset(value.lower() for name, value in parts.items() if name.startswith("_"))
    return Statement(line, text, verb, time, is_relative, named, said)


@functools.cache
def _pattern(form: str) -> re.Pattern[str]:
    """`kill NODES [entirely]`: each part becomes a named group, numbered when it comes twice (`nodes`, `nodes2`)."""
    taken: dict[str, int] = {}
    pattern = ""
    for part in re.findall(r"\[[^\]]*\]|\S+", form):
        optional = part.startswith("[")
        inner = "".join(f" {_word(word, taken)}" for word in part.strip("[]").split())
        pattern += f"(?:{inner})?" if optional else inner
    return re.compile(pattern.removeprefix(" "), re.IGNORECASE)


def _word(word: str, taken: dict[str, int]) -> str:
    name = word.lower().partition("|")[0].replace("-", "_")
    taken[name] = taken.get(name, 0) + 1
    name = name if taken[name] == 1 else f"{name}{taken[name]}"
    if word == "NODES":
        return rf"(?P<{name}>\S+(?: \S+)*?)"
    return rf"(?P<{name}>\S+)" if word.isupper() else rf"(?P<_{name}>{word})"


def described() -> str:
    """The table, for `haagent simulate --help`."""
    width = max(len(form) for form, _ in FORMS.values())
    return "\n".join(f"{form:<{width}}  {meaning}" for form, meaning in FORMS.values())
