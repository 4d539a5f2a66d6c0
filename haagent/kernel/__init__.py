"""This host's kernel: its addresses, its links, and what it says of them to the neighbours.

The part that needs privileges. Nothing here decides anything: `haagent.activation` says what is wanted.
"""
