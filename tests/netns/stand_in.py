"""Takes the agent's place in tests of the lab itself: answers `status` on the control socket; A serves the address.

    python stand_in.py NODE RUN_DIR

It starts a child that does nothing, so that "every process of the agent" is more than one.
"""

import json
import os
import socket
import subprocess
import sys

node, run_dir = sys.argv[1:]
subprocess.Popen(["sleep", "1000"], start_new_session=True)  # leaves the process group, as a daemon's child may
if node == "A":
    for address in ("10.20.1.100/24", "fd00:20::100/64"):
        subprocess.run(["ip", "address", "replace", address, "dev", "eth0", "nodad"], check=True)
print(f"stand-in of {node} is ready", flush=True)
listener = socket.socket(socket.AF_UNIX)
path = os.path.join(run_dir, "haagent.sock")
if os.path.exists(path):
    os.unlink(path)
listener.bind(path)
listener.listen()
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as lines:
        for _ in lines:
            group = {"name": "web", "holder": "A", "state": "active" if node == "A" else "idle"}
            members = [{"name": name, "state": "online"} for name in ("A", "B")]
            result = {"node": node, "members": members, "groups": [group], "pids": {"agent": os.getpid()}}
            connection.sendall(json.dumps({"result": result}).encode() + b"\n")
