"""Fencing: making sure that a node that vanished is down, by an agent of the distribution (`fence_*`, STONITH).

A node that went silent without a release may still serve. Where a fence is configured for it, whoever takes over what
it held runs its agent first, and serves only after the agent has confirmed. A refusal, or no answer in time, stops the
take: two that serve are worse than none, and an operator who has pulled the plug can say so (`haagent confirm-down`).
"""

from haagent.fencing.agent import FenceError
from haagent.fencing.fences import Fences, faults_of

__all__ = ["FenceError", "Fences", "faults_of"]
