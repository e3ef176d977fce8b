"""The DS1000Z in the words of its programming guide: settings, refusals, waveforms that belong together."""

import itertools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import numpy as np
import pytest

from labioc.drivers import ds1000z as ds
from labioc.drivers.core.errors import (
    LimitError,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    TruncatedReply,
    WrongInstrument,
)
from labioc.drivers.ds1000z import DS1000Z
from labioc.drivers.testing import transcript
from labioc.sim import ds1000z as sim

IDENTITY = "RIGOL TECHNOLOGIES,DS1104Z,DS1ZA000000001,00.04.04.SP4"
NO_ERROR = '0,"No error"'
SCREEN = "0,0,4,1,2.000000e-05,-1.456000e-02,0,4.000000e-02,-75,127"
Said = tuple[str, str | None]


def scope(*lines: Said) -> AbstractAsyncContextManager[DS1000Z]:
    return transcript(DS1000Z, list(lines), identity=IDENTITY)


@pytest.mark.parametrize(
    ("section", "question", "reply", "read", "value"),
    [
        (":CHANnel<n>:BWLimit", ":CHAN2:BWL?", "20M", lambda d: d.scopes[2].bandwidth_limit.read(), True),
        (":CHANnel<n>:COUPling", ":CHAN1:COUP?", "AC", lambda d: d.scopes[1].coupling.read(), ds.Coupling.AC),
        (":CHANnel<n>:DISPlay", ":CHAN1:DISP?", "1", lambda d: d.scopes[1].display.read(), True),
        (":CHANnel<n>:INVert", ":CHAN1:INV?", "0", lambda d: d.scopes[1].invert.read(), False),
        (":CHANnel<n>:OFFSet", ":CHAN1:OFFS?", "1.000000e-02", lambda d: d.scopes[1].offset.read(), 0.01),
        (":CHANnel<n>:SCALe", ":CHAN1:SCAL?", "1.000000e+00", lambda d: d.scopes[1].scale.read(), 1.0),
        (":CHANnel<n>:PROBe", ":CHAN1:PROB?", "1.000000e+01", lambda d: d.scopes[1].probe.read(), 10.0),
        (":CHANnel<n>:UNITs", ":CHAN1:UNIT?", "VOLT", lambda d: d.scopes[1].unit.read(), ds.Unit.VOLT),
        (":TIMebase[:MAIN]:SCALe", ":TIM:SCAL?", "2.000000e-04", lambda d: d.time_scale.read(), 2e-4),
        (":TIMebase[:MAIN]:OFFSet", ":TIM:OFFS?", "2.000000e-04", lambda d: d.time_offset.read(), 2e-4),
        (":TIMebase:MODE", ":TIM:MODE?", "MAIN", lambda d: d.time_mode.read(), ds.TimeMode.MAIN),
        (":ACQuire:SRATe?", ":ACQ:SRAT?", "5.000000e+08", lambda d: d.sample_rate.read(), 5e8),
        (":ACQuire:MDEPth", ":ACQ:MDEP?", "12000", lambda d: d.depth.read(), ds.Depth.POINTS_12000),
        (":ACQuire:MDEPth", ":ACQ:MDEP?", "AUTO", lambda d: d.depth.read(), ds.Depth.AUTO),
        (
            ":ACQuire:TYPE",
            ":ACQ:TYPE?",
            "HRES",
            lambda d: d.acquisition_type.read(),
            ds.AcquisitionType.HIGH_RESOLUTION,
        ),
        (":ACQuire:AVERages", ":ACQ:AVER?", "128", lambda d: d.averages.read(), 128),
        (":TRIGger:STATus?", ":TRIG:STAT?", "TD", lambda d: d.status.read(), ds.TriggerStatus.TRIGGERED),
        (":TRIGger:MODE", ":TRIG:MODE?", "NEDG", lambda d: d.trigger_mode.read(), ds.TriggerMode.NTH_EDGE),
        (":TRIGger:SWEep", ":TRIG:SWE?", "SING", lambda d: d.sweep.read(), ds.Sweep.SINGLE),
        (":TRIGger:EDGe:SOURce", ":TRIG:EDG:SOUR?", "CHAN1", lambda d: d.source.read(), ds.Source.CHANNEL1),
        (":TRIGger:EDGe:SLOPe", ":TRIG:EDG:SLOP?", "RFAL", lambda d: d.slope.read(), ds.Slope.BOTH),
        (":TRIGger:EDGe:LEVel", ":TRIG:EDG:LEV?", "1.600000e-01", lambda d: d.level.read(), 0.16),
        (
            ":TRIGger:COUPling",
            ":TRIG:COUP?",
            "LFR",
            lambda d: d.trigger_coupling.read(),
            ds.TriggerCoupling.LF_REJECT,
        ),
        (":TRIGger:HOLDoff", ":TRIG:HOLD?", "2.000000e-07", lambda d: d.holdoff.read(), 2e-7),
        (":MEASure:ITEM", ":MEAS:ITEM? VPP,CHAN2", "9.120000e-01", lambda d: d.scopes[2].vpp.read(), 0.912),
        (":MEASure:ITEM", ":MEAS:ITEM? FREQ,CHAN1", "9.9E37", lambda d: d.scopes[1].frequency.read(), np.inf),
    ],
)
async def test_readings(
    section: str, question: str, reply: str, read: Callable[[DS1000Z], Awaitable[object]], value: object
) -> None:
    async with scope((question, reply)) as d:
        assert await read(d) == value, section


