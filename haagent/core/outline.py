"""In which keys two nodes' files differ, found without sending a file: a tree of digests, opened where it differs.

A node whose file is another than that of a living peer says so in its heartbeats, with an outline: first the digest of
the whole, then those of its parts, then of the parts of those that differ from a peer's, and so on. A few heartbeats
later both have come to the very keys. While all files are the same nothing is said, and what is said is bounded
(`MAX_BYTES`): where too much differs, a section is named and not what is in it.

Values that may be secret are in no digest (`config.outlines`), so from an outline nobody learns them by trying.
"""

from __future__ import annotations

from collections.abc import Iterator

from haagent.core.messages import Outline
from haagent.core.node_state import NodeState

MAX_BYTES = 320  # enough for a usual file, and a small part of a datagram
BYTES_EACH = 8  # of a digest and of what is around it


def to_send(state: NodeState, now: float) -> Outline | None:
    """As much of our own as tells where it differs; None: no living peer has another file."""
    own = state.settings.outline
    beats = [peer.beat for peer in state.membership.alive(now)]
    others = [beat.outline for beat in beats if beat and beat.config_hash not in ("", state.settings.config_hash)]
    if not others:
        return None
    return _opened(own, [other for other in others if other is not None], [MAX_BYTES])


def _opened(own: Outline, others: list[Outline], left: list[int]) -> Outline:
    """`left`: how many bytes may still be said."""
    differing = [other for other in others if other.digest != own.digest]
    size = sum(len(name.encode()) + BYTES_EACH for name in own.parts)
    if not differing or size > left[0]:
        return Outline(own.digest)
    left[0] -= size
    there = {name: [other.parts[name] for other in differing if name in other.parts] for name in own.parts}
    return Outline(own.digest, {name: _opened(part, there[name], left) for name, part in own.parts.items()})


def differences(mine: Outline, theirs: Outline, path: str = "") -> Iterator[str]:
    """The dotted keys, as far as `theirs` has been opened."""
    if not (mine.parts and theirs.parts):
        if path:
            yield path
        return
    for name in mine.parts | theirs.parts:
        ours, other = mine.parts.get(name), theirs.parts.get(name)
        here = f"{path}.{name}" if path else name
        if ours is None or other is None:
            yield here
        elif ours.digest != other.digest:
            yield from differences(ours, other, here)
