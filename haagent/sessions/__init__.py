"""The session store of this node: a process of its own (`child`), which a part of the agent keeps alive.

A slow scan or a million sessions delay no heartbeat there, and what breaks in it, or into it, has neither the cluster's
key nor the agent's privileges. It may crash and come back without a failover.
"""
