"""Gauges on an RS-485 bus: several addresses on one line, and a checksum in both directions.

A message is an address of three digits, a mark, a command of three letters, data, a checksum of three digits and CR.
The marks: ``?`` asks and ``!`` sets; ``=`` answers, and ``#`` refuses with a reason. A reading is
``address * 1_000_000 + number``: a client that sees another address there, or an old number after a new one, has seen
a wrong value.
"""

import itertools
from dataclasses import dataclass, field, replace

from labioc.devices.core import Device, pv
from labioc.drivers.core import Driver, Float, Integer, Lines, Readback, Setpoint
from labioc.drivers.core.checksums import SUM8
from labioc.drivers.core.errors import RefusedError
from labioc.iocs.core import Instrument
from labioc.sim.core import LineSimulator

MILLION = 1_000_000
TIMEOUT = 0.25
HIGHEST = 500.0


def match(question: str, reply: str) -> str | None:
    """Take what this address answers to this command."""
    if reply[:3] != question[:3] or reply[4:7] != question[4:7] or reply[3] not in "=#":
        return None
    if reply[3] == "#":
        raise RefusedError(f"the gauge says {reply[7:]}")
    return reply[7:]


class Gauge(Driver):
    """Gauge on a bus."""

    protocol = Lines(
        eol="\r",
        timeout=TIMEOUT,
        checksum=replace(SUM8, form="decimal"),
        identify=("{addr}?IDN", "GAUGE"),
        match=match,
        accepted=lambda answer: True,
        serial={"baudrate": 19200},
    )
    pressure = Readback(Integer(), ask="{addr}?PRS")
    setpoint = Setpoint(Float("mbar", ".1f"), ask="{addr}?SPT", tell="{addr}!SPT{value}", idempotent=True)
    steps = Setpoint(Integer(), ask="{addr}?STP", tell="{addr}!STP{value}")


class GaugeDevice(Device):
    """The PVs of a gauge."""

    pressure = pv(Gauge.pressure, name="P", scan=0.05)
    setpoint = pv(Gauge.setpoint, name="SP", scan=0.2)
    steps = pv(Gauge.steps, name="STEPS", scan=None)


@dataclass
class Node:
    """What one gauge holds.

    Attributes:
        is_on: whether it answers.
        asked: what it has executed, oldest first.
        writes: what it was set to.
    """

    is_on: bool = True
    setpoint: str = "20.0"
    steps: str = "0"
    asked: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)


class BusSimulator(LineSimulator):
    """Gauges at several addresses behind one port."""

    terminators_in = b"\r"
    terminator_out = b"\r"
    serial_line = {"baudrate": 19200}

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self.nodes = {address: Node() for address in addresses or ("001",)}
        self._numbers = itertools.count(1)

    def handle(self, message: bytes) -> bytes | None:
        body, checksum = message[:-3], message[-3:]
        if not checksum.isdigit() or int(checksum) != sum(body) % 256:
            return None  # nobody feels addressed
        text = body.decode()
        self.log.append(text)
        node = self.nodes.get(text[:3])
        if node is None or not node.is_on:
            return None
        node.asked.append(text[3:])
        return packed(text[:3] + self._answer(int(text[:3]), node, text[3], text[4:7], text[7:]))

    def _answer(self, address: int, node: Node, mark: str, command: str, data: str) -> str:
        names = {"SPT": "setpoint", "STP": "steps"}
        if mark == "!" and command in names:
            if float(data) > HIGHEST:
                return f"#{command}RANGE"
            node.writes.append(command + data)
            setattr(node, names[command], data)
            return f"={command}{data}"
        if mark == "?" and command in names:
            return f"={command}{getattr(node, names[command])}"
        if mark == "?" and command == "IDN":
            return "=IDNGAUGE"
        if mark == "?" and command == "PRS":
            return f"=PRS{address * MILLION + next(self._numbers)}"
        return f"#{command}UNKNOWN"

    def refusal(self, message: bytes) -> bytes | None:
        return packed(f"{message[:3].decode()}#{message[4:7].decode()}BUSY")

    def wrong_address(self, reply: bytes) -> bytes:
        return packed(f"{(int(reply[:3]) + 1) % 1000:03d}{reply[3:-4].decode()}")

    def wrong_checksum(self, reply: bytes) -> bytes:
        return reply[:-4] + b"%03d\r" % ((int(reply[-4:-1]) + 1) % 256)


def packed(text: str) -> bytes:
    body = text.encode()
    return body + b"%03d\r" % (sum(body) % 256)


GAUGE = Instrument("gauge", Gauge, GaugeDevice, lambda variant: BusSimulator(), "tcp://127.0.0.1:7777")
