"""Who listens where on a node: no two of them can in one place.

The file is the same on every node, so the link between session stores is looked for at the addresses of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from haagent.config.kinds import HostPort, host_and_port
from haagent.config.schema import Draft

LISTENERS = (("http", "listen"), ("http", "agent_check"), ("sessions", "listen"))


def find_collisions(top: Draft) -> None:
    """A mistake is one fault: at the later one, and of the first that is in its way."""
    taken = [(place, "the link between peers") for place in _link(top)]
    for section, key in LISTENERS:
        draft = top.section(section)
        listen = draft.get(key) if draft is not None else None
        if draft is None or not listen:
            continue
        wanted = host_and_port(listen)
        if found := next(((place, by) for place, by in taken if wanted.collides(place)), None):
            draft.refuse(key, "{} is taken by {}".format(*found), "write another port")
        taken.append((wanted, f"`{section}.{key}`"))


def _link(top: Draft) -> Iterator[HostPort]:
    sessions, port = top.section("sessions"), top.get("heartbeat").get("port")
    if sessions is None or sessions.get("store") == "redis" or port is None:
        return
    for node in top.sections("nodes").values():
        if not node.get("witness"):
            yield from (HostPort(address, port) for address in node.values("addresses"))
