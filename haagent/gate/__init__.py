"""The gate: rules in the kernel that let traffic to a held address through only while its lease is fresh.

What is promised. Traffic to a held address, answers to ARP and neighbour discovery for it, and traffic from it stop
without anybody's help when the agent dies (the table with the key belongs to its netlink socket) and when it is frozen,
hangs or starves (each address in that table has a time-out, the rest of its lease). `ruleset` says what the kernel is
told, `gate` when and for how long.

The permanent table stays when the agent ends otherwise than in peace, so that an address it left behind is not served;
the next life takes it over in one transaction, and `haagent release` removes it with the addresses.
"""

from haagent.gate.channel import GateError
from haagent.gate.gate import Gate
from haagent.gate.off import NoGate
from haagent.gate.release import remove_tables
from haagent.gate.state import GateState, gate_warnings

__all__ = ["Gate", "GateError", "GateState", "NoGate", "gate_warnings", "remove_tables"]
