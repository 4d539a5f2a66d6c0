"""What the store is told at its making."""

from __future__ import annotations

import msgspec

# Under these prefixes the frameworks keep sessions by default (docs/guide names the framework of each).
SESSION_KEYS = (
    b"session:",
    b":1:django.contrib.sessions.",
    b"starsessions.",
    b"AIOHTTP_SESSION_",
    b"LITESTAR:",
    b"beaker_cache:",
    b"sess:",
    b"PHPREDIS_SESSION:",
    b"sf_s",
    b"2::",
    b"_session_id:2::",
    b"session_",
    b"scs:session:",
    b"spring:session:sessions:",
)
LOCK_KEYS = (b"_LOCK", b":lock")  # suffixes: phpredis; redis-py and those that name a lock after what it guards


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    databases: int = 16
    session_keys: tuple[bytes, ...] = SESSION_KEYS  # prefixes: what is deleted stays deleted, whoever writes it late
    lock_keys: tuple[bytes, ...] = LOCK_KEYS
    max_drift_ms: int = 10_000
    horizon_ms: int = 3_600_000  # so long a deletion is remembered, and while a peer is away
    max_removals: int = 100_000  # so many deletions of a database are remembered, and the oldest are forgotten
    logout_guard_ms: int = 0  # so long after a session's deletion a plain SET of it does nothing; 0: no guard
    max_memory: int = 0  # bytes; 0: no limit
    eviction: str = "noeviction"  # or volatile-ttl, allkeys-lru
    max_key_bytes: int = 16 * 1024
    max_value_bytes: int = 1024 * 1024  # of a string, or of all fields of a hash
