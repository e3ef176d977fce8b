"""What the tests say at the end of the run."""

SUMMARY: list[str] = []
