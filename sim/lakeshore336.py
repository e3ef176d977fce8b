"""Lake Shore Model 336 cryogenic temperature controller on a two-stage cryostat.

Source: Model 336 User's Manual, chapter 6; docs/instruments/lakeshore336.md gives the facts
and says which of them are not confirmed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .core import Clock, Command, Faults, OutOfRangeError, Setting, integer, real, significant, string, word
from .core.cryostat import Cryostat
from .core.curves import CurveMemory
from .core.ieee488 import POWER_ON, Ieee488Simulator
from .core.thermal import CX_1050, DT_670, PT_100, Pid, Sensor
from .core.thermometry import CELSIUS, HIGHEST_RANGE, INVALID, KELVIN, SENSOR, UNITS_OVERRANGE, SensorInput

MODE_OFF, CLOSED_LOOP, ZONE, OPEN_LOOP, MONITOR_OUT, WARMUP = 0, 1, 2, 3, 4, 5

ALARM, OVERLOAD, RAMP_DONE_2, RAMP_DONE_1, NEW_READING, AUTOTUNE_DONE = 1, 2, 4, 8, 16, 32
"""The bits of OPST? and OPSTR?."""

MAX_CURRENT = (0.0, 0.707, 1.0, 1.414, 2.0)
"""A, by the max current of HTRSET; the first stands for the user's own."""
MAX_POWER = {1: 100.0, 2: 50.0}
"""W, by output."""
COMPLIANCE = 50.0
"""V, of both heater outputs."""
RANGE_FACTOR = (0.0, 0.01, 0.1, 1.0)
"""Part of the full power, by heater range."""
TUNE_STAGES, TUNE_STAGE_TIME = 6, 5.0
"""Autotune goes through so many stages of so many seconds."""

five, six = significant(5), significant(6)
INPUT = word()
NUMBERED = integer(0, 8)  # an input by number: 0 none, 1 A ... 4 D, 5 D2 ... 8 D5
OUTPUT, HEATER, VOLTAGE = integer(1, 4), integer(1, 2), integer(3, 4)
ON_OFF = integer(0, 1)
UNITS = integer(1, 3)
GAIN = real(0.1, 1000, "+07.1f")
RATE_GAIN = real(0, 200, "+06.1f")
PERCENT = real(0, 100, "+07.2f")
RAMP_RATE = real(0, 100, "+06.1f")


@dataclass
class Zone:
    """One row of an output's zone table."""

    upper: float = 0.0
    p: float = 50.0
    i: float = 20.0
    d: float = 0.0
    mout: float = 0.0
    range: int = 0
    input: int = 0
    rate: float = 0.0


@dataclass
class Output:
    """What is set for one output, and the state of its control loop."""

    number: int
    mode: int = MODE_OFF
    input: int = 0
    powerup: int = 0
    p: float = 50.0
    i: float = 20.0
    d: float = 0.0
    mout: float = 0.0
    range: int = 0
    ramp: int = 0
    rate: float = 0.0
    setpoint: float = 0.0
    target: float = 0.0
    resistance: int = 1
    max_current: int = 2
    user_current: float = 0.0
    display: int = 2
    units: int = KELVIN
    high: float = 1000.0
    low: float = 0.0
    polarity: int = 0
    control: int = 0
    percentage: float = 100.0
    zone: Zone | None = None
    percent: float = 0.0
    error: int = 0
    pid: Pid = field(default_factory=Pid)

    @property
    def ramping(self) -> bool:
        """Whether the setpoint is on its way."""
        return self.setpoint != self.target


@dataclass
class Relay:
    """What is set for one relay."""

    mode: int = 0
    input: str = "A"
    alarm_type: int = 2


@dataclass
class DisplayField:
    """One field of the custom display."""

    input: int = 1
    units: int = KELVIN


