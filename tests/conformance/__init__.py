"""The same records in a C IOC and in labioc, asked for everything that Channel Access can ask, and compared."""
