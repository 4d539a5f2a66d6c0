"""Removing the permanent table when no agent does it any more: `haagent release`, and a start with `gate: off`."""

from __future__ import annotations

import errno
from collections.abc import Callable

from haagent.gate import ruleset
from haagent.gate.channel import Channel, GateError, Refused


def remove_tables(tell: Callable[[str], None]) -> None:
    """Of an agent that has ended. Those of one that lives stay: it alone may remove them."""
    try:
        channel = Channel()
    except GateError:
        return  # this host has no netfilter
    try:
        try:
            found = channel.named(ruleset.GATE, ruleset.KEY)
        except GateError:
            return  # without privileges, or without nf_tables, there is none of ours to be seen
        if found:
            channel.build([*ruleset.removal(found)])
            tell("removed the gate's tables")
    except Refused as refused:
        if refused.code not in (errno.EPERM, errno.EBUSY):
            raise
        tell("the gate's tables belong to a process that still runs, and stay")
    finally:
        channel.close()
