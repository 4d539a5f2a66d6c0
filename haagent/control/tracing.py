"""A trace over the control socket: the agent gives it away in pieces, and whoever asked writes the file.

The agent writes no file for a client: a member of the group `haagent` may read what was decided, but must not be able
to have a file written as root.
"""

from __future__ import annotations

import asyncio
import base64

from haagent.control.facade import Facade
from haagent.control.requests import Listener, Refusal
from haagent.trace import TraceError, encode

PIECE_BYTES = 48 * 1024


async def give(agent: Facade, listener: Listener) -> dict[str, object]:
    try:
        trace = agent.trace()
    except TraceError as error:
        raise Refusal(f"There is no trace to save: {error}.", status=1) from error
    data = await asyncio.to_thread(encode, trace)
    for start in range(0, len(data), PIECE_BYTES):
        await listener.tell({"data": base64.b64encode(data[start : start + PIECE_BYTES]).decode()})
    return {"node": trace.header.node, "bytes": len(data)}
