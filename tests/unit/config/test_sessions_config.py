"""`sessions: {...}`: what can be written, what holds otherwise, and what is refused."""

from __future__ import annotations

from importlib import metadata

import pytest

from haagent.config import Config, ConfigError, SessionsConfig, parse, sessions
from haagent.config.outline import outline_of
from haagent.config.sessions import RedisUrl
from haagent.core.store.stamps import number_of
from tests.unit.config.test_config_faults import faults_of, the_fault

FILE = """\
cluster: shop
nodes:
  A: {address: 10.20.1.10}
  B: {address: 10.20.1.11}
heartbeat: {interfaces: [eth0]}
groups: {web: {addresses: [10.20.1.100/24]}}
sessions: {%s}
"""


def config(written: str = "") -> Config:
    return parse((FILE % written).encode(), "/etc/haagent/haagent.yaml", node="A")


def test_nothing_is_there_unless_it_is_asked_for() -> None:
    text = FILE.partition("sessions")[0]
    assert parse(text.encode(), "haagent.yaml", node="A").sessions is None


def test_two_braces_are_enough() -> None:
    assert config().sessions == SessionsConfig()
    found = SessionsConfig()
    assert (found.store, found.listen, found.socket) == ("peer", "127.0.0.1:6380", "")
    assert (found.replication, found.sync_timeout_s, found.strict) == ("sync", 0.5, False)
    assert (found.max_memory, found.eviction, found.max_value) == (512 * 1024**2, "noeviction", 1024**2)
    assert (found.password_file, found.session_keys, found.logout_guard_s, found.horizon_s) == ("", (), 0.0, 3600.0)


def test_all_of_it_can_be_written() -> None:
    found = config(
        "store: peer, listen: '0.0.0.0:6380', socket: /run/haagent/sessions.sock, socket_mode: 0666, replication: sync,"
        " sync_timeout: 200ms, strict: true, max_memory: 2GiB, eviction: volatile-ttl, max_value: 64KiB,"
        " password_file: /etc/haagent/sessions, session_keys: ['sess:', ':1:django'], logout_guard: 2s, horizon: 2h"
    ).sessions
    assert found == SessionsConfig(
        listen="0.0.0.0:6380",
        socket="/run/haagent/sessions.sock",
        socket_mode="0666",
        sync_timeout_s=0.2,
        strict=True,
        max_memory=2 * 1024**3,
        eviction="volatile-ttl",
        max_value=64 * 1024,
        password_file="/etc/haagent/sessions",
        session_keys=("sess:", ":1:django"),
        logout_guard_s=2.0,
        horizon_s=7200.0,
    )


