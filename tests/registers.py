"""An instrument of registers: numbers of all kinds, holes between them, and a line with several such instruments.

A reading is ``unit * 1000 + number``, and a rising count behind it: a client that sees another register or unit there,
or an old count after a new one, has seen a wrong value.
"""

import itertools
import struct
from collections.abc import Iterator
from enum import IntFlag

from labioc.devices.core import Device, DeviceGroup, SubGroups, pv
from labioc.drivers.core import (
    Bool,
    Channel,
    Channels,
    Command,
    Driver,
    Flags,
    Float,
    Integer,
    Readback,
    Setpoint,
)
from labioc.drivers.core.decimals import Decimal, DecimalSetpoint
from labioc.drivers.modbus import (
    INT16,
    INT32,
    SINGLE,
    UINT16,
    UINT32,
    Bit,
    Characters,
    Modbus,
    Swapped,
    holding,
    preset,
)
from labioc.iocs.core import Instrument
from labioc.sim.core import Simulator
from labioc.sim.modbus import ILLEGAL_ADDRESS, ModbusError, ModbusSimulator, framed

TIMEOUT = 0.25


class State(IntFlag):
    ON = 1
    HOT = 1 << 15


class Number(Channel):
    """Two registers: which it is, and a count."""

    value = Readback(Integer(spec=UINT32), ask="{addr} holding {ch} 2")


class Registers(Driver):
    """Instrument of registers."""

    protocol = Modbus(identify=("{addr} holding 300", "002A"), timeout=TIMEOUT, skip=8)
    decimals = Readback(Integer(spec=UINT16), ask=holding(200))
    scaled = Decimal(Float("degC", INT16), decimals, ask=holding(201))
    setpoint = DecimalSetpoint(
        Float("degC", INT16, limits=(-500, 5000)), decimals, ask=holding(202), tell=preset(202)
    )
    tenths = Setpoint(Float("%", INT16, counts=10), ask=holding(203), tell=preset(203))
    single = Setpoint(Float("V", SINGLE), ask=holding(210, 2), tell=preset(210))
    swapped = Setpoint(Swapped(Float("V", SINGLE)), ask=holding(212, 2), tell=preset(212))
    long = Setpoint(Integer(spec=INT32), ask=holding(214, 2), tell=preset(214))
    state = Readback(Flags(State, UINT16), ask=holding(216))
    hot = Readback(Bit(15), ask=holding(216))
    label = Setpoint(Characters(4), ask=holding(220, 4), tell=preset(220))
    input = Readback(Integer(spec=UINT16), ask="{addr} input 7")
    coil = Setpoint(Bool(), ask="{addr} coil 3", tell="{addr} coil 3 = {value}")
    coils = Setpoint(Integer(spec="04b"), ask="{addr} coil 4 4", tell="{addr} coil 4 = {value}")
    switch = Readback(Bool(), ask="{addr} discrete 9")
    missing = Readback(Integer(spec=UINT16), ask=holding(250))
    reset = Command(tell="{addr} holding 299 = 0001")


class Numbered(Driver):
    """The registers with numbers."""

    protocol = Registers.protocol
    numbers = Channels(Number, [str(10 * 100 + 2 * n) for n in range(12)])


class NumberPVs(DeviceGroup):
    value = pv(Number.value, name="V", scan=0.05)


class NumberedDevice(Device):
    """Numbers."""

    numbers = SubGroups(NumberPVs, of=Numbered.numbers, prefix="{ch}:")


class RegistersSimulator(ModbusSimulator):
    """One instrument."""

    functions = frozenset((1, 2, 3, 4, 5, 6, 8, 15, 16))

    def __init__(self, *, unit: int = 1, holes: tuple[int, ...] = ()) -> None:
        super().__init__(unit=unit)
        self.holes = {250, *holes}
        self.words = dict.fromkeys(range(200, 300), 0) | {300: 42}
        self.words[200] = 1
        self.bits = dict.fromkeys(range(16), False)
        self._count = itertools.count(1)
        self.refuses = 0
        self.most = 125
        self.too_many = "exception"

    def _read(self, number: int) -> int:
        if number in self.holes:
            raise ModbusError(ILLEGAL_ADDRESS)
        if 1000 <= number < 1100:
            return self.unit * 1000 + number - 1000 if number % 2 == 0 else next(self._count) & 0xFFFF
        if number not in self.words:
            raise ModbusError(ILLEGAL_ADDRESS)
        return self.words[number]

    def _write(self, start: int, words: list[int], *, alone: bool) -> None:
        if start + len(words) > 300 or start in self.holes:
            raise ModbusError(ILLEGAL_ADDRESS)
        self.words |= dict(enumerate(words, start))

    def answer(self, pdu: bytes) -> bytes | None:
        if self.refuses and pdu[0] != 8:
            return bytes([pdu[0] | 0x80, self.refuses])
        if pdu[0] == 4:
            return struct.pack(">BBH", 4, 2, 777)
        if pdu[0] == 15:
            start, count, _ = struct.unpack(">HHB", pdu[1:6])
            self.bits |= {start + n: bool(pdu[6 + n // 8] >> n % 8 & 1) for n in range(count)}
            return pdu[:5]
        if pdu[0] == 3 and int.from_bytes(pdu[3:5], "big") > self.most:
            if self.too_many == "the first one":
                return super().answer(pdu[:3] + bytes([0, 1]))
            return bytes([0x83, 3]) if self.too_many == "exception" else None
        return super().answer(pdu)

    def read_bit(self, number: int) -> bool:
        return self.bits.get(number, False)

    def write_bit(self, number: int, state: bool) -> None:
        self.bits[number] = state


class ModbusLine(Simulator):
    """Instruments on one line, or behind a gateway, which says over TCP who does not answer."""

    def __init__(self, *instruments: ModbusSimulator) -> None:
        super().__init__()
        self.instruments = {instrument.unit: instrument for instrument in instruments}
        self.off: set[int] = set()

    def split(self, buffer: bytearray) -> Iterator[bytes]:
        return next(iter(self.instruments.values())).split(buffer)

    def handle(self, message: bytes) -> bytes | None:
        is_tcp = message[2:4] == b"\0\0" and len(message) == int.from_bytes(message[4:6], "big") + 6
        unit = message[6] if is_tcp else message[0]
        if unit in self.instruments and unit not in self.off:
            return self.instruments[unit].receive(message)
        return framed(message, bytes([message[7] | 0x80, 11])) if is_tcp else None


NUMBERED = Instrument(
    "numbered", Numbered, NumberedDevice, lambda variant: RegistersSimulator(), "tcp://h:1", "1"
)
