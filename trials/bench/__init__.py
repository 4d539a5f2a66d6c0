"""haagent beside keepalived: the same hosts, the same prober, the same faults, in turns, in one table."""
