"""The link between peers: one TLS 1.3 connection for each pair of nodes, for what does not fit heartbeats.

    link = PeerLink(settings, hear)
    await link.run()                     # until it is cancelled

`hear` is told what happens, in the past tense: `Linked`, `Received`, `HasRoom`, `Unlinked`. `send` takes a message, or
refuses it when there is no link or no room. Of a peer there is at most one link, and its messages come between a
`Linked` and the next `Unlinked`: whole, in order and once. What was under way when a link ended may be lost: who has
sent it must ask again over the next one.

The room decides nothing, knows no agent and no cluster key: it runs in the store's process too. `identity` makes from
the cluster's keys what it needs of them, and is the only file that loads `cryptography`.
"""

from haagent.peerlink.link import HasRoom, Linked, LinkStatus, PeerLink, Received, Unlinked
from haagent.peerlink.messages import MAX_MESSAGE, Cause
from haagent.peerlink.settings import Identity, LinkSettings

__all__ = [
    "MAX_MESSAGE",
    "Cause",
    "HasRoom",
    "Identity",
    "LinkSettings",
    "LinkStatus",
    "Linked",
    "PeerLink",
    "Received",
    "Unlinked",
]
