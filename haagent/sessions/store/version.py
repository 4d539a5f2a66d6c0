"""What we say we are: clients look for features by this number."""

REDIS_VERSION = b"7.0.15"
