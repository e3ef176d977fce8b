"""IOCs: one launchable module per instrument, and the processes that serve them."""
