"""`consistency: strong`: one order of all operations, for whoever asks whichever node.

One node leads: it holds the lease of the group `store`, executes all commands, and ships what they have changed to
those that are in step with it. Four rules:

* What was changed is seen by nobody before it is safe: before all have it that may lead next. So a reply waits for what
  it tells of, not only for what it has changed itself.
* Who may lead next is in a record that a majority of the voters agrees to (record.py). Somebody is left out of it
  before the first answer for which nobody waited for him, and only who is in it may lead.
* A record names lives, not nodes. A store that has restarted has to join, also where its node still has the lease.
* Who cannot renew its lease answers nothing, nor does a store that has slept through its end.

record   the register of that record: in each agent, a witness's too, carried by heartbeats
log      what was changed, numbered, until all have it
beat     what a heartbeat says of the record, as it is sent and checked
leading  the leader's half of a store: who is in step, who joins, who waits for an answer
machine  a store: follows or leads
messages, events

The shell that this is for does not exist yet: heartbeats can carry the record (`wire.Opener`), and no agent makes such
ones. The rest is imported by tests alone (tests/sim/store/strong).
"""
