"""A socket that listens where the configuration says."""

from __future__ import annotations

import os
import socket

from haagent.config.kinds import host_and_port

BACKLOG = 64


class CannotServe(Exception):
    """The text is for an operator: what, and what to do."""


def tcp_listener(listen: str, *, key: str) -> socket.socket:
    host, port = host_and_port(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        (*_, place), *_ = socket.getaddrinfo(host, port, family, flags=socket.AI_NUMERICHOST)  # it may name a link
        sock.bind(place)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        why = os.strerror(error.errno or 0).lower()
        raise CannotServe(f"{listen}: {why}; write another address at `{key}`") from error
    return sock
