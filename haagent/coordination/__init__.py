"""The leases from an etcd that the cluster runs already, instead of from the nodes' own votes.

One key for each group, `PREFIX/CLUSTER/GROUP`, holds who is bound and with which ballot (`register`). What makes it
safe does not lean on etcd's clock or on etcd's leases, which cannot be shorter than two seconds:

* A claim, a renewal and a release are one transaction each: the key must still be at the revision that the writer has
  seen. So of two that try, one succeeds.
* The holder counts its lease from when it *sent* the request. Anybody else may replace its value only after having seen
  it unchanged for that lease, counted from when the value *arrived* here, which was later; or at once when it says
  `released`, or when its holder has said so in a heartbeat. The transaction proves that it was unchanged to the end.
* So etcd may be slow, answer twice, or answer late, and a node may be cut off from it or frozen at any point: that
  costs time and nothing else. The one thing that etcd must not do is forget. If its revision or what stands under a
  key goes back, as when it was restored from a backup, nothing is free for one lease but what is held here already.

`register` decides, for one group, and touches nothing; `gateway` speaks etcd's HTTP/JSON and tries all endpoints;
`arbiter` is the actor between the two and the core. Nothing is imported here: only the gateway needs aiohttp, and only
an agent with `coordination` in its configuration needs the gateway.
"""