@dataclass
class Panel:
    """Settings that change nothing in the simulated world."""

    contrast: int = 28
    display: int = 4
    fields: int = 0
    displayed_output: int = 1
    leds: int = 1
    lock: int = 0
    lock_code: int = 123
    mode: int = 0
    interface: int = 1
    address: int = 12
    dhcp: int = 0
    auto_ip: int = 0
    ip: str = "192.168.0.12"
    mask: str = "255.255.255.0"
    gateway: str = "0.0.0.0"
    dns1: str = "0.0.0.0"
    dns2: str = "0.0.0.0"
    host: str = "LSCI-336"
    domain: str = ""
    description: str = "Model 336"
    user: str = "user"
    password: str = "user"


class LakeShore336(CurveMemory, Ieee488Simulator):
    """The controller, wired to a cryostat with a sample stage, a shield stage and a room."""

    terminator_out = b"\r\n"
    chain = ";"
    max_line = 253  # 255 with the terminator
    max_clients = 2
    serial_line = {"baudrate": 57600, "bytesize": 7, "parity": "O"}

    def __init__(
        self, *, option: str | None = None, clock: Clock | None = None, faults: Faults | None = None
    ) -> None:
        """Switch the instrument on, cold, with its outputs off.

        `option` is "3062" for the scanner card with inputs D1 to D5, None for no card.
        Raises ValueError for another card.
        """
        if option not in (None, "3062"):
            raise ValueError(f"option card {option!r} is not simulated: there is '3062', or None for no card")
        super().__init__(clock=clock, faults=faults)
        self.option = option
        self.cryostat = Cryostat()
        self.sample, self.shield, self.room = self.cryostat.sample, self.cryostat.shield, self.cryostat.room
        self.loads = {1: 25.0, 2: 25.0}
        """What is wired to the heater outputs, in ohm; infinite: open, 0: shorted."""
        self.sensors = {
            "A": Sensor(self.sample, DT_670),
            "B": Sensor(self.shield, PT_100),
            "C": Sensor(self.sample, CX_1050),
            "D1" if option else "D": Sensor(self.room, PT_100),
        }
        if option:
            self.sensors |= {name: Sensor(self.sample, DT_670) for name in ("D2", "D3")}
            self.sensors |= {name: Sensor(self.shield, PT_100) for name in ("D4", "D5")}
        self.restore_defaults()
        self.power_cycle()

    def restore_defaults(self) -> None:
        """Set everything as the factory did, and for the sensors that are wired (DFLT)."""
        self.restore_curves()
        self.inputs = {
            name: SensorInput.set_up(self.curves, sensor, f"Input {name}")
            for name, sensor in self.sensors.items()
        }
        self.by_name = self.inputs | ({"D": self.inputs["D1"]} if self.option else {})
        self.outputs = {number: Output(number) for number in range(1, 5)}
        for number in (1, 2):
            self.outputs[number].mode = CLOSED_LOOP
            self.outputs[number].input = number
        self.relays = {1: Relay(), 2: Relay()}
        self.panel = Panel()
        self.displayed = {number: DisplayField() for number in range(1, 9)}
        self.zones = {(output, zone): Zone() for output in self.outputs for zone in range(1, 11)}

    def power_cycle(self) -> None:
        """Switch off and on: outputs go off unless they are set to stay, registers start afresh."""
        self.events = POWER_ON
        self.operation_events = self.operation_enable = 0
        self._ramps_done = 0
        self._tune: tuple[int, float] | None = None
        self._tune_failed = 0
        self.reset()

    def reset(self) -> None:
        """Return to the power-up settings: local mode, outputs off unless they are set to stay (*RST)."""
        self.panel.mode = 0
        for output in self.outputs.values():
            output.range = output.range if output.powerup else 0

    # the world

    def advance(self, dt: float) -> None:
        """Let `dt` seconds pass: setpoints ramp, loops control, stages warm and cool."""
        self.operation_events |= NEW_READING
        for output in self.outputs.values():
            self._ramp(output, dt)
            output.percent = self._drive(output, dt)
        self.cryostat.advance(dt, self._power(1), self._power(2))
        for source in self.inputs.values():
            kelvin, status = source.watch()
            if 0 < source.limit < kelvin:
                for output in self.outputs.values():
                    output.range = 0
            if source.high_state or source.low_state:
                self.operation_events |= ALARM
            if status == UNITS_OVERRANGE:
                self.operation_events |= OVERLOAD
        if self._tune is not None and self._tune_stage() > TUNE_STAGES:
            self._tune = None
            self.operation_events |= AUTOTUNE_DONE

    def _ramp(self, output: Output, dt: float) -> None:
        if not output.ramping:
            return
        most = output.rate / 60.0 * dt
        left = output.target - output.setpoint
        # the tolerance keeps rounding from adding a step
        if abs(left) > most * (1 + 1e-9):
            output.setpoint += math.copysign(most, left)
            return
        output.setpoint = output.target
        done = {1: RAMP_DONE_1, 2: RAMP_DONE_2}.get(output.number, 0)
        self._ramps_done |= done
        self.operation_events |= done

    def _drive(self, output: Output, dt: float) -> float:
        """Return what an output gives, in percent."""
        source = self._numbered(output.input)
        if output.mode == MONITOR_OUT:
            return self._monitor(output, source)
        if output.mode == OPEN_LOOP and output.range:
            return output.mout
        kelvin, status = source.reading() if source else (0.0, INVALID)
        if output.mode == MODE_OFF or not output.range or source is None or status:
            output.pid.reset()
            return 0.0
        setpoint = source.in_kelvin(output.setpoint)
        if output.mode == WARMUP:
            if kelvin < setpoint:
                return output.percentage
            output.range = output.range if output.control else 0
            return 0.0
        if output.mode == ZONE:
            self._enter_zone(output, setpoint)
        reset_time = 1000.0 / output.i
        return output.pid.output(
            setpoint,
            kelvin,
            dt,
            kp=output.p,
            ki=1.0 / reset_time,
            kd=output.d / 100.0 * reset_time / 4.0,
            low=-100.0 if output.number > 2 and output.polarity else 0.0,
            high=100.0,
            offset=output.mout,
        )

    def _monitor(self, output: Output, source: SensorInput | None) -> float:
        if source is None or output.high == output.low:
            return 0.0
        part = (source.value(output.units) - output.low) / (output.high - output.low)
        percent = 200.0 * part - 100.0 if output.polarity else 100.0 * part
        return min(max(percent, -100.0 if output.polarity else 0.0), 100.0)

    def _enter_zone(self, output: Output, setpoint: float) -> None:
        table = (self.zones[output.number, number] for number in range(1, 11))
        zone = next((zone for zone in table if setpoint <= zone.upper), None)
        if zone is None or zone is output.zone:
            return
        output.zone = zone
        output.p, output.i, output.d, output.mout = zone.p, zone.i, zone.d, zone.mout
        output.range = zone.range
        output.input = zone.input or output.input
        output.rate = zone.rate or output.rate

    def _power(self, number: int) -> float:
        """Return the watts that a heater gives."""
        output, load = self.outputs[number], self.loads[number]
        if output.percent <= 0.0:
            return 0.0
        if math.isinf(load) or load == 0.0:
            output.error = 1 if load else 2
            output.range = 0
            return 0.0
        current = MAX_CURRENT[output.max_current] if output.max_current else output.user_current
        full = min(min(current, COMPLIANCE / load) ** 2 * load, MAX_POWER[number])
        part = output.percent / 100.0
        return full * RANGE_FACTOR[output.range] * (part if output.display == 2 else part**2)

    def input(self, name: str) -> SensorInput:
        """Return the input of that name; raises OutOfRangeError if the instrument has none."""
        if name not in self.by_name:
            raise OutOfRangeError(f"there is no input {name}")
        return self.by_name[name]

    def _numbered(self, number: int) -> SensorInput | None:
        return list(self.inputs.values())[number - 1] if 0 < number <= len(self.inputs) else None

    # the checks and consequences of settings

    def _check_numbered(self, _: object, new: Mapping[str, Any]) -> None:
        if new.get("input", 0) > len(self.inputs):
            raise OutOfRangeError("there is no such input")

    def _check_mode(self, output: Output, new: Mapping[str, Any]) -> None:
        if new.get("mode", 0) in (MONITOR_OUT, WARMUP) and output.number < 3:
            raise OutOfRangeError("a heater output can't monitor or warm up")
        self._check_numbered(output, new)

    def _check_relay(self, _: object, new: Mapping[str, Any]) -> None:
        self.input(new.get("input", "A"))

    def _check_range(self, output: Output, new: Mapping[str, Any]) -> None:
        if output.number > 2 and new["range"] > 1:
            raise OutOfRangeError("outputs 3 and 4 are off or on")

    def _check_rate(self, _: object, new: Mapping[str, Any]) -> None:
        if 0 < new.get("rate", 0) < 0.1:
            raise OutOfRangeError("a ramp rate is 0 or at least 0.1")

    def _check_heater(self, output: Output, new: Mapping[str, Any]) -> None:
        resistance = new.get("resistance", output.resistance)
        if new.get("max_current", output.max_current) == 4 and (output.number == 2 or resistance == 2):
            raise OutOfRangeError("2 A need output 1 and 25 ohm")

    def _check_type(self, source: SensorInput, new: Mapping[str, Any]) -> None:
        type_ = new.get("type", source.type)
        if new.get("range", 0 if "type" in new else source.range) > HIGHEST_RANGE[type_]:
            raise OutOfRangeError("the sensor type has no such range")
        if "units" in new:
            kelvin = [
                (o, source.in_kelvin(o.setpoint), source.in_kelvin(o.target)) for o in self._loops(source)
            ]
            source.units = new["units"]
            for output, setpoint, target in kelvin:
                output.setpoint, output.target = source.from_kelvin(setpoint), source.from_kelvin(target)

    def _after_type(self, source: SensorInput) -> None:
        self._after_curve(source)
        source.fit_type()

    def _after_curve(self, source: SensorInput) -> None:
        for output in self._loops(source):
            if output.ramping:
                output.target, output.range = output.setpoint, 0
        source.fit_curve()

    def _loops(self, source: SensorInput) -> list[Output]:
        return [output for output in self.outputs.values() if self._numbered(output.input) is source]

    def curve_changed(self) -> None:
        """Take a curve from the inputs that it no longer fits."""
        for source in self.inputs.values():
            source.fit_curve()

    def _after_ramp(self, output: Output) -> None:
        if not output.ramp or not output.rate:
            output.target = output.setpoint

    def _after_mode(self, output: Output) -> None:
        output.pid.reset()
        output.zone = None

    # the command table (6.6.1)

    # fmt: off
    settings = (
        Setting("ALARM", INPUT, of="by_name", alarm=ON_OFF, high=real(show=six), low=real(show=six),
                deadband=real(0, show=six), latch=ON_OFF, audible=ON_OFF, visible=ON_OFF),
        Setting("ANALOG", VOLTAGE, of="outputs", check=_check_numbered, input=NUMBERED, units=UNITS,
                high=real(show=five), low=real(show=five), polarity=ON_OFF),
        Setting("BRIGT", of="panel", contrast=integer(1, 32, width=2)),
        Setting("DIOCUR", INPUT, of="by_name", excitation=ON_OFF),
        Setting("DISPFLD", integer(1, 8), of="displayed", check=_check_numbered,
                input=NUMBERED, units=integer(1, 6)),
        Setting("DISPLAY", of="panel", display=integer(0, 10), fields=integer(0, 2), displayed_output=OUTPUT),
        Setting("FILTER", INPUT, of="by_name", filter=ON_OFF, points=integer(2, 64, width=2),
                window=integer(1, 10, width=2)),
        Setting("HTRSET", HEATER, of="outputs", check=_check_heater, resistance=integer(1, 2),
                max_current=integer(0, 4), user_current=real(0, 2, "+.3f"), display=integer(1, 2)),
        Setting("IEEE", of="panel", address=integer(1, 30, width=2)),
        Setting("INCRV", INPUT, of="by_name", then=_after_curve, curve=integer(0, 59, width=2)),
        Setting("INNAME", INPUT, of="by_name", name=string(15, pad=True)),
        Setting("INTSEL", of="panel", interface=integer(0, 2)),
        Setting("INTYPE", INPUT, of="by_name", check=_check_type, then=_after_type, type=integer(0, 3),
                autorange=ON_OFF, range=integer(0, 8), compensation=ON_OFF, units=UNITS),
        Setting("LEDS", of="panel", leds=ON_OFF),
        Setting("LOCK", of="panel", lock=ON_OFF, lock_code=integer(0, 999, width=3)),
        Setting("MODE", of="panel", mode=integer(0, 2)),
        Setting("MOUT", OUTPUT, of="outputs", mout=PERCENT),
        Setting("NET", of="panel", dhcp=ON_OFF, auto_ip=ON_OFF, ip=string(15), mask=string(15), gateway=string(15),
                dns1=string(15), dns2=string(15), host=string(15), domain=string(64), description=string(32)),
        Setting("OPSTE", operation_enable=integer(0, 255, width=3)),
        Setting("OUTMODE", OUTPUT, of="outputs", check=_check_mode, then=_after_mode, mode=integer(0, 5),
                input=NUMBERED, powerup=ON_OFF),
        Setting("PID", OUTPUT, of="outputs", p=GAIN, i=GAIN, d=RATE_GAIN),
        Setting("RAMP", OUTPUT, of="outputs", check=_check_rate, then=_after_ramp, ramp=ON_OFF, rate=RAMP_RATE),
        Setting("RANGE", OUTPUT, of="outputs", check=_check_range, range=integer(0, 3)),
        Setting("RELAY", integer(1, 2), of="relays", check=_check_relay, mode=integer(0, 2),
                input=INPUT, alarm_type=integer(0, 2)),
        Setting("TLIMIT", INPUT, of="by_name", limit=real(0, 9999, "+05.0f")),
        Setting("WARMUP", VOLTAGE, of="outputs", control=ON_OFF, percentage=PERCENT),
        Setting("WEBLOG", of="panel", user=string(15), password=string(15)),
        Setting("ZONE", OUTPUT, integer(1, 10), of="zones", check=_check_numbered, upper=real(0, 9999, "+07.2f"),
                p=GAIN, i=GAIN, d=RATE_GAIN, mout=PERCENT, range=integer(0, 3), input=NUMBERED, rate=RAMP_RATE),
    )
    # fmt: on

    @property
    def identity(self) -> str:
        """Maker, model, serial numbers of the instrument and the option card, firmware."""
        return f"LSCI,MODEL336,LSA23AB/{'LSA24CD' if self.option else '#######'},2.9"

    @Command("KRDG?", INPUT)
    def _krdg(self, name: str) -> str:
        return self._readings(name, KELVIN)

    @Command("CRDG?", INPUT)
    def _crdg(self, name: str) -> str:
        return self._readings(name, CELSIUS)

    @Command("SRDG?", INPUT)
    def _srdg(self, name: str) -> str:
        return self._readings(name, SENSOR)

    def _readings(self, name: str, units: int) -> str:
        sources = self.inputs.values() if name == "0" else [self.input(name)]
        return ",".join(six(source.value(units)) for source in sources)

    @Command("RDGST?", INPUT)
    def _rdgst(self, name: str) -> str:
        return f"{self.input(name).reading()[1]:03d}"

    @Command("ALARMST?", INPUT)
    def _alarmst(self, name: str) -> str:
        source = self.input(name)
        return f"{source.high_state:d},{source.low_state:d}"

    @Command("ALMRST")
    def _almrst(self) -> None:
        for source in self.inputs.values():
            source.reset_alarm()

    @Command("MDAT?", INPUT)
    def _mdat(self, name: str) -> str:
        source = self.input(name)
        if source.highest < source.lowest:
            return f"{six(0.0)},{six(0.0)}"
        return f"{six(source.lowest)},{six(source.highest)}"

    @Command("MNMXRST")
    def _mnmxrst(self) -> None:
        for source in self.inputs.values():
            source.reset_extremes()

    @Command("TEMP?")
    def _temp(self) -> str:
        return five(self.room.temperature)

    @Command("SETP", OUTPUT, real())
    def _setp(self, number: int, value: float) -> None:
        output = self.outputs[number]
        source = self._numbered(output.input)
        if source is not None and source.curve:
            if not 0 <= source.in_kelvin(value) <= self.curves[source.curve].limit:
                raise OutOfRangeError("the setpoint is beyond the curve's limit")
        output.target = value
        if not (output.ramp and output.rate) or (source is not None and source.units == SENSOR):
            output.setpoint = value

    @Command("SETP?", OUTPUT)
    def _setp_query(self, number: int) -> str:
        return six(self.outputs[number].setpoint)

    @Command("RAMPST?", OUTPUT)
    def _rampst(self, number: int) -> str:
        return f"{self.outputs[number].ramping:d}"

    @Command("HTR?", HEATER)
    def _htr(self, number: int) -> str:
        return f"{self.outputs[number].percent:+06.1f}"

    @Command("AOUT?", VOLTAGE)
    def _aout(self, number: int) -> str:
        return f"{self.outputs[number].percent:+06.1f}"

    @Command("HTRST?", HEATER)
    def _htrst(self, number: int) -> str:
        output = self.outputs[number]
        error, output.error = output.error, 0
        return str(error)

    @Command("ATUNE", OUTPUT, integer(0, 2))
    def _atune(self, number: int, _: int) -> None:
        output = self.outputs[number]
        source = self._numbered(output.input)
        kelvin, status = source.reading() if source else (0.0, INVALID)
        ready = (
            source is not None
            and not status
            and output.mode == CLOSED_LOOP
            and output.range > 0
            and abs(source.in_kelvin(output.setpoint) - kelvin) < 5.0
        )
        self._tune = (number, self.clock.now()) if ready else None
        self._tune_failed = 0 if ready else number

    def _tune_stage(self) -> int:
        return int((self.clock.now() - self._tune[1]) / TUNE_STAGE_TIME) + 1 if self._tune else 0

    @Command("TUNEST?")
    def _tunest(self) -> str:
        if self._tune is not None:
            return f"1,{self._tune[0]},0,{self._tune_stage():02d}"
        return f"0,{self._tune_failed or 1},{bool(self._tune_failed):d},00"

    @Command("RELAYST?", integer(1, 2))
    def _relayst(self, number: int) -> str:
        relay = self.relays[number]
        if relay.mode < 2:
            return str(relay.mode)
        source = self.input(relay.input)
        low, high = source.low_state, source.high_state
        return f"{(low, high, low or high)[relay.alarm_type]:d}"

    @Command("NETID?")
    def _netid(self) -> str:
        panel = self.panel
        address = f"{panel.ip},{panel.mask},{panel.gateway},{panel.dns1},{panel.dns2}"
        return f"{panel.dhcp},{address},00:12:34:56:78:9A,{panel.host},{panel.domain}"

    @Command("DFLT", integer(99, 99))
    def _dflt(self, _: int) -> None:
        self.restore_defaults()

    # the operation register (6.2.5)

    def _operation(self) -> int:
        condition = NEW_READING | self._ramps_done
        for number, done in ((1, RAMP_DONE_1), (2, RAMP_DONE_2)):
            if self.outputs[number].ramping:
                condition &= ~done
        for source in self.inputs.values():
            if source.high_state or source.low_state:
                condition |= ALARM
            if source.reading()[1] == UNITS_OVERRANGE:
                condition |= OVERLOAD
        return condition

    def operation_summary(self) -> bool:
        """Return whether an event that OPSTE enables has happened."""
        return bool(self.operation_events & self.operation_enable)

    def clear_events(self) -> None:
        """Clear both event registers."""
        self.events = self.operation_events = 0

    @Command("OPST?")
    def _opst(self) -> str:
        return f"{self._operation():03d}"

    @Command("OPSTR?")
    def _opstr(self) -> str:
        events, self.operation_events = self.operation_events, 0
        return f"{events:03d}"
