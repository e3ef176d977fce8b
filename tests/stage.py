"""A linear stage: a move that takes time, a stop, a curve, a counter beyond 32 bits, a scanned reading."""

import enum

from labioc.devices.core import Device, Settled, pv
from labioc.drivers.core import (
    Array,
    Bool,
    Command,
    Driver,
    Enum,
    Float,
    Integer,
    Lines,
    Readback,
    Setpoint,
)
from labioc.iocs.core import Instrument
from labioc.sim.core import Command as SimCommand
from labioc.sim.core import LineSimulator, integer, real, string

COUNT = 2**40 + 1


class Mode(enum.Enum):
    """How it moves."""

    STEP = 0
    JOG = 1
    SCAN = 2


class Stage(Driver):
    """Linear stage."""

    protocol = Lines(eol="\n", timeout=0.5, identify=("*IDN?", "STAGE"))
    target = Setpoint(Float("mm", ".3f", limits=(0, 100)), ask="TGT?", tell="TGT {value}")
    moving = Readback(Bool(), ask="MOV?")
    stop = Command(tell="STOP")
    speed = Setpoint(Float("mm/s", ".2f", limits=(1, 10)), ask="SPD?", tell="SPD {value}")
    position = Readback(Float("mm"), ask="POS?")
    count = Readback(Integer(limits=(0, 2**48)), ask="CNT?")
    blind = Setpoint(Float("mm/s", ".2f", limits=(1, 10)), tell="BLIND {value}")
    preset = Setpoint(Integer(limits=(0, 2**60)), ask="PRE?", tell="PRE {value}")
    table = Setpoint(Array(Integer(), 4), ask="TAB?", tell="TAB {value}")
    mode = Setpoint(Enum(Mode), ask="MODE?", tell="MODE {value}")
    profile = Setpoint(Array(Float("mm", ".1f", limits=(0, 100)), 8), ask="PRF?", tell="PRF {value}")


class StageDevice(Device):
    """The PVs of the stage."""

    target = pv(Stage.target, name="TARGET", settled=Settled(Stage.moving == False, timeout=20))  # noqa: E712
    hasty = pv(Stage.target, name="HASTY", settled=Settled(Stage.moving == False, timeout=0.05))  # noqa: E712
    guarded = pv(
        Stage.target,
        name="GUARDED",
        settled=Settled(Stage.moving == False, timeout=20, every=0.01, fails=Stage.mode == Mode.SCAN),  # noqa: E712
    )
    moving = pv(Stage.moving, name="MOVING", scan=None)
    stop = pv(Stage.stop, name="STOP", stops=Stage.target)
    speed = pv(Stage.speed, name="SPEED", clamp=True)
    position = pv(Stage.position, name="POS", scan=3600, mdel=0.5, adel=2)
    count = pv(Stage.count, name="COUNT")
    target_inch = pv(Stage.target, name="TARGET_INCH", unit="inch")
    blind = pv(Stage.blind, name="BLIND", clamp=True)
    preset = pv(Stage.preset, name="PRESET")
    table = pv(Stage.table, name="TABLE")
    mode = pv(Stage.mode, name="MODE")
    profile = pv(Stage.profile, name="PROFILE")
    profile_um = pv(Stage.profile, name="PROFILE_UM", unit="um")


class StageSimulator(LineSimulator):
    """It moves until the test says that it has arrived."""

    terminators_in = b"\n"
    terminator_out = b"\n"

    def __init__(self) -> None:
        super().__init__()
        self.target = self.position = 10.0
        self.speed = 5.0
        self.moving = False
        self.profile = "1.0,2.0,3.5"
        self.points = "1,2"
        self.blind = 0.0
        self.preset = 0
        self.mode = 0
        self.lose_next = ""

    def handle(self, message: bytes) -> bytes | None:
        reply = super().handle(message)
        if self.lose_next and message.startswith(self.lose_next.encode()):
            self.lose_next = ""
            return None
        return reply

    @SimCommand("*IDN?")
    def _idn(self) -> str:
        return "STAGE,1"

    @SimCommand("TGT?")
    def _target(self) -> str:
        return f"{self.target:.3f}"

    @SimCommand("TGT", real(0, 100))
    def _set_target(self, value: float) -> None:
        self.target, self.moving = value, True

    @SimCommand("MOV?")
    def _moving(self) -> str:
        return str(int(self.moving))

    @SimCommand("STOP")
    def _stop(self) -> None:
        self.moving = False

    @SimCommand("SPD?")
    def _speed(self) -> str:
        return f"{self.speed:.2f}"

    @SimCommand("SPD", real(1, 10))
    def _set_speed(self, value: float) -> None:
        self.speed = value

    @SimCommand("POS?")
    def _position(self) -> str:
        return f"{self.position:.3f}"

    @SimCommand("BLIND", real(1, 10))
    def _set_blind(self, value: float) -> None:
        self.blind = value

    @SimCommand("PRE?")
    def _preset(self) -> str:
        return str(self.preset)

    @SimCommand("PRE", string(20))
    def _set_preset(self, digits: str) -> None:
        self.preset = int(digits)

    @SimCommand("TAB?")
    def _table(self) -> str:
        return self.points

    @SimCommand("TAB", *[integer(0, 99)] * 4, optional=3)
    def _set_table(self, *values: int | None) -> None:
        self.points = ",".join(str(value) for value in values if value is not None)

    @SimCommand("MODE?")
    def _mode(self) -> str:
        return str(self.mode)

    @SimCommand("MODE", integer(0, 2))
    def _set_mode(self, value: int) -> None:
        self.mode = value

    @SimCommand("CNT?")
    def _count(self) -> str:
        return str(COUNT)

    @SimCommand("PRF?")
    def _profile(self) -> str:
        return self.profile

    @SimCommand("PRF", *[real(0, 100)] * 8, optional=7)
    def _set_profile(self, *values: float | None) -> None:
        self.profile = ",".join(f"{value:.1f}" for value in values if value is not None)


INSTRUMENT = Instrument("stage", Stage, StageDevice, lambda variant: StageSimulator(), "tcp://127.0.0.1:7777")
