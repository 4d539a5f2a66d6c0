"""The commands: name, where each is, what it does, in the order in which an operator meets them."""

from __future__ import annotations

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Set up": {
        "init": ("haagent.cli.config:init", "Write a commented configuration and a key."),
        "keygen": ("haagent.cli.config:keygen", "Make a cluster key."),
        "check-config": ("haagent.cli.config:check_config", "Check a configuration; list all its faults."),
        "doctor": ("haagent.cli.doctor:doctor", "Examine this host and the way to its peers."),
    },
    "Run": {
        "run": ("haagent.cli.run:run", "Run the agent in the foreground."),
        "reload": ("haagent.cli.operate:reload", "Apply the changed configuration file, or say why not."),
        "lb": ("haagent.cli.balancer:lb", "Print a load balancer's configuration for this cluster."),
        "release": ("haagent.cli.release:release", "Drop everything this host holds, without the agent."),
    },
    "Look": {
        "status": ("haagent.cli.status:status", "Show members, groups, holders, and why."),
        "events": ("haagent.cli.events:events", "Show what happened and why, from all nodes."),
        "trace": ("haagent.cli.trace:trace", "Save what this agent was told and decided lately."),
        "replay": ("haagent.cli.trace:replay", "Run the core over a saved trace; compare its decisions."),
    },
    "Operate": {
        "failover": ("haagent.cli.operate:failover", "Move a group to another node."),
        "standby": ("haagent.cli.operate:standby", "Keep a node from holding anything."),
        "unstandby": ("haagent.cli.operate:unstandby", "Let a node hold groups again."),
        "maintenance": ("haagent.cli.operate:maintenance", "Freeze everything, or end that."),
        "clear": ("haagent.cli.operate:clear", "Forget failures, so that a node is tried again."),
        "sessions": ("haagent.cli.sessions:sessions", "Look at, save and empty the session store."),
        "node": ("haagent.cli.node:node", "Add or remove a node, one at a time."),
        "fence": ("haagent.cli.fencing:fence", "Make sure that a node is down, by its fence."),
        "confirm-down": ("haagent.cli.fencing:confirm_down", "Say that a node is down for certain."),
    },
    "Try out": {
        "simulate": ("haagent.cli.simulate:simulate", "Play faults against a configuration, in virtual time."),
        "lab": ("haagent.cli.lab:lab", "A real cluster in network namespaces on this machine."),
    },
}
