"""A linear stage: a move that takes time, a stop, a curve, a counter beyond 32 bits, a scanned reading."""

from labioc.devices.core import Device, pv
from labioc.drivers.core import (
    Array,
    Bool,
    Command,
    Driver,
    Float,
    Integer,
    Lines,
    Readback,
    Setpoint,
)
from labioc.iocs.core import Instrument
from labioc.sim.core import Command as SimCommand
from labioc.sim.core import LineSimulator, real

COUNT = 2**40 + 1


class Stage(Driver):
    """Linear stage."""

    protocol = Lines(eol="\n", timeout=0.5, identify=("*IDN?", "STAGE"))
    target = Setpoint(Float("mm", ".3f", limits=(0, 100)), ask="TGT?", tell="TGT {value}")
    moving = Readback(Bool(), ask="MOV?")
    stop = Command(tell="STOP")
    speed = Setpoint(Float("mm/s", ".2f", limits=(1, 10)), ask="SPD?", tell="SPD {value}")
    position = Readback(Float("mm"), ask="POS?")
    count = Readback(Integer(limits=(0, 2**48)), ask="CNT?")
    profile = Setpoint(Array(Float("mm", ".1f", limits=(0, 100)), 8), ask="PRF?", tell="PRF {value}")


class StageDevice(Device):
    """The PVs of the stage."""

    target = pv(Stage.target, name="TARGET", settled=Stage.moving == False, settle_timeout=20)  # noqa: E712
    hasty = pv(Stage.target, name="HASTY", settled=Stage.moving == False, settle_timeout=0.05)  # noqa: E712
    moving = pv(Stage.moving, name="MOVING", scan=None)
    stop = pv(Stage.stop, name="STOP", stops=Stage.target)
    speed = pv(Stage.speed, name="SPEED", clamp=True)
    position = pv(Stage.position, name="POS", scan=3600, mdel=0.5, adel=2)
    count = pv(Stage.count, name="COUNT")
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
