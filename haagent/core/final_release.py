"""Last words: the heartbeat that ends a life when the agent cannot say it itself.

The agent writes it ahead of need and leaves it, sealed, with the guardian. When the agent dies, the guardian removes
what it held and then sends this. To the peers it is an ordinary heartbeat of a node that stops: every claim has become
a release of the same ballot, so nobody waits for a lease to end.

It is only true once the addresses are gone, and only of the claims that it was written for, and of the wants, which
become claims with the same ballot. A claim raised since is not released by it (`Voter.hear_release` compares ballots),
and then the lease's end decides: slower, never wrong.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haagent.core.messages import Ballot, GroupBeat, Heartbeat

LAST_WORDS_SEQ = 2**40  # above all that a life can have sent before: at a thousand a second that is 34 years


def last_words(beat: Heartbeat) -> Heartbeat:
    """What `beat`'s sender would say if all that it claims there had been let go."""
    return msgspec.structs.replace(
        beat,
        seq=beat.seq + LAST_WORDS_SEQ,
        groups=tuple(_released(group) for group in beat.groups),
        stopping=True,
        died=True,
        records=(),
    )


def releases(beat: Heartbeat) -> dict[str, Ballot | None]:
    """What its last words release, per group: a want is there too, because it becomes a claim with the same ballot."""
    return {group.name: _ballot_released(group) for group in beat.groups}


def covers_claims(released: Mapping[str, Ballot | None], beat: Heartbeat) -> bool:
    """`beat` claims nothing but what is released there: it may be sent before its own last words are written."""
    for group in beat.groups:
        claim = group.claim
        if claim is not None and claim is not (known := released.get(group.name)) and claim != known:
            return False
    return True


def _ballot_released(group: GroupBeat) -> Ballot | None:
    return group.claim or group.want or group.released


def _released(group: GroupBeat) -> GroupBeat:
    return GroupBeat(
        group.name,
        promised=group.promised,
        released=_ballot_released(group),
        eligible=group.eligible,
        why_not=group.why_not,
        failures=group.failures,
        penalty=group.penalty,
    )
