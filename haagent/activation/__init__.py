"""Making a group active on this node, and making it stop: its ordered pipeline, and the reconciler of its addresses.

`Activation` is the door. It takes the core's words (take, renew, drop, announce) as *levels*: what should be. The
pipeline makes it so, the comparison with the kernel (every two seconds, and on each message of the monitor) keeps
it so.
"""

from haagent.activation.activation import Activation
from haagent.activation.surroundings import Surroundings

__all__ = ["Activation", "Surroundings"]
