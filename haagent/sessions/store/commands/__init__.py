"""The commands, by what they are about. Importing this fills the table."""

from haagent.sessions.store.commands import (  # noqa: F401
    connection,
    hashes,
    keys,
    pubsub,
    scripts,
    server,
    strings,
    transactions,
)
