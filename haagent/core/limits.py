"""Bounds on what a peer may make us store or wait for. Numbers, and why each is what it is."""

MAX_NAME = 64  # Linux host names are at most 64 characters
MAX_TEXT = 240  # one line of history or one reason: fits a terminal of 80 columns three times
MAX_NODES = 32  # every node hears every other: at 100 ms this is 10,000 datagrams a second in all
MAX_GROUPS = 128  # a view of 128 groups is about 12 KiB, nine datagrams
MAX_RECORDS = 1_000  # history kept of each node
RECORDS_PER_BEAT = 3  # history rides along in small portions, so that a heartbeat stays one datagram
