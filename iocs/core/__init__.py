"""What every IOC stands on: the host, the Channel Access server, the command line."""