# What is written in the braces; then the key that is blamed, and a part of what is said.
ONE_MISTAKE = [
    ("store: redis", "url", "nothing says where Redis is; write `redis://10.0.0.5:6379/0`"),
    ("store: redis, url: 'http://10.0.0.5'", "url", "it is not the URL of a Redis"),
    ("store: redis, url: 'redis://10.0.0.5/x'", "url", "it is not the URL of a Redis"),
    ("store: redis, url: 'redis://10.0.0.5:70000/0'", "url", "it is not the URL of a Redis"),
    ("store: redis, url: 'redis://10.0.0.5/0?x=1'", "url", "it is not the URL of a Redis"),
    ("store: redis, url: 'unix://redis.sock'", "url", "it is not the URL of a Redis"),
    ("store: redis, url: 'redis+cluster://10.0.0.5'", "url", "a Redis Cluster sends its clients from node to node"),
    ("store: redis, url: 'redis://10.0.0.5,10.0.0.6'", "url", "a Redis Cluster sends its clients from node to node"),
    ("store: redis, url: 'redis://10.0.0.5', managed: true", "managed", "is not in this release"),
    ("store: redis, url: 'redis://10.0.0.5', consistency: strong", "consistency", ""),
    ("store: redis, url: 'redis://10.0.0.5', max_memory: 1GiB", "max_memory", "for Redis itself to know"),
    ("store: redis, url: 'redis://10.0.0.5', logout_guard: 1s", "logout_guard", "for Redis itself to know"),
    ("store: redis, url: 'redis://10.0.0.5', replicas: 0", "replicas", "is not a number from 1 to 16"),
    ("store: redis, url: 'redis://10.0.0.5', replication: async, replicas: 2", "replicas", "nobody waits"),
    ("store: redis, url: 'redis://10.0.0.5', sentinels: ['10.0.0.5:26379'], master: a", "url", "the sentinels do"),
    ("store: redis, sentinels: ['10.0.0.5:26379']", "master", "missing, and `sentinels` needs it"),
    ("store: redis, url: 'redis://10.0.0.5', master: a", "sentinels", "missing, and `master` needs it"),
    ("store: redis, sentinels: ['10.0.0.5'], master: a", "sentinels[0]", "is not an address with a port"),
    ("store: redis, sentinels: ['-a:26379'], master: a", "sentinels[0]", "`-a` is not the address of a sentinel"),
    ("store: redis, sentinels: ['10.0.0.5:26379'], master: 'a b'", "master", "is not the name of a master"),
    ("url: 'redis://10.0.0.5'", "url", "there is no Redis with `store: peer`; remove it, or write `store: redis`"),
    ("replicas: 2", "replicas", "there is no Redis with `store: peer`"),
    ("store: per", "store", "did you mean `peer`?"),
    ("replicaton: sync", "replicaton", "did you mean `replication`?"),
    ("consistency: strong", "consistency", "unknown key"),
    ("listen: '6380'", "listen", "write `127.0.0.1:"),
    ("listen: '10.20.1.10:6380'", "listen", "could read and change sessions; name a `password_file` too"),
    ("listen: '10.20.1.10:7265', password_file: /p", "listen", "10.20.1.10:7265 is taken by the link between peers"),
    ("socket: haagent.sock", "socket", "begin with `/`"),
    ("socket: /s, socket_mode: 0777", "socket_mode", "write one of: 0600, 0660, 0666"),
    ("socket_mode: 0600", "socket_mode", "there is no `socket`; name one, or remove this"),
    ("socket: '/a b'", "socket", "begin with `/`"),
    (f"socket: /{'x' * 107}", "socket", "too long for the name of a socket; write at most 107 bytes"),
    ("replication: maybe", "replication", "not known here"),
    ("sync_timeout: 1ms", "sync_timeout", "too short; write 5ms to 1m"),
    (
        "replication: async, strict: true",
        "strict",
        "nobody waits with `replication: async`; remove it, or write `sync`",
    ),
    ("replication: async, sync_timeout: 1s", "sync_timeout", "nobody waits"),
    ("max_memory: 512", "max_memory", "`512` is not a size; write a whole number with `KiB`, `MiB` or `GiB`"),
    ("max_memory: 512MB", "max_memory", "not a size"),
    ("max_memory: 0MiB", "max_memory", "not a size"),
    ("max_memory: 900KiB", "max_memory", "900KiB is too little; write 1MiB to 1024GiB"),
    ("max_memory: 2000GiB", "max_memory", "2000GiB is too much"),
    ("eviction: lru", "eviction", "not known here"),
    ("max_value: 32MiB", "max_value", "too much; write 1KiB to 16MiB"),
    ("max_memory: 1MiB, max_value: 2MiB", "max_value", "2MiB is more than `max_memory`, 1MiB; write less"),
    ("password_file: secret", "password_file", "not an absolute path"),
    ("session_keys: []", "session_keys", "the list is empty"),
    ("session_keys: ['a b']", "session_keys[0]", "cannot be the beginning of keys"),
    ("session_keys: [a, a]", "session_keys[1]", "twice"),
    ("logout_guard: 6m", "logout_guard", "too long; write 0s to 5m"),
    ("logout_guard: 2m, horizon: 1m", "logout_guard", "2m is longer than the horizon of 1m; write at most 1m"),
    ("horizon: 1s", "horizon", "too short"),
]


URLS = [
    ("redis://10.0.0.5", RedisUrl(host="10.0.0.5")),
    ("redis://[fd00::5]:7000/15", RedisUrl(host="fd00::5", port=7000, database=15)),
    (
        "rediss://app:p%40ss@redis.example.com:6380/2",
        RedisUrl(host="redis.example.com", port=6380, tls=True, user="app", password="p@ss", database=2),
    ),
    ("redis://:x@localhost/", RedisUrl(host="localhost", password="x")),
    ("unix:///run/redis.sock", RedisUrl(path="/run/redis.sock")),
    ("unix://app:x@/run/redis.sock?db=3", RedisUrl(path="/run/redis.sock", user="app", password="x", database=3)),
]


@pytest.mark.parametrize(("text", "meant"), URLS)
def test_urls(text: str, meant: RedisUrl) -> None:
    found = config(f"store: redis, url: '{text}'").sessions
    assert found is not None
    assert found.url == meant
    assert "p@ss" not in repr(found)


def test_sentinels_need_no_url_and_take_one_without_a_host() -> None:
    said = "store: redis, sentinels: ['10.0.0.5:26379', '[fd00::5]:26379', 'r.example.com:26379'], master: shop"
    found = config(said).sessions
    assert found is not None
    assert found.sentinels == ("10.0.0.5:26379", "[fd00::5]:26379", "r.example.com:26379")
    more = config(f"{said}, url: 'rediss://app@/2', replicas: 2, strict: true").sessions
    assert more is not None
    assert (more.url, more.replicas) == (RedisUrl(tls=True, user="app", database=2), 2)


def test_a_password_in_an_url_is_not_quoted() -> None:
    for url in ("http://app:sesame@10.0.0.5", "redis://app:sesame@10.0.0.5:x/", "redis+cluster://:sesame@a"):
        fault = the_fault(FILE % f"store: redis, url: '{url}'")
        assert "sesame" not in f"{fault.message}{fault.hint}"
    written = {"sessions": {"url": "redis://:sesame@10.0.0.5"}}
    assert outline_of(written).parts["sessions"].parts["url"].digest == 0


