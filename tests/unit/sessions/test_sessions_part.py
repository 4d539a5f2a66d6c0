"""The store's process, kept by a part of the agent: started with its settings, told of, started again, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from haagent.core.store.stamps import number_of
from haagent.parts import CannotReload
from haagent.sessions import part as sessions_part
from haagent.sessions.messages import Facts, Found, Lost, Noted, PeerFacts, Serving
from haagent.sessions.part import Sessions, settings_of
from tests.support.ports import free_port
from tests.support.session_part import PATIENCE_S, B, ask, config, is_alive, kept, pid_of, serves, until


def test_it_serves_and_says_so_and_ends_with_the_agent(port: int) -> None:
    async def story() -> None:
        async with kept(config(port)) as part:
            await until(lambda: serves(part))
            assert await ask(port, "SET", "session:1", "x") == b"+OK"
            await until(lambda: part.status()["sessions"].get("keys") == 1)
            told, pid = part.status(), pid_of(part)
            assert told["warnings"] == []
            assert (told["sessions"]["listen"], told["sessions"]["starts"]) == (f"127.0.0.1:{port}", 1)
            assert Path(f"/proc/{pid}/comm").read_text().strip() == "haagent-store"
        assert not is_alive(pid)

    asyncio.run(story())


def test_nothing_of_the_settings_is_in_its_arguments_or_environment(port: int, place: Path) -> None:
    secret = place / "password"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)

    async def story() -> None:
        async with kept(config(port, f", password_file: {secret}")) as part:
            await until(lambda: serves(part))
            told = [Path(f"/proc/{pid_of(part)}/{file}").read_bytes() for file in ("cmdline", "environ")]
            assert not any(b"sesame" in each or str(port).encode() in each for each in told)
            assert (await ask(port, "GET", "x")).startswith(b"-NOAUTH")

    asyncio.run(story())


def test_its_socket_is_for_whom_it_is_meant(port: int, place: Path) -> None:
    async def story() -> None:
        for more, mode in (("", 0o660), (", socket_mode: 0666", 0o666)):
            async with kept(config(port, f", socket: {place}/store{more}")) as part:
                await until(lambda: serves(part))
                assert (place / "store").stat().st_mode & 0o777 == mode

    asyncio.run(story())


def test_it_has_none_of_the_agents_privileges(port: int) -> None:
    async def story() -> None:
        async with kept(config(port)) as part:
            await until(lambda: serves(part))
            status = Path(f"/proc/{pid_of(part)}/status").read_text()
            found = dict(line.split(":\t", 1) for line in status.splitlines() if line.startswith("Cap"))
            assert {int(found[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}

    asyncio.run(story())


def test_one_that_dies_is_started_again(port: int) -> None:
    async def story() -> None:
        async with kept(config(port)) as part:
            await until(lambda: serves(part))
            first = pid_of(part)
            os.kill(first, signal.SIGKILL)
            await until(lambda: serves(part) and pid_of(part) != first)
            assert part.status()["sessions"]["starts"] == 2
            assert part.counters()["sessions_restarts"] == 1
            assert await ask(port, "PING") == b"+PONG"

    asyncio.run(story())


def test_it_serves_on_while_systemd_stops_the_agent(port: int) -> None:
    """systemd tells all processes of a service to end, and the agent has its groups to hand over first."""

    async def story() -> None:
        async with kept(config(port)) as part:
            await until(lambda: serves(part))
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                os.kill(pid_of(part), number)
            assert await ask(port, "PING") == b"+PONG"
            assert part.status()["sessions"]["starts"] == 1

    asyncio.run(story())


def test_one_that_does_not_end_is_killed(port: int) -> None:
    async def story() -> None:
        async with kept(config(port)) as part:
            await until(lambda: serves(part))
            pid = pid_of(part)
            os.kill(pid, signal.SIGSTOP)
        assert not is_alive(pid)

    asyncio.run(story())


def test_it_ends_when_the_agent_is_killed(port: int) -> None:
    """The kernel closes the agent's end of the socket."""

    async def story() -> None:
        async with kept(config(port)) as part:
            await until(lambda: serves(part))
            pid, process = pid_of(part), part._process
            assert process is not None
            process._loop.remove_reader(process._channel)
            process._channel.close()
            await until(lambda: not is_alive(pid))

    asyncio.run(story())


def test_a_port_that_is_taken_is_told_and_tried_again(port: int) -> None:
    async def story() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            async with kept(config(port)) as part:
                await until(lambda: "in use" in part.status()["warnings"][0])
                assert f"does not serve on 127.0.0.1:{port}" in part.status()["warnings"][0]
                other.close()
                await until(lambda: serves(part))
                assert part.status()["warnings"] == []

    asyncio.run(story())


