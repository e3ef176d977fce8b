"""IOCs to learn from, each run by `labioc run examples.NAME`."""
