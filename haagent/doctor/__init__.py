"""The doctor: is this host, and the way to its peers, fit for a cluster? Asked before the first start, and ever after.

A check (`Check`) is a small coroutine that looks at one thing and yields findings. It knows nothing of the others, has
a time limit of its own, and all of them run side by side, so the answer is there in less than three seconds. Each
finding says what is so, why that matters, and the command that mends it. An error is something with which the cluster
would not do what it promises; a warning may hurt one day; an info is good to know.

Nothing is changed on the host, and nothing is sent beyond the link: one question for each floating address (as a host
asks that is about to use it), and, when no agent runs here, one datagram from this host to itself.

The running agent knows most about the peers, and is asked. When none runs, the doctor listens to the heartbeats itself.
"""
