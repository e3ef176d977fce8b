"""Drivers: bytes on the wire to typed values, with no knowledge of EPICS."""
