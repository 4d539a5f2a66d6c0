"""Hostile input for a real store: at its door, and at its link to the peers. Whatever comes, these hold:

its process lives, answers a PING of somebody else within a second, and its memory has an end. What it answers at the
door is RESP, to the last byte, and never an internal error. What an honest peer has stored stays, and it goes on
replicating.

Each input is made from the seed and its own number, and from nothing else, so one can be repeated without the others.

replies    what a door may answer, read strictly
requests   what a client may send, and what no client should
sayings    what a peer may say, and what no peer should
stage      a store and an honest peer of it, each in a process of its own
door       the inputs at the door
link       the inputs at the link between peers
"""
