"""A configuration of HAProxy for this cluster.

The cookie is HAProxy's own: the name of a node never becomes part of a session's key, so a session is found under the
same key when another node has to answer. A node is asked about itself twice: its `/health` says whether it may serve,
and the agent-check whether new clients should come.
"""

from __future__ import annotations

from collections.abc import Iterator

from haagent.config import Config, HttpConfig
from haagent.config.kinds import HostPort, host_and_port

CURE = (
    'write for example `http: {listen: "0.0.0.0:7266", token_file: /etc/haagent/http.token, '
    'agent_check: "0.0.0.0:7267"}`'
)


class CannotBalance(Exception):
    """The text is for an operator: what is missing, and what to write."""


def written(config: Config, *, app_port: int, bind: str, cookie: str) -> str:
    http = _reachable(config)
    return "\n".join(_lines(config, http, app_port=app_port, bind=bind, cookie=cookie)) + "\n"


def _reachable(config: Config) -> HttpConfig:
    if config.http is None:
        raise CannotBalance(f"HAProxy asks the agents whether they are well, and `http:` is not configured: {CURE}.")
    for key, listen in (("listen", config.http.listen), ("agent_check", config.http.agent_check)):
        if listen and host_and_port(listen).address.is_loopback:
            raise CannotBalance(f"`http.{key}` is {listen}, where no other host can ask: {CURE}.")
    return config.http


def _lines(config: Config, http: HttpConfig, *, app_port: int, bind: str, cookie: str) -> Iterator[str]:
    yield f"# HAProxy for the cluster {config.cluster}, made by `haagent lb haproxy`: make it anew when nodes change."
    yield from DEFAULTS.splitlines()
    yield f"frontend {config.cluster}"
    yield f"    bind {bind}"
    yield f"    default_backend {config.cluster}_nodes"
    yield ""
    yield f"backend {config.cluster}_nodes"
    yield f"    balance {'leastconn' if cookie else 'roundrobin'}"
    yield "    option httpchk GET /health"
    if cookie:
        yield f"    cookie {cookie} insert indirect nocache httponly"
    drains = ""
    if http.agent_check:
        drains = f" agent-check agent-port {host_and_port(http.agent_check).port} agent-inter 500ms"
    else:
        yield "    # Without `http.agent_check` a node in standby goes on getting new clients."
    # The second answer of a change is asked for after `fastinter`. The agent-check does not know that: it has no need.
    checks = f"check port {host_and_port(http.listen).port} inter 500ms fastinter 100ms fall 2 rise 2"
    yield f"    default-server {checks}{drains} on-marked-down shutdown-sessions"
    for name, node in config.nodes.items():
        if not node.witness:
            place = HostPort(node.addresses[0], app_port)
            yield f"    server {name} {place}{f' cookie {name}' if cookie else ''}"


# A connection that fails is tried once more with the same node, and then with another.
DEFAULTS = """
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout check 1s
    retries 2
    option redispatch 1

"""
