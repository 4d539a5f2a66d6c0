"""The control socket: how a command on this host speaks with the agent on this host.

`RUN_DIR/haagent.sock`, a stream of JSON lines. The client sends one request a line and may send the next when the
answer is complete:

    {"command": "failover", "group": "web", "to": "B"}
    {"progress": "web: A holds it, moving to B"}            any number of these
    {"event": {...}}                                        of `events`, any number
    {"result": {...}}                                       or
    {"error": {"status": 4, "message": "...", ...}}         `status` is the exit status of the command

Who may: root, the agent's own user, members of the group `haagent`. The file's mode says so first, the kernel's word
on the peer (SO_PEERCRED, SO_PEERGROUPS) again. Nothing a client sends, or fails to read, may disturb the agent: a
request is a short line of a known shape, every wait for a client has an end, and the number of clients is bounded.

This file and `client` and `place` stay free of heavy imports: `haagent status` is meant to answer at once.
"""
