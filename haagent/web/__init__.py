"""Health, who is active, and metrics over HTTP: for load balancers and for Prometheus. It reads, and moves nothing.

`Web` is the part. What it needs (aiohttp, prometheus-client) is imported only where `http:` is configured.
"""

from haagent.web.part import Web

__all__ = ["Web"]
