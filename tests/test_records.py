"""The records behind the PVs, as their owner sees them."""

import gc
import math
import time
import tracemalloc
from typing import Any

import caproto as ca
import numpy as np
import pytest
from caproto.server import PVGroup, SubGroup, pvproperty
from tests.ca import DBE_ALARM, DBE_LOG, DBE_VALUE

from labioc.devices.core.records import (
    PV,
    Alarm,
    AlarmSeverity,
    AlarmStatus,
    DoubleArrayPV,
    DoublePV,
    EnumPV,
    IntegerArrayPV,
    IntegerPV,
    LongTextPV,
    RecordInfo,
    StringPV,
)

GOOD = (AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM)
UNDEFINED = (AlarmStatus.UDF, AlarmSeverity.INVALID_ALARM)
STATES = ("OFF", "ON", "FAULT")


def alarm_of(pv: PV) -> tuple[AlarmStatus, AlarmSeverity]:
    return pv.status, pv.severity


def post(pv: PV, *values: Any) -> None:
    for value in values:
        pv.post(value, time.time())


def double(name: str = "T:D", rtyp: str = "ai", **info: Any) -> DoublePV:
    return DoublePV(info=RecordInfo(rtyp, **info), pvname=name)


# ---- inside a PVGroup


def test_caproto_groups_give_names_macros_and_nesting_but_no_common_alarm() -> None:
    info = RecordInfo("ai")
    inner = type(
        "Inner",
        (PVGroup,),
        {"temperature": pvproperty(dtype=DoublePV, name="TEMP", info=info)},
    )
    outer = type(
        "Outer",
        (PVGroup,),
        {
            "a": SubGroup(inner, prefix="A:"),
            "b": SubGroup(inner, prefix="{second}:"),
            "label": pvproperty(dtype=LongTextPV, name="LABEL", max_length=80, info=RecordInfo("lsi")),
        },
    )
    group: Any = outer("LAB:{which}:", macros={"which": "3", "second": "ZWEI"})
    assert list(group.pvdb) == ["LAB:3:A:TEMP", "LAB:3:ZWEI:TEMP", "LAB:3:LABEL"]
    assert group.a.temperature is group.pvdb["LAB:3:A:TEMP"]
    assert group.b.temperature.pvname == "LAB:3:ZWEI:TEMP"
    assert group.label.long_string_max_length == 80
    post(group.a.temperature, 1.0)
    assert alarm_of(group.a.temperature) == GOOD
    assert alarm_of(group.b.temperature) == UNDEFINED