@pytest.mark.parametrize(
    ("section", "line", "answers", "write"),
    [
        (
            ":CHANnel<n>:SCALe",
            ":CHAN1:SCAL 5.000000e-01",
            [(":CHAN1:SCAL?", "5.000000e-01")],
            lambda d: d.scopes[1].scale.write(0.5),
        ),
        (
            ":CHANnel<n>:BWLimit",
            ":CHAN1:BWL OFF",
            [(":CHAN1:BWL?", "OFF")],
            lambda d: d.scopes[1].bandwidth_limit.write(False),
        ),
        (
            ":CHANnel<n>:UNITs",
            ":CHAN1:UNIT AMP",
            [(":CHAN1:UNIT?", "AMP")],
            lambda d: d.scopes[1].unit.write(ds.Unit.AMPERE),
        ),
        # the nearest of 1, 2, 5
        (
            ":TIMebase[:MAIN]:SCALe",
            ":TIM:SCAL 5.000000e-04",
            [(":TIM:SCAL?", "5.000000e-04")],
            lambda d: d.time_scale.write(4e-4),
        ),
        (
            ":ACQuire:MDEPth",
            ":ACQ:MDEP 120000",
            [(":ACQ:MDEP?;:ACQ:SRAT?", "120000;5.000000e+07")],
            lambda d: d.depth.write(ds.Depth.POINTS_120000),
        ),
        (
            ":TRIGger:SWEep",
            ":TRIG:SWE NORM",
            [(":TRIG:SWE?;:TRIG:STAT?", "NORM;WAIT")],
            lambda d: d.sweep.write(ds.Sweep.NORMAL),
        ),
        (":SINGle", ":SING", [(":TRIG:STAT?;:TRIG:SWE?", "WAIT;SING")], lambda d: d.single.execute()),
        (":STOP", ":STOP", [(":TRIG:STAT?", "STOP")], lambda d: d.stop.execute()),
    ],
)
async def test_settings(
    section: str, line: str, answers: list[Said], write: Callable[[DS1000Z], Awaitable[None]]
) -> None:
    said = [(":SYST:ERR?", NO_ERROR), (line, None), (":SYST:ERR?", NO_ERROR), *answers]
    async with scope(*said) as d:
        await write(d)


async def test_a_refusal_is_in_the_error_queue() -> None:
    """:SYSTem:ERRor?"""
    said: list[Said] = [
        (":SYST:ERR?", NO_ERROR),
        (":CHAN1:SCAL 2.000000e+02", None),
        (":SYST:ERR?", '-222,"Data out of range"'),
        (":SYST:ERR?", NO_ERROR),
        (":CHAN1:SCAL?", "1.000000e+00"),
    ]
    async with scope(*said) as d:
        with pytest.raises(RefusedError, match="Data out of range"):
            await d.scopes[1].scale.write(200.0)


async def test_limits_of_the_guide() -> None:
    async with scope() as d:
        with pytest.raises(LimitError, match="1025 is beyond the limits 2 to 1024"):
            await d.averages.write(1025)
        with pytest.raises(LimitError, match="100 is beyond the limits 5e-09 to 50 s"):
            await d.time_scale.write(100.0)


RAW = "0,2,{count},1,2.000000e-09,-1.000000e-03,0,4.000000e-02,0,127"


def looks(status: str, display: str = "1", channel: int = 1) -> list[Said]:
    return [(f":CHAN{channel}:DISP?", display), (":TRIG:STAT?", status)]


