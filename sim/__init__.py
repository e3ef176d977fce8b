"""Simulators: instruments that are not there, speaking the wire protocol of the manual."""
