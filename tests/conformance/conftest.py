"""Tells at the end how many differences from the C IOC are declared, and how many comparisons were made."""

import pytest
from tests.conformance.summary import SUMMARY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in SUMMARY:
        terminalreporter.write_line(line)
