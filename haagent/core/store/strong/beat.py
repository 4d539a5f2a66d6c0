"""A heartbeat where one store leads: it carries what its sender says of the record (record.py).

`said` is appended, so who keeps sessions in another way reads the rest, and is read: it says nothing. A heartbeat in
slices has it in each of them.
"""

from __future__ import annotations

from haagent.core.limits import MAX_NAME, MAX_NODES, MAX_ROUND
from haagent.core.messages import Heartbeat, is_sound_ballot
from haagent.core.store.strong.record import Record, Said

_LIVES = 2**64  # as many as there are boots


class StrongHeartbeat(Heartbeat, frozen=True, array_like=True):
    said: Said | None = None

    def is_rest_sound(self) -> bool:
        return self.said is None or _is_sound(self.said, self.node)


def _is_sound(said: Said, sender: str) -> bool:
    """Bounds that a type cannot say, and what no register says: a lease of another node, more than it has promised."""
    record = said.record.ballot if said.record is not None else None
    return (
        0 <= said.life < _LIVES
        and is_sound_ballot(said.leads)
        and is_sound_ballot(said.promised)
        and (said.leads is None or said.leads.node == sender)
        and (said.record is None or _is_sound_record(said.record))
        and all(
            said.promised is not None and ballot <= said.promised
            for ballot in (said.leads, record)
            if ballot is not None
        )
    )


def _is_sound_record(record: Record) -> bool:
    return (
        is_sound_ballot(record.ballot)
        and is_sound_ballot(record.since)
        and record.since <= record.ballot
        and 0 <= record.version <= MAX_ROUND
        and 0 < len(record.members) <= MAX_NODES
        and all(0 < len(name) <= MAX_NAME and 0 < life < _LIVES for name, life in record.members.items())
    )
