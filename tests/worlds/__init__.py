"""What to change in the simulated world of each instrument, and what its readbacks must show then."""
