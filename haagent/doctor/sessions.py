"""Do applications get an answer from this node's session store, and can it reach the stores of the others?

With `store: redis` there are no others to reach: what is behind the door is looked at through it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from haagent.config import Config, NodeConfig
from haagent.config.kinds import host_and_port
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, error, info, ok, warning

LIMIT_S = 1.5  # a host that is there accepts or refuses in milliseconds
HELD_S = 3.0  # a door in front of a Redis holds for half of that what it is asked for
MOST = 200  # bytes of an answer that are shown


async def sessions(subject: Subject) -> AsyncIterator[Finding]:
    config = subject.config
    if config is None or config.sessions is None or not config.keeps_sessions:
        return
    told = (subject.agent or {}).get("sessions", {})
    linked = {peer["name"] for peer in told.get("peers", ()) if peer["linked"]}
    is_redis = config.sessions.store == "redis"
    looks = [_door(config.sessions.listen, is_redis=is_redis)] if subject.agent is not None else []
    peers = () if is_redis else config.session_peers
    for finding in await asyncio.gather(*looks, *(_peer(config, node, linked) for node in peers)):
        yield finding


async def _door(listen: str, *, is_redis: bool) -> Finding:
    try:
        async with asyncio.timeout(HELD_S if is_redis else LIMIT_S):
            reader, writer = await asyncio.open_connection(*host_and_port(listen).from_here())
            writer.write(b"PING\r\n")
            answer = (await reader.read(MOST)).decode(errors="replace").strip()
            writer.close()
    except (OSError, TimeoutError) as failed:
        return error(
            f"the session store does not answer at {listen}: {_words(failed)}",
            why="Applications on this node have no sessions.",
            mend="haagent status",
        )
    match answer.partition(" ")[0]:
        case "+PONG" | "-NOAUTH":
            return ok(f"the session store answers at {listen}")
        case "-NOPERM" if is_redis:  # who we are there may not say PING, and may do the rest
            return ok(f"the Redis behind {listen} answers")
        case "-LOADING" if is_redis:
            return error(
                f"there is no Redis master behind {listen}",
                why="Applications on this node have no sessions.",
                mend="haagent status",
            )
        case "-LOADING":
            why = "It takes over what the other nodes have, or waits for them."
            return info("the session store is not ready yet", why=why, mend="haagent sessions stats")
    return error(
        f"what answers at {listen} is no session store: {answer!r}",
        why="Applications on this node have no sessions.",
        mend=f"find out who listens there (`ss -ltnp`), or change `sessions.listen` from {listen}",
    )


async def _peer(config: Config, node: NodeConfig, linked: set[str]) -> Finding:
    """Of two nodes the one whose name comes first opens the link."""
    name, port = node.name, config.heartbeat.port
    if name in linked:
        return ok(f"the session stores of {config.me} and {name} are linked")
    if config.me > name:
        return info(f"{name} opens the link of the session stores to this node", mend=f"`haagent doctor` on {name}")
    failures = []
    for address in node.addresses:
        try:
            async with asyncio.timeout(LIMIT_S / len(node.addresses)):
                _, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError) as failed:
            failures.append(f"{address}: {_words(failed)}")
        else:
            writer.close()
            return ok(f"the session store of {name} can be reached at {address}, TCP port {port}")
    return warning(
        f"the session store of {name} cannot be reached at TCP port {port} ({'; '.join(failures)})",
        why="Sessions are not replicated to it. Its agent does not run, or a firewall is in the way.",
        mend=f"start the agent on {name}, and open TCP port {port} between the nodes",
    )


def _words(failed: OSError | TimeoutError) -> str:
    if isinstance(failed, TimeoutError):
        return "no answer"
    return os.strerror(failed.errno) if failed.errno else str(failed)
