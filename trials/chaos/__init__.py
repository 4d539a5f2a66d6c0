"""The chaos campaign: real agents, random faults, a client that asks every millisecond, a checker of what it saw."""
