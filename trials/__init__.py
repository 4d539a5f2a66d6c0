"""What is measured and tried for long, on real agents: `bench` beside keepalived, `chaos` with random faults."""
