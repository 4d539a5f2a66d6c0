"""The command line: what the operator types, and the exit status and the words that come back.

A command that starts in 0.1 s is used; one that takes a second is not. So a command's module is imported only when that
command runs (`program`), and whatever is heavy (YAML, asyncio, rich, netlink) is imported inside the command. The
list of commands below is all that `haagent --help` needs.

Exit status: 0 done; 1 it failed; 2 usage or configuration; 3 the agent is not running; 4 refused. Errors go to stderr,
with `--json` as one line `{"error": {"status": 4, "message": "..."}}`, and nothing else goes there then.
"""

from __future__ import annotations

import sys
from socket import socket

from haagent.guardian import guarded

# Name, where it is, what it does: in the order in which an operator meets them.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Set up": {
        "init": ("haagent.cli.config:init", "Write a commented configuration and a key."),
        "keygen": ("haagent.cli.config:keygen", "Make a cluster key."),
        "check-config": ("haagent.cli.config:check_config", "Check a configuration; list all its faults."),
        "doctor": ("haagent.cli.doctor:doctor", "Examine this host and the way to its peers."),
    },
    "Run": {
        "run": ("haagent.cli.run:run", "Run the agent in the foreground."),
        "reload": ("haagent.cli.orders:reload", "Apply the changed configuration file, or say why not."),
        "release": ("haagent.cli.release:release", "Drop everything this host holds, without the agent."),
    },
    "Look": {
        "status": ("haagent.cli.status:status", "Show members, groups, holders, and why."),
        "events": ("haagent.cli.events:events", "Show what happened and why, from all nodes."),
        "trace": ("haagent.cli.trace:trace", "Save what this agent was told and decided lately."),
        "replay": ("haagent.cli.trace:replay", "Run the core over a saved trace; compare its decisions."),
    },
    "Operate": {
        "failover": ("haagent.cli.orders:failover", "Move a group to another node."),
        "standby": ("haagent.cli.orders:standby", "Keep a node from holding anything."),
        "unstandby": ("haagent.cli.orders:unstandby", "Let a node hold groups again."),
        "maintenance": ("haagent.cli.orders:maintenance", "Freeze everything, or end that."),
        "clear": ("haagent.cli.orders:clear", "Forget failures, so that a node is tried again."),
        "fence": ("haagent.cli.fencing:fence", "Make sure that a node is down, by its fence."),
        "confirm-down": ("haagent.cli.fencing:confirm_down", "Say that a node is down for certain."),
    },
    "Try out": {
        "simulate": ("haagent.cli.simulate:simulate", "Play faults against a configuration, in virtual time."),
        "lab": ("haagent.cli.lab:lab", "A real cluster in network namespaces on this machine."),
    },
}


def main(arguments: list[str] | None = None) -> int:
    """The program. `run` becomes two processes here, before anything heavy is imported: the guardian stays small."""
    if arguments is None and _names_run(sys.argv[1:]):
        return guarded(lambda guardian: _perform(None, guardian))
    return _perform(arguments, None)


def _names_run(words: list[str]) -> bool:
    """The command line is understood later, by the child; a guardian over anything else would do no harm."""
    waiting = iter(words)
    for word in waiting:
        if word in ("--run-dir", "--state-dir"):
            next(waiting, "")
        elif not word.startswith("-"):
            return word == "run"
    return False


def _perform(arguments: list[str] | None, guardian: socket | None) -> int:
    from haagent.cli.program import perform

    return perform(arguments, guardian=guardian)