def selects(mode: str) -> list[Said]:
    return [(":WAV:SOUR CHAN1", None), (f":WAV:MODE {mode}", None), (":WAV:FORM BYTE", None)]


def gives(
    first: int,
    last: int,
    data: str,
    preamble: str,
    *,
    mode: str = "RAW",
    status: str = "STOP",
    source: str = "CHAN1",
    after: str = "",
) -> list[Said]:
    """The steps to points (:WAVeform:DATA?), and whether they are what was asked for."""
    return [
        (":TRIG:STAT?", status),
        *selects(mode),
        (f":WAV:STAR {first}", None),
        (f":WAV:STOP {last}", None),
        (":WAV:PRE?", preamble),
        (":WAV:DATA?", f"#9{len(data):09d}{data}"),
        (":WAV:SOUR?", source),
        (":WAV:PRE?", after or preamble),
    ]


def shows(data: str, status: str = "TD", **others: str) -> list[Said]:
    return gives(1, 1200, data, SCREEN, mode="NORM", status=status, **others)


def part(first: int, last: int, data: str, count: int, **others: str) -> list[Said]:
    return gives(first, last, data, RAW.format(count=count), **others)


def points(count: int) -> list[Said]:
    return [*selects("RAW"), (":WAV:PRE?", RAW.format(count=count))]


async def test_the_waveform_on_the_screen_is_in_volts() -> None:
    """(byte - YORigin - YREFerence) * YINCrement; a terminator in the block is a point like others."""
    async with scope(*looks("TD"), *shows("\n\r4\xff")) as d:
        trace = await d.scopes[1].screen.read()
        expected = [(point + 75 - 127) * 0.04 for point in (10, 13, 52, 255)]
        assert trace.volts == pytest.approx(expected, rel=1e-6)
        assert trace.volts.dtype == np.float32
        assert trace.time == pytest.approx([-0.01456 + n * 2e-5 for n in range(4)])
        assert (trace.origin, trace.increment) == (-0.01456, 2e-5)


async def test_a_trace_is_new_if_it_was_triggered_or_looks_other() -> None:
    block, other = "abcd", "abce"
    lines = [
        *looks("TD"),
        *shows(block),
        *looks("TD"),
        *shows(block),  # triggered again
        *looks("WAIT"),
        *shows(block, "WAIT"),  # nothing came
        *looks("WAIT"),
        *shows(other, "WAIT"),  # triggered between two looks
        *looks("STOP"),
        *shows(other, "STOP"),  # triggered, and stopped
        *looks("STOP"),
        *shows(other, "STOP"),  # stands
        *looks("STOP", "0"),  # off
        *looks("STOP", "0"),
    ]
    async with scope(*lines) as d:
        bound = d.scopes[1].screen
        stamps = []
        for _ in range(8):
            await bound.read()
            stamps.append(bound.stamp)
        assert [b > a for a, b in itertools.pairwise(stamps)] == [True, False, True, True, False, True, False]
        assert len(bound.value.volts) == 0


async def test_the_memory_is_read_in_parts_of_250_000_points() -> None:
    """:WAVeform:DATA?, procedure of the internal memory's data."""
    lines = [
        *looks("STOP"),
        *points(300_000),
        *part(149501, 150500, "g" * 1000, 300_000),
        *part(1, 250_000, "\n" * 250_000, 300_000),
        *part(250_001, 300_000, "\xff" * 50_000, 300_000),
        *part(149501, 150500, "g" * 1000, 300_000),
        *looks("STOP"),
        *points(300_000),
        *part(149501, 150500, "g" * 1000, 300_000),
    ]
    async with scope(*lines) as d:
        trace = await d.scopes[1].memory.read()
        assert len(trace.volts) == len(trace.time) == 300_000
        assert trace.volts[[0, 249_999, 250_000]] == pytest.approx([-4.68, -4.68, 5.12])
        assert trace.time[[0, -1]] == pytest.approx([-1e-3, -1e-3 + 299_999 * 2e-9])
        assert await d.scopes[1].memory.read() is trace  # the same is not read twice


async def test_of_a_deep_memory_the_middle_is_read() -> None:
    glance = 5_999_501, 6_000_500
    pieces = [(5_400_001 + 250_000 * n, min(5_650_000 + 250_000 * n, 6_600_000)) for n in range(5)]
    lines = [
        *looks("STOP"),
        *points(12_000_000),
        *part(*glance, "m" * 1000, 12_000_000),
        *(
            line
            for first, last in (*pieces, glance)
            for line in part(first, last, "m" * (last - first + 1), 12_000_000)
        ),
    ]
    async with scope(*lines) as d:
        trace = await d.scopes[1].memory.read()
        assert len(trace.volts) == 1_200_000
        assert trace.origin == pytest.approx(-1e-3 + 5_400_000 * 2e-9)


