"""Bounds on what a peer may make us store or wait for. Numbers, and why each is what it is."""

MAX_NAME = 64  # Linux host names are at most 64 characters
MAX_TEXT = 240  # one line of history or one reason: fits a terminal of 80 columns three times
MAX_NODES = 32  # every node hears every other: at 100 ms this is 10,000 datagrams a second in all
MAX_TWINS = 8  # lives of one name at the same time that are told apart
MAX_GROUPS = 128  # a view of 128 groups is about 12 KiB, a dozen datagrams
MAX_ADDRESSES = 1024  # of all groups together: each is 5 bytes of every heartbeat, or 9 (IPv6)
MAX_PARTS = 512  # slices of one heartbeat: the largest view that is allowed here, with all at full length, needs fewer
MAX_RECORDS = 1_000  # history kept of each node
RECORDS_PER_BEAT = 3  # history rides along in small portions, so that a heartbeat stays one datagram
MAX_OUTLINE = 64  # keys that a heartbeat names while files differ: more than fit what is said (`outline`)
MAX_OUTLINE_DEPTH = 5  # `groups.web.checks.app.interval`
MAX_ORDERS = 2 * MAX_NODES + 1 + 2 * (MAX_GROUPS + 1)  # one for each thing that can be ordered
MAX_ROUND = 2**53  # ballots and versions: a million a second for 285 years, and still exact in JSON
MAX_BELIEVED = 2**52  # what is heard brings our own no higher: there is as much room left for what we add to it
LEAP = 2**16  # by so much one heartbeat moves our own round, or version: more than all the elections of a long life
STEP = 2**12  # and by so much what a witness has promised: others follow, also if they have missed some heartbeats
MAX_WALL = 253_402_300_799  # seconds of the epoch: the year 9999, with which dates end
MAX_LEASE_MS = 3_600_000  # an hour
MAX_WAIT_MS = 86_400_000  # a day: nobody waits longer for a move
