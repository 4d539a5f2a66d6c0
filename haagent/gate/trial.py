"""Would the gate work on this host? Asked without making anything.

The kernel checks every message of a batch before it commits any, and takes all or none. So the whole rule set goes out
with one message behind it that must be refused, the removal of a table that is not there: if nothing else is refused,
all of it would have been taken.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from contextlib import closing

from haagent.gate import encoding as nft
from haagent.gate import ruleset
from haagent.gate.channel import Channel, GateError, Refused

_NOT_THERE = "haagent_trial"


class Trial:
    """`why`: what the kernel refuses; empty: the gate works. `persists`: nobody else can remove the permanent table."""

    def __init__(self) -> None:
        self.why, self.persists, self.leftover = "", False, False
        try:
            with closing(Channel()) as channel:
                found = channel.named(ruleset.GATE, ruleset.KEY)
                self.leftover = bool(found)
                before = [*ruleset.removal(found)]
                self.persists = not _refusal(channel, before, nft.OWNED | nft.PERSISTENT)
                if not self.persists:
                    self.why = _refusal(channel, before, 0)
        except GateError as error:
            self.why = str(error)


def _refusal(channel: Channel, before: Iterable[bytes], flags: int) -> str:
    sentinel = nft.delete_table(nft.IPV4, _NOT_THERE)
    try:
        channel.build([*before, *ruleset.permanent((), flags=flags), *ruleset.owned(), sentinel])
    except Refused as refused:
        if refused.code == errno.ENOENT and _NOT_THERE in str(refused):
            return ""
        return str(refused)
    return "it accepts what must be refused"