def test_a_pv_is_small() -> None:
    info = RecordInfo("ai", **Alarm(high=1.0).fields)
    DoublePV(info=info, pvname="warm:up")
    gc.collect()
    tracemalloc.start()
    kept = [DoublePV(info=info, pvname=f"P{number}") for number in range(200)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(kept) < 2000


# ---- alarms


def test_start_is_undefined_and_of_today() -> None:
    before = time.time()
    pv = double()
    assert alarm_of(pv) == UNDEFINED
    assert pv.udf
    assert pv.stamp == pytest.approx(before, abs=60)


LIMITS = Alarm(lolo=-20, low=-10, high=10, hihi=20)


@pytest.mark.parametrize(
    ("value", "status", "severity"),
    [
        (9.99, "NO_ALARM", 0),
        (10, "HIGH", 1),
        (19.99, "HIGH", 1),
        (20, "HIHI", 2),
        (math.inf, "HIHI", 2),
        (-9.99, "NO_ALARM", 0),
        (-10, "LOW", 1),
        (-20, "LOLO", 2),
        (-math.inf, "LOLO", 2),
        (math.nan, "UDF", 3),
    ],
)
def test_limits(value: float, status: str, severity: int) -> None:
    pv = double(**LIMITS.fields)
    post(pv, value)
    assert (pv.status.name, pv.severity) == (status, severity)
    assert pv.udf == math.isnan(value)
    post(pv, 0.0)
    assert alarm_of(pv) == GOOD


def test_one_limit_alone() -> None:
    pv = double(**Alarm(hihi=5, hhsv=AlarmSeverity.MINOR_ALARM).fields)
    post(pv, 0.0)
    assert alarm_of(pv) == GOOD
    post(pv, 5.0)
    assert alarm_of(pv) == (AlarmStatus.HIHI, AlarmSeverity.MINOR_ALARM)


def test_a_limit_without_severity_is_off() -> None:
    pv = double(**Alarm(high=5, hihi=9, hhsv=AlarmSeverity.NO_ALARM).fields)
    post(pv, 10.0)
    assert alarm_of(pv) == (AlarmStatus.HIGH, AlarmSeverity.MINOR_ALARM)


def test_hysteresis_holds_each_limit_until_the_value_is_well_inside() -> None:
    pv = double(**Alarm(lolo=-20, low=-10, high=10, hihi=20, hysteresis=1).fields)
    seen = []
    for value in (9.5, 10, 9.1, 8.9, 9.5, 20, 19.1, 18.9, 9.5, 8, -10, -9.5, -8.9, -20, -19.5, -18):
        post(pv, value)
        seen.append(pv.status.name)
    assert seen == [
        *("NO_ALARM", "HIGH", "HIGH", "NO_ALARM", "NO_ALARM", "HIHI", "HIHI", "HIGH", "HIGH", "NO_ALARM"),
        *("LOW", "LOW", "NO_ALARM", "LOLO", "LOLO", "LOW"),
    ]


def test_negative_hysteresis_is_refused() -> None:
    with pytest.raises(ValueError, match="hysteresis"):
        Alarm(hysteresis=-1)


def test_integer_limits() -> None:
    pv = IntegerPV(info=RecordInfo("longin", **Alarm(high=3).fields), pvname="T:I")
    post(pv, 3)
    assert pv.status == AlarmStatus.HIGH


def test_failure_keeps_the_value_and_the_next_reading_clears_it() -> None:
    pv = double()
    post(pv, 4.0)
    pv.fail(AlarmStatus.TIMEOUT, time.time())
    assert pv.value == 4.0
    assert not pv.udf
    assert alarm_of(pv) == (AlarmStatus.TIMEOUT, AlarmSeverity.INVALID_ALARM)
    post(pv, 4.0)
    assert alarm_of(pv) == GOOD


def test_failure_before_the_first_reading_leaves_udf() -> None:
    pv = double()
    pv.fail(AlarmStatus.COMM, time.time())
    assert pv.udf
    assert pv.status == AlarmStatus.COMM


# ---- time stamps


def test_stamps_always_rise() -> None:
    pv = double()
    now = time.time() + 10
    stamps = []
    for stamp in (now, now, now - 100, 0.0, now + 1e-3, now):
        pv.post(1.0, stamp)
        stamps.append((pv.alarm_time.seconds, pv.alarm_time.nanoseconds))
    assert stamps == sorted(set(stamps))
    pv.fail(AlarmStatus.READ, now - 5)
    assert (pv.alarm_time.seconds, pv.alarm_time.nanoseconds) > stamps[-1]


def test_a_time_that_no_client_can_be_told_is_refused() -> None:
    pv = double()
    with pytest.raises(ValueError, match="since 1970"):
        pv.post(1.0, 1e12)
    assert alarm_of(pv) == UNDEFINED


def test_a_nanosecond_carries_over_to_the_next_second() -> None:
    pv = double()
    second = int(time.time()) + 10
    pv.post(1.0, float(second))
    pv._nanoseconds = 999_999_999
    pv.post(2.0, float(second))
    assert pv.alarm_time[2:] == (second + 1, 0)


# ---- values


@pytest.mark.parametrize(
    ("pv", "value", "held"),
    [
        (double(), 3, 3.0),
        (double(), np.float32(0.5), 0.5),
        (IntegerPV(info=RecordInfo("longin"), pvname="I"), 2.0, 2),
        (IntegerPV(info=RecordInfo("longin"), pvname="I"), np.int64(-(2**31)), -(2**31)),
        (EnumPV(info=RecordInfo("mbbi", states=STATES), pvname="E"), "FAULT", 2),
        (EnumPV(info=RecordInfo("mbbi", states=STATES), pvname="E"), True, 1),
        (StringPV(info=RecordInfo("stringin"), pvname="S"), "5 Ω", "5 ?"),
        (StringPV(info=RecordInfo("stringin"), pvname="S"), "x" * 50, "x" * 39),
        (StringPV(info=RecordInfo("stringin"), pvname="S"), "a\0b", "a"),
        (LongTextPV(info=RecordInfo("lsi"), pvname="L", max_length=60), "x" * 80, "x" * 59),
    ],
)
def test_posted_values(pv: PV, value: Any, held: Any) -> None:
    post(pv, value)
    assert pv.value == held
    assert type(pv.value) is type(held)


@pytest.mark.parametrize(
    ("pv", "value"),
    [
        (double(), "3"),
        (double(), None),
        (IntegerPV(info=RecordInfo("longin"), pvname="I"), 2**31),
        (IntegerPV(info=RecordInfo("longin"), pvname="I"), 2.5),
        (IntegerPV(info=RecordInfo("longin"), pvname="I"), math.nan),
        (EnumPV(info=RecordInfo("mbbi", states=STATES), pvname="E"), 16),
        (EnumPV(info=RecordInfo("bi", states=STATES[:2]), pvname="E"), 2),
        (EnumPV(info=RecordInfo("mbbi", states=STATES), pvname="E"), -1),
        (EnumPV(info=RecordInfo("mbbi", states=STATES), pvname="E"), "off"),
        (StringPV(info=RecordInfo("stringin"), pvname="S"), 3),
        (DoubleArrayPV(info=RecordInfo("waveform"), pvname="W", max_length=2), [1, 2, 3]),
        (DoubleArrayPV(info=RecordInfo("waveform"), pvname="W", max_length=2), 1.0),
        (DoubleArrayPV(info=RecordInfo("waveform"), pvname="W", max_length=2), ["a"]),
        (IntegerArrayPV(info=RecordInfo("waveform"), pvname="W", max_length=2), [2**31]),
        (IntegerArrayPV(info=RecordInfo("waveform"), pvname="W", max_length=2), [0.5]),
    ],
)
def test_what_does_not_fit_is_an_error_and_changes_nothing(pv: PV, value: Any) -> None:
    before = (pv.value, pv.stamp, alarm_of(pv))
    with pytest.raises((TypeError, ValueError)):
        post(pv, value)
    assert (pv.value is before[0], pv.stamp, alarm_of(pv)) == (True, *before[1:])


def test_arrays_are_copied_and_sent_when_they_change() -> None:
    pv = DoubleArrayPV(info=RecordInfo("waveform"), pvname="W", max_length=5)
    source = np.array([1.0, math.nan])
    post(pv, source)
    source[0] = 7.0
    assert pv.value[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        pv.value[0] = 2.0


# ---- events


class _Queue:
    """Stands for a server: takes the events of a PV."""

    def __init__(self) -> None:
        self.masks: list[int] = []

    def put_nowait(self, item: Any) -> None:
        self.masks.append(item.flags)


async def listen(pv: Any, mask: int) -> _Queue:
    from caproto.server.common import SubscriptionSpec

    queue = _Queue()
    await pv.subscribe(queue, SubscriptionSpec(pv, "TIME_DOUBLE", mask, None), object())
    queue.masks.clear()
    return queue


async def test_masks_and_deadbands() -> None:
    pv = double(mdel=1.0, adel=5.0, **Alarm(high=100).fields)
    post(pv, 0.0)
    value, archive, alarm = [await listen(pv, mask) for mask in (DBE_VALUE, DBE_LOG, DBE_ALARM)]
    for step in range(1, 21):
        post(pv, step * 0.5)
    assert (len(value.masks), len(archive.masks), len(alarm.masks)) == (6, 1, 0)
    post(pv, 100.0, 100.0, 0.0)
    assert (len(value.masks), len(archive.masks), len(alarm.masks)) == (8, 3, 2)


async def test_equal_value_is_no_event_but_a_new_time() -> None:
    pv = double()
    pv.post(1.0, time.time() + 1)
    queue = await listen(pv, DBE_VALUE | DBE_LOG | DBE_ALARM)
    before = pv.stamp
    pv.post(1.0, time.time() + 2)
    assert queue.masks == []
    assert pv.stamp > before


async def test_negative_deadband_sends_all_and_nan_counts_once() -> None:
    eager, plain = double(mdel=-1), double()
    every = await listen(eager, DBE_VALUE)
    changes = await listen(plain, DBE_VALUE)
    for pv in (eager, plain):
        post(pv, 1.0, 1.0, math.nan, math.nan, math.inf, math.inf, -math.inf, 1.0)
    assert len(every.masks) == 8
    assert len(changes.masks) == 5


async def test_one_event_per_alarm_transition() -> None:
    pv = double()
    post(pv, 1.0)
    queue = await listen(pv, DBE_VALUE | DBE_ALARM)
    for _ in range(5):
        pv.fail(AlarmStatus.COMM, time.time())
    for _ in range(5):
        pv.fail(AlarmStatus.TIMEOUT, time.time())
    post(pv, 1.0, 1.0)
    assert queue.masks == [DBE_ALARM, DBE_ALARM, DBE_ALARM]


async def test_first_reading_is_an_alarm_event_even_if_it_equals_the_initial_value() -> None:
    pv = double()
    queue = await listen(pv, DBE_VALUE | DBE_ALARM)
    post(pv, 0.0)
    assert queue.masks == [DBE_ALARM]


async def test_reading_posts_nothing() -> None:
    pv = double(prec=2)
    queue = await listen(pv, DBE_VALUE | DBE_LOG | DBE_ALARM)
    for name in ("VAL", "PREC", "EGU", "HIHI", "SEVR"):
        await pv.get_field(name).read(ca.ChannelType.STRING)  # type: ignore[attr-defined]
    assert queue.masks == []
