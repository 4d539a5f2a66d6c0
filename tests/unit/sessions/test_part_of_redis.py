"""The same part, with a Redis of the operator's own behind the door."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from haagent.parts import CannotReload
from haagent.sessions import part as sessions_part
from haagent.sessions.messages import Facts, RelayFacts, Serving
from haagent.sessions.part import Sessions, settings_of
from haagent.sessions.relay.settings import RelaySettings
from tests.support.redis_stage import stage
from tests.support.session_part import ask, config, kept, pid_of, serves, until


def redis(port: int, at: int, more: str = "") -> Any:
    return config(port, f", store: redis, url: 'redis://127.0.0.1:{at}/3'{more}")


def test_in_front_of_a_redis_it_says_which_and_whether_it_can_be_used(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_part, "SELDOM_S", 0.0)

    async def story() -> None:
        history: list[tuple[str, str]] = []
        with stage() as made:
            server = await asyncio.to_thread(made.server)
            async with kept(redis(port, server.port, ", sync_timeout: 50ms"), history) as part:
                await until(lambda: serves(part) and not part.status()["warnings"])
                assert await ask(port, "SET", "session:1", "x") == b"+OK"
                assert await asyncio.to_thread(server.ask, "DBSIZE") == 0, "it is in the database of the URL"
                await until(lambda: part.status()["warnings"])
                assert part.status()["warnings"][0].startswith("The latest change of sessions had too few replicas")
                assert part.why_unready() == "", "applications can go on"
                told = part.status()["sessions"]
                assert (told["store"], told["master"]) == ("redis", f"127.0.0.1:{server.port}")
                assert (told["ready"], told["in_sync"], told["lag"]) == (True, False, None)
                assert part.counters()["sessions_waits_short"] == 1
                replica = await asyncio.to_thread(made.replica, server)
                while part.status()["warnings"]:
                    assert await ask(port, "SET", "session:1", "x") == b"+OK"
                assert history == [
                    ("unsynced", f"{sessions_part.SHORT} (of 127.0.0.1:{server.port})"),
                    ("in_sync", f"changes of sessions have enough replicas at Redis (of 127.0.0.1:{server.port})"),
                ]
                assert await part.kept_elsewhere() == "", "a stop has nothing to wait for"
                replica.kill()
                server.kill()
                await until(part.why_unready)
                assert part.why_unready().startswith("There is no Redis master for the sessions: ")
                assert part.status()["warnings"] == [part.why_unready()]
                assert part.status()["sessions"]["starts"] == 1
                (await part.prepare(redis(port, server.port, ", sync_timeout: 50ms"))).apply()
                with pytest.raises(CannotReload):
                    await part.prepare(redis(port, server.port, ", strict: true"))

    asyncio.run(story())


def test_nothing_of_the_password_of_a_redis_is_in_its_arguments_or_environment(port: int, place: Path) -> None:
    secret = place / "password"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)

    async def story() -> None:
        with stage() as made:
            server = await asyncio.to_thread(made.server, "--requirepass", "open sesame")
            async with kept(redis(port, server.port, f", password_file: {secret}, replication: async")) as part:
                await until(lambda: serves(part) and not part.why_unready())
                told = [Path(f"/proc/{pid_of(part)}/{file}").read_bytes() for file in ("cmdline", "environ")]
                assert not any(b"sesame" in each for each in told)
                assert (await ask(port, "GET", "x")).startswith(b"-NOAUTH")
                assert part.status()["sessions"]["in_sync"] is None
                assert "sesame" not in repr(part.status())

    asyncio.run(story())


def test_what_is_written_of_a_redis_is_what_the_relay_is_told() -> None:
    more = ", store: redis, sentinels: ['10.0.0.5:26379', '[fd00::5]:26379'], master: shop, strict: true, replicas: 2"
    found = settings_of(config(6380, f"{more}, url: 'rediss://app:sesame@/2', sync_timeout: 20ms"))
    assert found is not None
    assert found.peers is None
    assert found.relay == RelaySettings(
        tls=True,
        user="app",
        password="sesame",
        database=2,
        sentinels=(("10.0.0.5", 26379), ("fd00::5", 26379)),
        master="shop",
        is_sync=True,
        is_strict=True,
        replicas=2,
        sync_timeout_s=0.02,
    )
    assert "sesame" not in f"{found}{found.relay}"


def test_in_front_of_a_redis_the_process_has_nothing_of_the_peers() -> None:
    program = (
        "import sys\n"
        "from haagent.sessions import child\n"
        "from haagent.sessions.settings import Settings\n"
        "from haagent.sessions.relay.settings import RelaySettings\n"
        "relay = RelaySettings(host='::1')\n"
        "child._relay(Settings(host='127.0.0.1', port=0, path='', mode=0o660, password='', relay=relay))\n"
        "print(*sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "haagent.sessions.store.member" not in run.stdout.split()
    assert "haagent.core.store.replica" not in run.stdout.split()


def test_its_socket_in_front_of_a_redis_is_for_whom_it_is_meant(port: int, place: Path) -> None:
    async def story() -> None:
        for more, mode in (("", 0o660), (", socket_mode: 0666", 0o666)):
            async with kept(redis(port, 1, f", socket: {place}/store{more}")) as part:
                await until(lambda: serves(part))
                assert (place / "store").stat().st_mode & 0o777 == mode

    asyncio.run(story())


def test_before_the_first_change_nothing_is_said_of_replicas() -> None:
    history: list[str] = []
    part = Sessions(config(6380), note=lambda kind, _: history.append(kind.value), background=lambda work: work.close())

    async def story() -> None:
        relay = RelayFacts(master="10.0.0.5:6379", why="", is_short=False)
        for counts, told in (dict[str, int](), []), ({"waits": 1}, ["in_sync"]):
            part._heard(Serving(Facts(True, 0, 0, 0, {}, counts, relay)))
            assert history == told

    asyncio.run(story())