def test_a_reload_changes_other_things_only(port: int) -> None:
    async def story() -> None:
        async with kept(config(port)) as part:
            (await part.prepare(config(port))).apply()
            with pytest.raises(CannotReload, match="restart the agents one after the other"):
                await part.prepare(config(port, ", max_memory: 1GiB"))

    asyncio.run(story())


def test_a_witness_keeps_no_sessions(port: int) -> None:
    async def story() -> None:
        async with kept(config(port, node="W")) as part:
            assert part.status() == {}
            assert part._process is None

    asyncio.run(story())


def test_what_is_written_in_the_file_is_what_the_store_is_told() -> None:
    found = settings_of(
        config(
            6380,
            ", max_memory: 1MiB, max_value: 1KiB, eviction: volatile-ttl, session_keys: [a], logout_guard: 2s,"
            " horizon: 2m, socket: /run/x.sock, sync_timeout: 200ms, strict: true",
            node="B",
            others=B,
        )
    )
    assert found is not None
    assert found.peers is not None
    assert found.relay is None
    assert (found.host, found.port, found.path, found.password) == ("127.0.0.1", 6380, "/run/x.sock", "")
    replica, link = found.peers.replica, found.peers.link
    assert (replica.me, replica.number) == ("B", number_of("B"))
    assert replica.peers == {"A": number_of("A")}, "a witness keeps no sessions"
    assert (replica.is_sync, replica.is_strict, replica.sync_timeout_s) == (True, True, 0.2)
    assert (link.addresses, link.peers, link.port) == (("127.0.0.2",), {"A": ("127.0.0.1",)}, 7265)
    store = found.peers.store
    assert (store.max_memory, store.max_value_bytes, store.eviction) == (1 << 20, 1 << 10, "volatile-ttl")
    assert (store.session_keys, store.logout_guard_ms, store.horizon_ms) == ((b"a",), 2000, 120_000)
    assert "sesame" not in repr(found)


def test_two_nodes_replicate_and_say_so(port: int, link: int) -> None:
    async def story() -> None:
        def both(node: str, at: int) -> Any:
            return config(at, node=node, others=B, link=link)

        second = free_port()
        history: list[tuple[str, str]] = []
        async with kept(both("A", port), history) as a:
            await until(lambda: serves(a))
            assert (await ask(port, "GET", "x")).startswith(b"-LOADING")
            assert a.why_unready().startswith("The session store takes over")
            assert a.status()["warnings"] == [a.why_unready()]
            async with kept(both("B", second)) as b:
                await until(
                    lambda: serves(b) and serves(a) and not a.status()["warnings"] and not b.status()["warnings"]
                )
                assert a.why_unready() == ""
                (peer,) = a.status()["sessions"]["peers"]
                nothing = {"queue": 0, "behind": 0, "queue_bytes": 0}
                assert peer.items() >= {"name": "B", "linked": True, "in_sync": True, **nothing}.items()
                assert await ask(port, "SET", "session:1", "x") == b"+OK"
                assert await ask(second, "STRLEN", "session:1") == b":1"
                a.alive(("B",))
                a.alive(())
                await until(lambda: a.counters().get("sessions_link_lost") == 1)
                await until(lambda: not a.status()["warnings"])  # it was not lost: it is linked anew
            await until(lambda: a.status()["warnings"])
            assert a.status()["warnings"][0].startswith("Sessions are not replicated to B (B: ")
            assert ("in_sync", "the session store of B has all that was changed here") in history
            assert {"joined", "joining"} >= {kind for kind, _ in history} - {"in_sync", "unsynced"}
            assert any(kind == "joined" and "the session store serves: " in text for kind, text in history)
            assert await ask(port, "STRLEN", "session:1") == b":1"

    asyncio.run(story())


def test_a_peer_that_comes_and_goes_is_told_of_seldom_and_as_it_is_in_the_end() -> None:
    history: list[tuple[float, str]] = []
    now = 100.0
    part = Sessions(config(6380), note=lambda kind, _: history.append((now, kind.value)), background=asyncio.run)
    for tenths in range(300):
        now = 100.0 + tenths / 10
        kind = "in_sync" if tenths % 2 == 0 or tenths > 250 else "out_of_sync"
        part._untold["B"] = Noted(kind, "B", "does something")
        part._tell_of_peers(now)
    assert history == [(100.0, "in_sync"), (110.1, "unsynced"), (120.2, "in_sync")]


