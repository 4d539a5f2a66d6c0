"""Health, who is active, and metrics over HTTP: for load balancers and for Prometheus. It reads, and moves nothing.

`Web` is a part, and `AgentCheck` another: a word for HAProxy. What the first needs (aiohttp, prometheus-client) is
imported only where `http:` is configured.
"""

from haagent.web.agent_check import AgentCheck
from haagent.web.part import Web

__all__ = ["AgentCheck", "Web"]
