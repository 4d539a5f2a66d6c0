"""The guards: what is asked besides the votes, before a group is taken and while it is held.

In `available` a node that hears nobody counts alone, and whom it does not hear may be alive. Three things outside the
heartbeats tell: whether a neighbour still answers for the addresses (`inquiry`), whether this node reaches its
gateway or a third party (`uplink`). While a group is held, in both policies, somebody else who uses
its addresses is noticed and answered (`conflict`). The core decides; here is only asked and heard.

Where it is blind: a switch that answers ARP for the hosts behind it (EVPN suppression, proxy ARP of wireless
controllers, the networks of clouds) answers for a dead host too, until it forgets it. There `guards: {arp: false}`.
"""

from haagent.guards.guards import Guards
from haagent.guards.surroundings import Surroundings

__all__ = ["Guards", "Surroundings"]
