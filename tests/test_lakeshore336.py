"""The driver of the Lake Shore 336, in transcripts from chapter 6 of its manual."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from labioc.drivers import lakeshore336 as ls
from labioc.drivers.core.errors import LimitError, ReadingInvalid, RefusedError
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.drivers.testing import Line, transcript

IDENTITY = "LSCI,MODEL336,LSA23AB/#######,2.9"
WITH_3062 = "LSCI,MODEL336,LSA23AB/LSA0C1D,2.9"


def controller(
    *lines: Line, identity: str = IDENTITY, variant: str = ""
) -> AbstractAsyncContextManager[LakeShore336]:
    return transcript(LakeShore336, lines, identity=identity, variant=variant)


Read = Callable[[LakeShore336], Awaitable[Any]]


@pytest.mark.parametrize(
    ("section", "question", "reply", "read", "value"),
    [
        ("6.6.1 *IDN?", "*IDN?", IDENTITY, lambda c: c.identity.read(), ls.Identity(*IDENTITY.split(","))),
        (
            "6.6.1 KRDG?",
            "RDGST? A;KRDG? A",
            "000;+77.3500",
            lambda c: c.inputs["A"].temperature.read(),
            77.35,
        ),
        ("6.6.1 KRDG?", "RDGST? A;KRDG? A", "000;+77.350", lambda c: c.inputs["A"].temperature.read(), 77.35),
        ("6.6.1 SRDG?", "SRDG? B", "+1.02032", lambda c: c.inputs["B"].sensor.read(), 1.02032),
        ("6.6.1 RDGST?", "RDGST? C", "160", lambda c: c.inputs["C"].status.read(), ls.InputStatus(160)),
        ("6.6.1 INNAME?", "INNAME? A", "Input A        ", lambda c: c.inputs["A"].label.read(), "Input A"),
        (
            "6.6.1 INTYPE?",
            "INTYPE? A",
            "1,0,0,0,1",
            lambda c: c.inputs["A"].setup.read(),
            ls.SensorSetup(ls.SensorType.DIODE, False, 0, False, ls.PreferredUnits.KELVIN),
        ),
        ("6.6.1 INCRV?", "INCRV? A", "02", lambda c: c.inputs["A"].curve.read(), 2),
        ("6.6.1 FILTER?", "FILTER? A", "0,08,02", lambda c: c.inputs["A"].filter.read(), (False, 8, 2)),
        (
            "6.6.1 ALARM?",
            "ALARM? B",
            "1,+270.000,+0.00000,+0.00000,1,1,1",
            lambda c: c.inputs["B"].alarm.read(),
            ls.AlarmSetup(True, 270.0, 0.0, 0.0, True, True, True),
        ),
        ("6.6.1 ALARMST?", "ALARMST? A", "1,0", lambda c: c.inputs["A"].alarm_state.read(), (True, False)),
        ("6.6.1 TLIMIT?", "TLIMIT? A", "+0450", lambda c: c.inputs["A"].limit.read(), 450.0),
        (
            "6.6.1 MDAT?",
            "INTYPE? A;MDAT? A",
            "1,0,0,0,1;+4.20000,+300.000",
            lambda c: c.inputs["A"].extremes.read(),
            (4.2, 300.0),
        ),
        ("6.6.1 TEMP?", "TEMP?", "+295.12", lambda c: c.junction.read(), 295.12),
        ("6.6.1 SETP?", "SETP? 1", "+77.3500", lambda c: c.outputs[1].setpoint.read(), 77.35),
        ("6.6.1 RAMP?", "RAMP? 1", "1,+010.5", lambda c: c.outputs[1].ramp.read(), (True, 10.5)),
        ("6.6.1 RAMPST?", "RAMPST? 1", "1", lambda c: c.outputs[1].ramping.read(), True),
        ("6.6.1 PID?", "PID? 1", "+0050.0,+0020.0,+000.0", lambda c: c.outputs[1].pid.read(), (50, 20, 0)),
        ("6.6.1 RANGE?", "RANGE? 2", "3", lambda c: c.outputs[2].range.read(), ls.HeaterRange.HIGH),
        ("6.6.1 RANGE?", "RANGE? 3", "1", lambda c: c.analog_outputs[3].range.read(), True),
        ("6.6.1 HTR?", "HTR? 1", "+012.3", lambda c: c.outputs[1].output.read(), 12.3),
        ("6.6.1 AOUT?", "AOUT? 3", "-050.0", lambda c: c.analog_outputs[3].output.read(), -50.0),
        ("6.6.1 HTRST?", "HTRST? 1", "1", lambda c: c.outputs[1].status.read(), ls.HeaterStatus.OPEN_LOAD),
        (
            "6.6.1 HTRSET?",
            "HTRSET? 1",
            "1,2,+0.000,1",
            lambda c: c.outputs[1].setup.read(),
            ls.HeaterSetup(ls.Resistance.OHM_25, ls.MaxCurrent.A_1, 0.0, ls.OutputDisplay.CURRENT),
        ),
        (
            "6.6.1 OUTMODE?",
            "OUTMODE? 1",
            "1,1,0",
            lambda c: c.outputs[1].mode.read(),
            ls.OutputMode(ls.Mode.CLOSED_LOOP, ls.ControlInput.A, False),
        ),
        ("6.6.1 MOUT?", "MOUT? 1", "+022.45", lambda c: c.outputs[1].manual.read(), 22.45),
        ("6.6.1 TUNEST?", "TUNEST?", "0,1,1,00", lambda c: c.tuning.read(), (False, 1, True, 0)),
        (
            "4.5.1.1 power",
            "HTR? 1;RANGE? 1;HTRSET? 1",
            "+050.0;2;1,2,+0.000,1",
            lambda c: c.outputs[1].power.read(),
            pytest.approx(25.0 * 0.1 * 0.25),
        ),
        (
            "4.5.1.1 power",
            "HTR? 2;RANGE? 2;HTRSET? 2",
            "+050.0;3;2,0,+0.500,2",
            lambda c: c.outputs[2].power.read(),
            pytest.approx(12.5 * 0.5),
        ),
    ],
)
async def test_readings(section: str, question: str, reply: str, read: Read, value: object) -> None:
    async with controller((question, reply)) as c:
        assert await read(c) == value, section


@pytest.mark.parametrize(
    ("section", "line", "reply", "write"),
    [
        (
            "6.6.1 SETP",
            "SETP 1,77.350;*ESR?;SETP? 1",
            "000;+77.3500",
            lambda c: c.outputs[1].setpoint.write(77.35),
        ),
        (
            "4.5.1.7 SETP",
            "SETP 1,77.350;*ESR?;SETP? 1",
            "000;+20.1",
            lambda c: c.outputs[1].setpoint.write(77.35),
        ),
        (
            "6.6.1 RAMP",
            "RAMP 1,1,10.5;*ESR?;RAMP? 1;SETP? 1;RAMPST? 1",
            "000;1,+010.5;+77.3500;0",
            lambda c: c.outputs[1].ramp.write(ls.Ramp(True, 10.5)),
        ),
        (
            "6.6.1 PID",
            "PID 1,10.0,50.0,0.0;*ESR?;PID? 1",
            "000;+0010.0,+0050.0,+000.0",
            lambda c: c.outputs[1].pid.write(ls.PID(10, 50, 0)),
        ),
        (
            "6.6.1 RANGE",
            "RANGE 1,3;*ESR?;RANGE? 1",
            "000;3",
            lambda c: c.outputs[1].range.write(ls.HeaterRange.HIGH),
        ),
        ("6.6.1 RANGE", "RANGE 4,1;*ESR?;RANGE? 4", "000;1", lambda c: c.analog_outputs[4].range.write(True)),
        (
            "6.6.1 MOUT",
            "MOUT 1,22.45;*ESR?;MOUT? 1",
            "000;+022.45",
            lambda c: c.outputs[1].manual.write(22.45),
        ),
        (
            "6.6.1 OUTMODE",
            "OUTMODE 1,1,2,1;*ESR?;OUTMODE? 1;RANGE? 1",
            "000;1,2,1;0",
            lambda c: c.outputs[1].mode.write(
                ls.OutputMode(ls.Mode.CLOSED_LOOP, ls.ControlInput.B, powerup=True)
            ),
        ),
        (
            "6.6.1 HTRSET",
            "HTRSET 1,1,2,0.000,1;*ESR?;HTRSET? 1",
            "000;1,2,+0.000,1",
            lambda c: c.outputs[1].setup.write(
                ls.HeaterSetup(ls.Resistance.OHM_25, ls.MaxCurrent.A_1, 0.0, ls.OutputDisplay.CURRENT)
            ),
        ),
        ("6.6.1 ATUNE", "ATUNE 2,1;*ESR?", "000", lambda c: c.outputs[2].tune_pi.execute()),
        (
            "6.6.1 INNAME",
            'INNAME A,"Sample Space";*ESR?;INNAME? A',
            "000;Sample Space   ",
            lambda c: c.inputs["A"].label.write("Sample Space"),
        ),
        (
            "6.6.1 TLIMIT",
            "TLIMIT B,450;*ESR?;TLIMIT? B",
            "000;+0450",
            lambda c: c.inputs["B"].limit.write(450),
        ),
        ("6.6.1 INCRV", "INCRV A,1;*ESR?;INCRV? A", "000;01", lambda c: c.inputs["A"].curve.write(1)),
        (
            "6.6.1 FILTER",
            "FILTER B,1,10,2;*ESR?;FILTER? B",
            "000;1,10,02",
            lambda c: c.inputs["B"].filter.write(ls.Filter(True, 10, 2)),
        ),
        (
            "6.6.1 ALARM",
            "ALARM A,1,270.000,0.000,0.000,1,1,1;*ESR?;ALARM? A;ALARMST? A",
            "000;1,+270.000,+0.00000,+0.00000,1,1,1;0,0",
            lambda c: c.inputs["A"].alarm.write(ls.AlarmSetup(True, 270, 0, 0, True, True, True)),
        ),
        (
            "6.6.1 INTYPE",
            "INTYPE C,3,0,5,1,1;*ESR?;INTYPE? C;INCRV? C",
            "000;3,0,5,1,1;21",
            lambda c: c.inputs["C"].setup.write(
                ls.SensorSetup(ls.SensorType.NTC_RTD, False, 5, True, ls.PreferredUnits.KELVIN)
            ),
        ),
        ("6.6.1 MNMXRST", "MNMXRST;*ESR?", "000", lambda c: c.reset_extremes.execute()),
        ("6.6.1 ALMRST", "ALMRST;*ESR?", "000", lambda c: c.reset_alarms.execute()),
        ("6.2.5 *ESR?", "ALMRST;*ESR?", "001", lambda c: c.reset_alarms.execute()),
        ("6.2.5 *ESR?", "ALMRST;*ESR?", "128", lambda c: c.reset_alarms.execute()),
    ],
)
async def test_settings(
    section: str, line: str, reply: str, write: Callable[[LakeShore336], Awaitable[None]]
) -> None:
    async with controller((line, reply)) as c:
        await write(c)


@pytest.mark.parametrize(("section", "esr"), [("query", "004"), ("execution", "016"), ("command", "032")])
async def test_refusals(section: str, esr: str) -> None:
    """6.2.5: query, execution and command error."""
    async with controller(("MOUT 1,50.00;*ESR?;MOUT? 1", f"{esr};+022.45")) as c:
        with pytest.raises(
            RefusedError, match=rf"outputs\[1\].manual: refused: after 'MOUT 1,50.00' .* '{esr}'"
        ):
            await c.outputs[1].manual.write(50)
        assert c.outputs[1].manual.value == 22.45


async def test_a_reading_without_a_sensor_is_no_temperature() -> None:
    """6.6.1 KRDG?: ask RDGST?, the temperature is 0 then."""
    async with controller(("RDGST? D;KRDG? D", "128;+0.00000")) as c:
        with pytest.raises(ReadingInvalid, match="SENSOR_OVERRANGE"):
            await c.inputs["D"].temperature.read()


async def test_one_field_is_changed_and_the_others_are_kept() -> None:
    lines = [
        ("RAMP? 2", "1,+010.5"),
        ("RAMP 2,0,10.5;*ESR?;RAMP? 2;SETP? 2;RAMPST? 2", "000;0,+010.5;+4.2;0"),
    ]
    async with controller(*lines) as c:
        await c.outputs[2].ramp.update(on=False)
        assert c.outputs[2].setpoint.value == 4.2


async def test_the_card_3062() -> None:
    """6.6.1 *IDN?: the card's serial number stands behind the instrument's."""
    lines = [("RDGST? D5;KRDG? D5", "000;+35.0000"), ("INNAME? D", "Input D        ")]
    async with controller(*lines, identity=WITH_3062, variant="3062") as c:
        assert await c.inputs["D5"].temperature.read() == 35.0
        assert await c.inputs["D"].label.read() == "Input D"


async def test_limits_of_the_manual() -> None:
    async with controller() as c:
        with pytest.raises(LimitError, match="p: 1001 is beyond the limits 0.1 to 1000"):
            await c.outputs[1].pid.write(ls.PID(1001, 20, 0))
        with pytest.raises(LimitError, match="rate: 100.1 is beyond the limits 0 to 100 K/min"):
            await c.outputs[1].ramp.write(ls.Ramp(True, 100.1))
        with pytest.raises(LimitError, match="expected at most 15 characters, got 16"):
            await c.inputs["A"].label.write("sixteen letters.")
        with pytest.raises(LimitError, match="does not take the character '\"'"):
            await c.inputs["A"].label.write('2" pipe')


async def test_eight_questions_make_one_line() -> None:
    """6.3.4: questions are chained by semicolons, and so are their answers."""
    line = "RDGST? A;KRDG? A;RDGST? B;KRDG? B;RDGST? C;KRDG? C;RDGST? D;KRDG? D"
    async with controller((line, "000;+4.2;000;+35.0;000;+4.3;016;+0.0")) as c:
        await c.read_together(input_.temperature for input_ in c.inputs.values())
        assert [c.inputs[key].temperature.value for key in "ABC"] == [4.2, 35.0, 4.3]
        assert isinstance(c.inputs["D"].temperature.error, ReadingInvalid)
