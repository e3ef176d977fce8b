"""What every simulator stands on: the command table, clock, servers and faults."""
