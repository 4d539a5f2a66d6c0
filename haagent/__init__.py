"""haagent: a Linux high-availability failover agent."""

__version__ = "0.1.0"
