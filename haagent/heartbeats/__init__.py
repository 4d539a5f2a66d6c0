"""Datagrams to and from the other nodes, over every configured link at once.

A link is one network path and one socket: an interface (multicast), or a pair of addresses (unicast). Links know
nothing of each other; a heartbeat goes out on all of them, and whoever hears it twice keeps it once. Nothing here
decides anything: a datagram is handed on as bytes with the name of its link, and only its seal says whether to
believe it (core/wire.py).

A link that cannot work yet, or no more, is a state and not an error: the interface may be plugged in tomorrow, and
meanwhile the other links carry the cluster. `Transport.look` looks again.
"""

from __future__ import annotations

from haagent.heartbeats.link import LinkStatus
from haagent.heartbeats.transport import Looks, Transport

__all__ = ["LinkStatus", "Looks", "Transport"]
