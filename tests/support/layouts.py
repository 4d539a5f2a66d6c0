"""What the agent is given by a process of its own at its start, composed in this one."""

from haagent.kernel import compose

LAYOUTS = compose.layouts()
