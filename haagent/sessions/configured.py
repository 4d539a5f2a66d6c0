"""What the configuration says of sessions, as the store's process is told it.

It loads what the store and its links are made of, so only an agent with sessions imports it.
"""

from __future__ import annotations

from haagent import __version__
from haagent.config import Config, SessionsConfig, load_keys
from haagent.config.keys import load_password
from haagent.config.kinds import host_and_port
from haagent.config.sessions import RedisUrl
from haagent.core.store.events import ReplicaSettings
from haagent.core.store.settings import SESSION_KEYS, StoreSettings
from haagent.core.store.stamps import number_of
from haagent.peerlink.settings import LinkSettings
from haagent.sessions.relay.settings import RelaySettings
from haagent.sessions.settings import PeerSettings, Settings


def settings_of(config: Config, sessions: SessionsConfig) -> Settings:
    """Raises `KeyFileError`."""
    host, port = host_and_port(sessions.listen)
    password = load_password(sessions.password_file) if sessions.password_file else ""
    is_redis = sessions.store == "redis"
    return Settings(
        host=host,
        port=port,
        path=sessions.socket,
        mode=int(sessions.socket_mode, 8),
        password=password,
        peers=None if is_redis else _peers_of(config, sessions),
        relay=_relay_of(sessions, password) if is_redis else None,
    )


def _peers_of(config: Config, sessions: SessionsConfig) -> PeerSettings:
    prefixes = tuple(key.encode() for key in sessions.session_keys)
    return PeerSettings(
        store=StoreSettings(
            horizon_ms=round(sessions.horizon_s * 1000),
            logout_guard_ms=round(sessions.logout_guard_s * 1000),
            max_memory=sessions.max_memory,
            eviction=sessions.eviction,
            max_value_bytes=sessions.max_value,
            session_keys=prefixes or SESSION_KEYS,
        ),
        link=_link_of(config),
        replica=ReplicaSettings(
            me=config.me,
            number=number_of(config.me),
            peers={node.name: number_of(node.name) for node in config.session_peers},
            is_sync=sessions.replication == "sync",
            is_strict=sessions.strict,
            sync_timeout_s=sessions.sync_timeout_s,
        ),
    )


def _relay_of(sessions: SessionsConfig, password: str) -> RelaySettings:
    url = sessions.url or RedisUrl()
    return RelaySettings(
        host=url.host,
        port=url.port,
        path=url.path,
        tls=url.tls,
        user=url.user,
        password=url.password or password,
        database=url.database,
        sentinels=tuple(host_and_port(sentinel) for sentinel in sessions.sentinels),
        master=sessions.master,
        is_sync=sessions.replication == "sync",
        is_strict=sessions.strict,
        replicas=sessions.replicas,
        sync_timeout_s=sessions.sync_timeout_s,
    )


def _link_of(config: Config) -> LinkSettings:
    from haagent.peerlink.identity import derive  # loads `cryptography`, in the thread that reads the keys

    keys = () if config.heartbeat.insecure else load_keys(config.key_files)
    return LinkSettings(
        cluster=config.cluster,
        me=config.me,
        life=0,  # each process of the store has its own
        release=__version__,
        addresses=config.nodes[config.me].addresses,
        peers={node.name: node.addresses for node in config.session_peers},
        port=config.heartbeat.port,
        identity=derive(keys, cluster=config.cluster),
    )
