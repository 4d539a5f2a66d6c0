"""What an agent has decided lately can be decided again, anywhere, by the same code.

The core is a pure function of what it was told and when. So an agent keeps what it was told (`ring`), with the state
that it had before (`snapshot`); `haagent trace save` writes that to a `file`, and `haagent replay` runs the core over
it and compares its decisions with those that were made.
"""

from haagent.trace.errors import TraceError
from haagent.trace.file import Trace, encode, read, take
from haagent.trace.origin import core_digest
from haagent.trace.replay import Replay, replay
from haagent.trace.ring import Ring

__all__ = ["Replay", "Ring", "Trace", "TraceError", "core_digest", "encode", "read", "replay", "take"]
