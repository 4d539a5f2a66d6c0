"""The command line: what the operator types, and the exit status and the words that come back.

A command that starts in 0.1 s is used; one that takes a second is not. So a command's module is imported only when that
command runs (`program`), and whatever is heavy (YAML, asyncio, rich, netlink) is imported inside the command. The
list in `commands` is all that `haagent --help` needs.

Exit status: 0 done; 1 it failed; 2 usage or configuration; 3 the agent is not running; 4 refused. Errors go to stderr,
with `--json` as one line `{"error": {"status": 4, "message": "..."}}`, and nothing else goes there then.
"""

from __future__ import annotations

import sys
from socket import socket

from haagent.guardian import guarded


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
