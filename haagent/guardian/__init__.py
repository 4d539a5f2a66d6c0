"""The guardian: a small process above the agent that lets go for it when it dies.

`haagent run` becomes two processes before anything heavy is imported. The parent, the guardian, is the one that systemd
knows. It reads no configuration, no network and no key. The child, the agent, leaves with it what must be done for it
(`channel`): the addresses that it may have, its open heartbeat sockets, and its last words, sealed and ready to send.
When the agent dies, however it dies, the guardian

1. removes the addresses, and has the kernel's word for each (`kernel`);
2. only then sends the last words over every link: to the peers, an ordinary heartbeat that releases everything;
3. ends with a status that makes systemd start both anew.

Peers so take over in milliseconds instead of after the lease. If the kernel refuses 1, 2 is not said: the peers wait
for the lease's end, as if there were no guardian. If the guardian itself dies, the agent sees it, hands over as at a
stop and ends. If both die at once there is the gate, and then the lease.

How the death is noticed. The channel between the two is the first thing that the kernel closes of a dead agent, because
it has the highest descriptor: the guardian is awake before the gate's socket is closed, and long before the process
can be waited for (closing that socket takes the kernel some milliseconds). All threads of the agent have ended by
then, so nothing of it can add an address any more. A pidfd stands beside it for what a channel cannot tell.

The guardian's side (`messages`, `cleanup`, `kernel`, `process`, `watch`) imports little of the standard library and of
the package `netlink` alone: it has to be small, and it has to work when little else does. The agent's is `channel`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from socket import AF_UNIX, SOCK_SEQPACKET, socket, socketpair

from haagent.guardian import process


def guarded(agent: Callable[[socket], int]) -> int:
    """Run `agent`, with its end of the channel, in a child under a guardian. Both return here, with an exit status."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    guardian = os.getpid()
    # Held back until the guardian can pass them on: it must not be ended by one that is meant for both.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, process.PASSED_ON)
    child = os.fork()
    if not child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ours.close()
        process.become_agent(guardian)
        return agent(process.last_closed_first(theirs))
    theirs.close()
    from haagent.guardian.watch import Guardian

    process.become_guardian()
    watching = Guardian(child, ours)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return watching.watch()