async def test_a_memory_that_runs_again_is_not_read_to_its_end() -> None:
    lines = [
        *looks("RUN"),
        *looks("STOP"),
        *points(300_000),
        *part(149501, 150500, "g" * 1000, 300_000),
        *part(1, 250_000, "g" * 250_000, 300_000, status="RUN"),
    ]
    async with scope(*lines) as d:
        with pytest.raises(ReadingInvalid, match="there is nothing to read yet"):
            await d.scopes[1].memory.read()
        with pytest.raises(ReadingInvalid, match="there is nothing to read yet"):
            await d.scopes[1].memory.read()


async def test_a_memory_that_ran_and_stopped_between_two_parts_is_of_two_traces() -> None:
    first, second = (
        [*looks("STOP"), *points(300_000), *part(149501, 150500, "g" * 1000, 300_000)],
        [*part(1, 250_000, "g" * 250_000, 300_000), *part(250_001, 300_000, "h" * 50_000, 300_000)],
    )
    ran = part(149501, 150500, "h" * 1000, 300_000)
    other_scale = part(149501, 150500, "g" * 1000, 600_000)
    async with scope(*first, *second, *ran, *first, *second, *other_scale) as d:
        for _ in range(2):
            with pytest.raises(ReadingInvalid, match="there is nothing to read yet"):
                await d.scopes[1].memory.read()


async def test_what_another_program_set_up_meanwhile_is_not_shown() -> None:
    other_channel = shows("abcd", source="CHAN2")
    other_scale = shows("abcd", after=SCREEN.replace("4.000000e-02", "8.000000e-02"))
    rolls = shows("abcd", after=SCREEN.replace("-1.456000e-02", "-1.455000e-02"))
    lines = [
        *(*looks("TD"), *other_channel, *other_scale, *rolls),
        *(*looks("TD"), *other_scale, *other_channel, *other_scale),
    ]
    async with scope(*lines) as d:
        assert len((await d.scopes[1].screen.read()).volts) == 4
        with pytest.raises(ReplyError, match=r"scopes\[1\]: the waveform was set up differently"):
            await d.scopes[1].screen.read()


async def test_a_channel_that_was_off_shows_what_it_showed_before() -> None:
    memory = [*looks("STOP"), *points(4), *part(1, 4, "abcd", 4)]
    lines = [
        *(*looks("STOP"), *shows("abcd", "STOP"), *memory, *part(1, 4, "abcd", 4), *part(1, 4, "abcd", 4)),
        *(*looks("STOP", "0"), *looks("STOP", "0")),
        *(*looks("STOP"), *shows("abcd", "STOP"), *memory, *part(1, 4, "abcd", 4), *part(1, 4, "abcd", 4)),
    ]
    async with scope(*lines) as d:
        for count in (4, 0, 4):
            assert len((await d.scopes[1].screen.read()).volts) == count
            assert len((await d.scopes[1].memory.read()).volts) == count


async def test_a_part_that_is_too_short_is_no_waveform() -> None:
    lines = [*looks("STOP"), *points(10), *part(1, 10, "0123456789", 10), *part(1, 10, "012345678", 10)]
    async with scope(*lines) as d:
        with pytest.raises(ReplyError, match="9 points came instead of 10"):
            await d.scopes[1].memory.read()


async def test_a_block_that_is_cut_is_read_again() -> None:
    oscilloscope = sim.DS1000Z()
    async with oscilloscope.serve("tcp://127.0.0.1:0") as url, DS1000Z.open(url) as d:
        oscilloscope.faults.add("cut=300 only=WAV:DATA count=1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(d.scopes[1].screen), "said", quickly)
            assert len((await d.scopes[1].screen.read()).volts) == 1200
        assert d.port.statistics.errors[TruncatedReply.__name__] == 1


def quickly(bound: Any, text: str, *, answered: bool = True) -> Any:
    from labioc.drivers.core.protocol import Part

    return Part(text, answered, 0.2)


async def test_one_with_two_channels_is_another_instrument() -> None:
    identity = "RIGOL TECHNOLOGIES,DS1202Z-E,DS1ZE000000001,00.06.02"
    with pytest.raises(WrongInstrument, match="DS1202Z-E"):
        async with transcript(DS1000Z, [], identity=identity):
            pass