def test_a_node_that_is_added_is_linked_without_a_restart(port: int, link: int) -> None:
    async def story() -> None:
        second = free_port()
        async with kept(config(port, link=link)) as a:
            await until(lambda: serves(a))
            assert await ask(port, "SET", "session:1", "x") == b"+OK"
            async with kept(config(second, node="B", others=B, link=link)) as b:
                await until(lambda: serves(b))
                (await a.prepare(config(port, others=B, link=link))).apply()
                await until(lambda: [peer["in_sync"] for peer in a.status()["sessions"].get("peers", ())] == [True])
                await until(lambda: b.status()["sessions"].get("ready"))
                assert await ask(second, "STRLEN", "session:1") == b":1"
                (await a.prepare(config(port, link=link))).apply()
                await until(lambda: a.status()["sessions"]["peers"] == [])
                assert await ask(port, "SET", "session:2", "x") == b"+OK"
            assert a.status()["sessions"]["starts"] == 1

    asyncio.run(story())


def told(*, ready: bool = True, keys: int = 1, linked: bool = False, in_sync: bool = False) -> Serving:
    peer = PeerFacts(
        linked=linked,
        in_sync=in_sync,
        queue=0,
        queue_bytes=0,
        lag_ms=0.0,
        ack_p50_ms=None,
        ack_p99_ms=None,
        last_full_sync=None,
        why="",
    )
    return Serving(Facts(is_ready=ready, clients=0, keys=keys, bytes=0, peers={"B": peer}, counts={}))


def about_to_stop(port: int, *, others: str = B) -> Sessions:
    part = Sessions(config(port, others=others), note=lambda *_: None, background=lambda work: work.close())
    part._settings = settings_of(part._config)
    return part


def test_the_store_is_told_who_comes_and_who_goes(port: int) -> None:
    part, said = about_to_stop(port), list[object]()
    part.alive(["W"])  # nobody is there to be told
    part._process = SimpleNamespace(tell=said.append)  # type: ignore[assignment]
    for alive in (["W"], ["B", "W"], ["B", "W"], ["C", "W"], []):
        part.alive(alive)
    assert said == [Found(["B"]), Lost(["B"]), Found(["C"]), Lost(["C", "W"])]


@pytest.mark.parametrize("is_back", [False, True])
def test_a_stop_waits_until_a_node_that_is_heard_has_all_sessions(port: int, is_back: bool) -> None:
    """One that is back has nothing of what it had: the store tells of its peers each second only, so A said of B that
    it had all, and B had just been started anew."""

    async def story() -> None:
        part = about_to_stop(port)
        part._process = SimpleNamespace(tell=lambda _: None)  # type: ignore[assignment]
        part.alive(["B", "W"])
        part._heard(told(linked=True, in_sync=is_back))
        if is_back:
            part.alive(["W"])
            part.alive(["B", "W"])
        stop = asyncio.create_task(part.kept_elsewhere())
        await asyncio.wait({stop}, timeout=4 * sessions_part.LOOK_S)
        assert not stop.done()
        part._heard(told(linked=True, in_sync=True))
        assert await stop == ""

    asyncio.run(story())


def test_a_stop_waits_for_a_node_that_has_just_been_started_and_not_for_ever(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_part, "ALONE_S", 0.1)
    monkeypatch.setattr(sessions_part, "KEPT_S", 0.2)

    async def story() -> None:
        part = about_to_stop(port)
        part._heard(told(linked=True, in_sync=True))  # what the store has not noticed yet
        loop = asyncio.get_running_loop()
        for alive, least_s in (([], 0.1), (["W"], 0.1), (["B"], 0.2)):
            part.alive(alive)
            part._heard(told(linked=True, in_sync=alive != ["B"]))
            began = loop.time()
            assert await part.kept_elsewhere() == "no other node has the 1 sessions of this one"
            assert loop.time() - began >= least_s

    asyncio.run(story())


def test_a_stop_waits_for_nobody_where_nothing_would_be_lost(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_part, "LOOK_S", PATIENCE_S * 10)

    async def story() -> None:
        part = about_to_stop(port)
        async with asyncio.timeout(PATIENCE_S):
            assert await part.kept_elsewhere() == "", "the store is not there"
            part.alive(["B"])
            for facts in (told(keys=0), told(ready=False), told(linked=True, in_sync=True)):
                part._heard(facts)
                assert await part.kept_elsewhere() == ""
            alone = about_to_stop(port, others="")
            alone._heard(told())
            assert await alone.kept_elsewhere() == ""

    asyncio.run(story())
