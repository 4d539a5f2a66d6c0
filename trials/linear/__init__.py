"""Is there one order of all operations that explains every answer? A checker of linearizability, and its models.

history   what clients did and saw: each operation with the span of time in which it took effect, if it did
model     what a store answers when one operation comes after the other
checker   the search for such an order
"""
