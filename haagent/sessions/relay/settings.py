"""What the relay is told: where Redis is, how to log in there, and how far a change has to be before it is answered."""

from __future__ import annotations

import msgspec


class RelaySettings(msgspec.Struct, frozen=True, kw_only=True):
    host: str = ""  # none: `path`, or the sentinels say it
    port: int = 6379
    path: str = ""  # of a Unix socket
    tls: bool = False
    user: str = ""
    password: str = ""
    database: int = 0  # where clients begin
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""  # as the sentinels call it
    is_sync: bool = True
    is_strict: bool = False
    replicas: int = 1  # that have to have a change
    sync_timeout_s: float = 0.5

    def __repr__(self) -> str:  # without the password
        return f"RelaySettings({self.host or self.path or self.master})"