def test_redis_needs_no_addresses_of_nodes() -> None:
    text = FILE % "store: redis, url: 'redis://10.0.0.5'"
    assert parse(text.replace("B: {address: 10.20.1.11}", "B: {}").encode(), "test.yaml").sessions


@pytest.mark.parametrize(("written", "key", "words"), ONE_MISTAKE)
def test_one_mistake_is_one_fault(written: str, key: str, words: str) -> None:
    fault = the_fault(FILE % written)
    assert (fault.line, fault.path) == (7, f"sessions.{key}")
    assert words in f"{fault.message}; {fault.hint}"


def test_it_does_not_listen_where_the_agent_answers_http() -> None:
    for mine, theirs in (("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")):
        text = FILE % f"listen: '{mine}:7000', password_file: /p"
        fault = the_fault(text + f"http: {{listen: '{theirs}:7000', token_file: /t}}\n")
        assert (fault.path, fault.hint) == ("sessions.listen", "write another port")
        assert "taken by `http.listen`" in fault.message
    check = FILE % "listen: '127.0.0.1:7000'" + "http: {agent_check: '127.0.0.1:7000'}\n"
    assert "taken by `http.agent_check`" in the_fault(check).message
    text = FILE % "listen: '127.0.0.2:7000'"
    assert parse((text + "http: {listen: '127.0.0.1:7000'}\n").encode(), "test.yaml").sessions


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("http: {listen: '0.0.0.0:7265', token_file: /t}", "http.listen"),
        ("http: {listen: '10.20.1.11:7265', token_file: /t}", "http.listen"),
        ("http: {agent_check: '0.0.0.0:7265'}", "http.agent_check"),
    ],
)
def test_nobody_else_listens_where_the_link_does(written: str, path: str) -> None:
    fault = the_fault(FILE % "" + written)
    assert (fault.path, fault.hint) == (path, "write another port")
    assert "10.20.1.1" in fault.message
    assert "is taken by the link between peers" in fault.message


@pytest.mark.parametrize(
    ("sessions", "written"),
    [
        ("", "http: {listen: '[::]:7265', token_file: /t}"),  # of the other family
        ("", "http: {listen: '127.0.0.1:7265'}"),
        ("store: redis, url: 'redis://10.0.0.5'", "http: {listen: '0.0.0.0:7265', token_file: /t}"),  # there is no link
    ],
)
def test_beside_the_link_there_is_room(sessions: str, written: str) -> None:
    assert parse((FILE % sessions + written).encode(), "test.yaml").sessions


def test_the_link_needs_an_address_of_each_node_that_keeps_sessions() -> None:
    text = FILE % ""
    fault = the_fault(text.replace("B: {address: 10.20.1.11}", "B: {}"))
    assert (fault.path, fault.hint) == ("nodes.B.address", "write `address: 10.20.1.10`")
    assert "`sessions` needs it" in fault.message
    with_witness = text.replace("B: {address: 10.20.1.11}", "B: {address: 10.20.1.11}\n  W: {witness: true}")
    assert parse(with_witness.encode(), "test.yaml").sessions
    fault = the_fault(text.replace("10.20.1.11}", "'fd00::11'}"))
    assert fault.path == "nodes.B.address"
    assert "fd00::11 cannot talk to 10.20.1.10 of another node" in fault.message


def test_where_unicast_asks_for_the_address_it_is_asked_for_once() -> None:
    text = (FILE % "").replace("interfaces: [eth0]", "transport: unicast").replace("/24]", "/24], interface: eth0")
    assert [fault.message for fault in faults_of(text.replace("{address: 10.20.1.11}", "{}"))] == [
        "missing, and unicast needs it"
    ]


def test_nodes_can_say_in_which_of_its_keys_their_files_differ() -> None:
    outline = outline_of({"sessions": {"replication": "sync", "max_memory": "1GiB"}})
    assert set(outline.parts["sessions"].parts) == {"replication", "max_memory"}


@pytest.mark.parametrize(
    ("version", "said"),
    [("1.1.0", "3.1 or later, and 1.1.0 is here"), ("3.1.1", ""), ("10.0", ""), (None, "which is not here")],
)
def test_what_parses_the_protocol_has_to_be_there(
    monkeypatch: pytest.MonkeyPatch, version: str | None, said: str
) -> None:
    def asked(name: str) -> str:
        assert name == "hiredis"
        if version is None:
            raise metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(metadata, "version", asked)
    assert sessions._lack_of_hiredis() == said


def test_two_nodes_that_have_by_chance_one_number_are_told_apart_by_another_name() -> None:
    first = "n0"
    twin = next(name for name in (f"n{number}" for number in range(1, 100_000)) if number_of(name) == number_of(first))
    with pytest.raises(ConfigError, match="have by chance the same number in the session store"):
        parse(
            f"""
cluster: shop
nodes: {{{first}: {{address: 10.20.1.10}}, {twin}: {{address: 10.20.1.11}}}}
heartbeat: {{interfaces: [eth0]}}
groups: {{web: {{addresses: [10.20.1.100/24]}}}}
sessions: {{}}
""".encode(),
            "haagent.yaml",
            node=first,
        )
