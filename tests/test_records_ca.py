"""The records behind the PVs, as Channel Access clients see them."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import caproto as ca
import numpy as np
import pytest
from tests.ca import Client, GetFailed, Libca, PutFailed

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
    PutRefused,
    RecordInfo,
    StringPV,
)
from labioc.iocs.core.server import CAServer

GOOD = (AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM)
STATES = ("OFF", "ON", "FAULT")


def alarm_of(pv: PV) -> tuple[AlarmStatus, AlarmSeverity]:
    return pv.status, pv.severity


def post(pv: PV, *values: Any) -> None:
    for value in values:
        pv.post(value, time.time())


def double(name: str = "T:D", rtyp: str = "ai", **info: Any) -> DoublePV:
    return DoublePV(info=RecordInfo(rtyp, **info), pvname=name)


def writable(pv: PV) -> list[Any]:
    """Let clients put to this PV; what arrives is posted, and listed in the answer."""
    arrived: list[Any] = []

    async def put(value: Any) -> None:
        arrived.append(value)
        post(pv, value)

    pv.putter = put
    return arrived


@asynccontextmanager
async def serving(*pvs: PV) -> AsyncIterator[None]:
    server = CAServer({pv.pvname: pv for pv in pvs})
    await server.start()
    try:
        yield
    finally:
        await server.stop()


async def test_undefined_at_boot(client: Client, libca: Libca) -> None:
    async with serving(double()):
        for reading in (await client.get("T:D"), await libca.get("T:D")):
            assert (reading.value, reading.status, reading.severity) == (0.0, 17, 3)
            assert reading.stamp == pytest.approx(time.time(), abs=600)
        assert (await client.get("T:D.UDF")).value == 1
        assert (await client.get("T:D.SEVR", form=ca.ChannelType.STRING)).value == "INVALID"


KINDS: dict[str, tuple[PV, Any, Any]] = {
    "double": (double("K:D"), 2.5, 2.5),
    "integer": (IntegerPV(info=RecordInfo("longin"), pvname="K:I"), -7, -7),
    "enum": (EnumPV(info=RecordInfo("mbbi", states=STATES), pvname="K:E"), "FAULT", 2),
    "string": (StringPV(info=RecordInfo("stringin"), pvname="K:S"), "5 µm", "5 µm"),
    "doubles": (
        DoubleArrayPV(info=RecordInfo("waveform"), pvname="K:W", max_length=9),
        [1.5, -2.0],
        [1.5, -2.0],
    ),
    "integers": (
        IntegerArrayPV(info=RecordInfo("waveform"), pvname="K:N", max_length=9),
        [3, 4, 5],
        [3, 4, 5],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_types_by_both_clients(client: Client, libca: Libca, kind: str) -> None:
    pv, posted, read = KINDS[kind]
    async with serving(pv):
        post(pv, posted)
        assert (await client.get(pv.pvname)).value == read
        assert (await libca.get(pv.pvname)).value == read
        async with client.monitor(pv.pvname) as events:
            assert (await events.next()).value == read
        assert (await (await libca.monitor(pv.pvname)).next()).value == read


async def test_alarm_transitions_reach_a_libca_monitor(libca: Libca) -> None:
    pv = double(**Alarm(high=10, hihi=20, hysteresis=1).fields)
    async with serving(pv):
        events = await libca.monitor("T:D")
        await events.next()
        post(pv, 5.0, 20.0, 19.5, 15.0, math.nan)
        pv.fail(AlarmStatus.COMM, time.time())
        post(pv, 6.0)
        await events.next(lambda reading: bool(reading.value == 6.0))
        assert [(reading.status, reading.severity) for reading in events.received] == [
            *((17, 3), (0, 0), (3, 2), (3, 2), (4, 1), (17, 3), (9, 3), (0, 0))
        ]
        stamps = [reading.stamp for reading in events.received]
        assert stamps == sorted(stamps)


async def test_put_callback_completes_when_the_putter_does(client: Client) -> None:
    pv = double(rtyp="ao")
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def put(value: float) -> None:
        begun.set()
        await may_end.wait()
        post(pv, value)

    pv.putter = put
    async with serving(pv):
        putting = asyncio.create_task(client.put("T:D", 3.0))
        await begun.wait()
        assert (await client.get("T:D")).value == 0.0
        assert not putting.done()
        may_end.set()
        await putting
        assert (await client.get("T:D")).value == 3.0


class Limit(ValueError):
    expected = True


async def test_refused_put_is_an_error_and_leaves_the_pv_alone(
    client: Client, libca: Libca, caplog: pytest.LogCaptureFixture
) -> None:
    async def put(value: float) -> None:
        raise Limit("300 K is the most")

    caplog.set_level(logging.INFO)
    pv = double(rtyp="ao")
    pv.putter = put
    async with serving(pv):
        post(pv, 1.0)
        for some_client in (client, libca):
            with pytest.raises(PutFailed) as refusal:
                await some_client.put("T:D", 400.0)
            assert refusal.value.status == "ECA_PUTFAIL"
        assert pv.value == 1.0
        assert alarm_of(pv) == GOOD
        lines = [record for record in caplog.records if "300 K is the most" in record.getMessage()]
        assert len(lines) == 2
        for record in lines:
            assert record.levelno == logging.INFO
            assert not record.exc_info
            assert "T:D" in record.getMessage()
        assert "tester@testhost" in lines[0].getMessage()


async def test_refused_plain_put_is_an_exception_at_the_client(client: Client) -> None:
    async def put(value: float) -> None:
        raise Limit("300 K is the most")

    pv = double(rtyp="ao")
    pv.putter = put
    async with serving(pv):
        channel = await client.connect("T:D")
        channel.circuit.send(channel.channel.write([1.0], notify=False))
        while not channel.circuit.errors:
            await client.get("T:D")
        assert channel.circuit.errors == ["ECA_PUTFAIL 300 K is the most"]


async def test_puts_keep_their_order(client: Client) -> None:
    pv = double(rtyp="ao")
    arrived = writable(pv)
    async with serving(pv):
        await asyncio.gather(*(client.put("T:D", float(number)) for number in range(50)))
        assert arrived == [float(number) for number in range(50)]


async def test_read_only(client: Client, libca: Libca) -> None:
    pv = double()
    async with serving(pv):
        assert (await client.connect("T:D")).access == ca.AccessRights.READ
        with pytest.raises(PutFailed) as refusal:
            await client.put("T:D", 1.0)
        assert refusal.value.status == "ECA_NOWTACCESS"
        with pytest.raises(PutFailed, match="ECA_NOWTACCESS"):
            await libca.put("T:D", 1.0)
        with pytest.raises(PutFailed, match="ECA_NOWTACCESS"):
            await client.put("T:D.NAME", "K")
        assert pv.value == 0.0


PUTS: list[tuple[PV, Any, Any]] = [
    (double("P:D", "ao"), " 2.5 ", 2.5),
    (double("P:D", "ao"), 3, 3.0),
    (IntegerPV(info=RecordInfo("longout"), pvname="P:I"), "12", 12),
    (IntegerPV(info=RecordInfo("longout"), pvname="P:I"), 2.7, 2),
    (EnumPV(info=RecordInfo("mbbo", states=STATES), pvname="P:E"), "ON", 1),
    (EnumPV(info=RecordInfo("mbbo", states=STATES), pvname="P:E"), "2", 2),
    (EnumPV(info=RecordInfo("mbbo", states=STATES), pvname="P:E"), 1, 1),
    (StringPV(info=RecordInfo("stringout"), pvname="P:S"), "5 µm", "5 µm"),
    (StringPV(info=RecordInfo("stringout"), pvname="P:S"), 7, "7.000000"),
    (DoubleArrayPV(info=RecordInfo("waveform"), pvname="P:W", max_length=3), [1.0, 2.0], [1.0, 2.0]),
    (DoubleArrayPV(info=RecordInfo("waveform"), pvname="P:W", max_length=3), ["1", "2.5"], [1.0, 2.5]),
]


@pytest.mark.parametrize(("pv", "put", "arrives"), PUTS)
async def test_put_conversions(libca: Libca, pv: PV, put: Any, arrives: Any) -> None:
    arrived = writable(pv)
    async with serving(pv):
        await libca.put(pv.pvname, put)
        (value,) = arrived
        assert np.array_equal(value, arrives) if isinstance(arrives, list) else value == arrives
        assert isinstance(value, np.ndarray if isinstance(arrives, list) else type(arrives))


@pytest.mark.parametrize(
    ("pv", "put"),
    [
        (double("R:D", "ao"), "warm"),
        (IntegerPV(info=RecordInfo("longout"), pvname="R:I"), 3e9),
        (IntegerPV(info=RecordInfo("longout"), pvname="R:I"), math.nan),
        (IntegerPV(info=RecordInfo("longout"), pvname="R:I"), "1_0"),
        (EnumPV(info=RecordInfo("mbbo", states=STATES), pvname="R:E"), "HALF"),
        (EnumPV(info=RecordInfo("mbbo", states=STATES), pvname="R:E"), "3"),
        (EnumPV(info=RecordInfo("mbbo", states=STATES), pvname="R:E"), -1),
        (IntegerArrayPV(info=RecordInfo("waveform"), pvname="R:W", max_length=3), ["x"]),
    ],
)
async def test_puts_that_make_no_sense_never_reach_the_putter(
    client: Client, caplog: pytest.LogCaptureFixture, pv: PV, put: Any
) -> None:
    arrived = writable(pv)
    async with serving(pv):
        with pytest.raises(PutFailed, match="ECA_PUTFAIL"):
            await client.put(pv.pvname, put)
        assert arrived == []
        assert not any(record.exc_info for record in caplog.records)


async def test_a_putter_called_without_a_server_is_refused_by_name() -> None:
    with pytest.raises(PutRefused, match="T:D is read-only"):
        await double().write_from_dbr(np.array([1.0]), ca.ChannelType.DOUBLE, None)


async def test_a_clients_alarm_and_limits_are_refused(client: Client) -> None:
    pv = double(rtyp="ao", **Alarm(high=10).fields, drvl=0, drvh=50)
    arrived = writable(pv)
    async with serving(pv):
        channel = await client.connect("T:D")
        metadata = ca.DBR_TYPES[ca.ChannelType.CTRL_DOUBLE](
            status=5, severity=3, upper_warning_limit=1e6, upper_ctrl_limit=1e6, units=b"bogus"
        )
        request = channel.channel.write(
            [5.0], data_type=ca.ChannelType.CTRL_DOUBLE, data_count=1, metadata=metadata, notify=True
        )
        assert (await channel.circuit.ask(request)).status.name == "ECA_PUTFAIL"
        assert arrived == []
        control = (await client.get("T:D", form="control")).metadata
        assert (control.status, control.upper_warning_limit, control.units) == (AlarmStatus.UDF, 10.0, b"")
        assert control.upper_ctrl_limit == 50.0


async def test_control_metadata(client: Client, libca: Libca) -> None:
    pv = double(
        rtyp="ao",
        egu="mbar l/s at 20 °C",
        prec=3,
        lopr=-1,
        hopr=101,
        drvl=0,
        drvh=100,
        **Alarm(low=1, hihi=99).fields,
    )
    async with serving(pv):
        control = await libca.control("T:D")
        assert control["units"] == "mbar l/"  # seven bytes and a NUL
        assert control["precision"] == 3
        assert (control["lower_disp_limit"], control["upper_disp_limit"]) == (-1, 101)
        assert (control["lower_ctrl_limit"], control["upper_ctrl_limit"]) == (0, 100)
        assert (control["lower_warning_limit"], control["upper_alarm_limit"]) == (1, 99)
        assert math.isnan(control["lower_alarm_limit"])
        assert (await client.get("T:D.EGU")).value == "mbar l/s at 20 °C"
        integer = (await client.get("T:D", form=ca.ChannelType.CTRL_LONG)).metadata
        assert (integer.upper_disp_limit, integer.lower_alarm_limit) == (101, 0)


async def test_enum_strings(client: Client, libca: Libca) -> None:
    pv = EnumPV(info=RecordInfo("mbbi", states=STATES), pvname="T:E")
    async with serving(pv):
        post(pv, 1)
        assert (await libca.get("T:E", as_string=True)).value == "ON"
        assert (await client.get("T:E", form=ca.ChannelType.STRING)).value == "ON"
        control = (await client.get("T:E", form="control")).metadata
        assert list(control.enum_strings) == [b"OFF", b"ON", b"FAULT"]


@pytest.mark.parametrize(
    ("prec", "value", "text"),
    [
        (3, 0.0, "0.000"),
        (0, 2.0, "2"),
        (2, 1e-9, "0.00"),
        (2, -1.5e9, "-1500000000.00"),
        (5, 1e8, "100000000.000"),
        (2, 1e17, " 1.00e+17"),
        (9, 0.5, " 5.000000000e-01"),
        (1, math.nan, "nan"),
    ],
)
async def test_number_as_string(client: Client, prec: int, value: float, text: str) -> None:
    pv = double(prec=prec)
    async with serving(pv):
        post(pv, value)
        assert (await client.get("T:D", form=ca.ChannelType.STRING)).value == text


FIELDS: dict[str, tuple[Any, str]] = {
    "NAME": ("T:D", "STRING"),
    "RTYP": ("ao", "STRING"),
    "DESC": ("Cold finger", "STRING"),
    "EGU": ("K", "STRING"),
    "PREC": (3, "INT"),
    "HOPR": (400.0, "DOUBLE"),
    "LOPR": (0.0, "DOUBLE"),
    "DRVH": (325.0, "DOUBLE"),
    "DRVL": (1.5, "DOUBLE"),
    "HIHI": (320.0, "DOUBLE"),
    "HIGH": (310.0, "DOUBLE"),
    "LOW": (2.0, "DOUBLE"),
    "LOLO": (0.0, "DOUBLE"),
    "HHSV": (2, "ENUM"),
    "HSV": (1, "ENUM"),
    "LSV": (1, "ENUM"),
    "LLSV": (0, "ENUM"),
    "HYST": (0.5, "DOUBLE"),
    "MDEL": (0.1, "DOUBLE"),
    "ADEL": (0.2, "DOUBLE"),
    "STAT": (4, "ENUM"),
    "SEVR": (1, "ENUM"),
    "UDF": (0, "CHAR"),
    "SCAN": (7, "ENUM"),
    "VAL": (315.0, "DOUBLE"),
}


async def test_fields(client: Client, libca: Libca) -> None:
    pv = double(
        rtyp="ao",
        desc="Cold finger",
        egu="K",
        prec=3,
        lopr=0,
        hopr=400,
        drvl=1.5,
        drvh=325,
        **Alarm(low=2, high=310, hihi=320, hysteresis=0.5).fields,
        mdel=0.1,
        adel=0.2,
        scan="0.5",
    )
    async with serving(pv):
        post(pv, 315.0)
        for field, (value, data_type) in FIELDS.items():
            assert (await client.get(f"T:D.{field}")).value == value, field
            assert (await client.connect(f"T:D.{field}")).data_type.name == data_type, field
            assert (await libca.get(f"T:D.{field}")).value == value, field
        assert (await libca.get("T:D.STAT", as_string=True)).value == "HIGH"
        assert (await libca.get("T:D.HHSV", as_string=True)).value == "MAJOR"
        assert (await libca.get("T:D.SCAN", as_string=True)).value == ".5 second"


@pytest.mark.parametrize(
    ("scan", "text"),
    [
        ("Passive", "Passive"),
        ("I/O Intr", "I/O Intr"),
        ("10", "10 second"),
        ("0.1", ".1 second"),
        ("3", "3 second"),
    ],
)
async def test_scan_text(client: Client, scan: str, text: str) -> None:
    async with serving(double(scan=scan)):
        assert (await client.get("T:D.SCAN", form=ca.ChannelType.STRING)).value == text


@pytest.mark.parametrize(
    ("rtyp", "field", "text"),
    [
        ("bo", "ZNAM", "OFF"),
        ("bi", "ONAM", "ON"),
        ("mbbo", "ZRST", "OFF"),
        ("mbbi", "TWST", "FAULT"),
        ("mbbi", "FFST", ""),
    ],
)
def test_state_fields(rtyp: str, field: str, text: str) -> None:
    pv = EnumPV(info=RecordInfo(rtyp, states=STATES), pvname="T:E")
    assert pv.get_field(field).value == text


@pytest.mark.parametrize(
    ("rtyp", "field"), [("ai", "DRVH"), ("ai", "ZNAM"), ("longin", "PREC"), ("ai", "NOPE")]
)
def test_a_field_that_the_record_type_lacks_is_not_found(rtyp: str, field: str) -> None:
    with pytest.raises(KeyError):
        double(rtyp=rtyp).get_field(field)


async def test_monitors_of_alarm_fields_follow(client: Client) -> None:
    pv = double()
    async with serving(pv), client.monitor("T:D.SEVR") as severity, client.monitor("T:D.STAT") as status:
        assert (await severity.next()).value == 3
        assert (await status.next()).value == AlarmStatus.UDF
        post(pv, 1.0, 2.0)
        assert (await severity.next()).value == 0
        assert (await status.next()).value == 0
        pv.fail(AlarmStatus.COMM, time.time())
        assert (await severity.next()).value == 3
        pv.fail(AlarmStatus.TIMEOUT, time.time())
        assert (await status.next()).value == AlarmStatus.COMM
        assert (await status.next()).value == AlarmStatus.TIMEOUT
        assert len(severity.received) == 3


async def test_long_strings(client: Client, libca: Libca) -> None:
    pv = LongTextPV(info=RecordInfo("lso"), pvname="T:L", max_length=200)
    arrived = writable(pv)
    async with serving(pv):
        post(pv, "x" * 120)
        assert (await libca.get("T:L")).value == "x" * 39
        assert (await client.connect("T:L.VAL$")).count == 200
        assert bytes((await client.get("T:L.VAL$")).value) == b"x" * 120 + b"\0"
        assert (await libca.get("T:L.VAL$", as_string=True)).value == "x" * 120
        assert bytes((await client.get("T:L.NAME$")).value) == b"T:L\0"
        await client.put("T:L.VAL$", b"y" * 150 + b"\0", data_type=ca.ChannelType.CHAR)
        assert arrived == ["y" * 150]
        with pytest.raises(PutFailed, match="ECA_PUTFAIL"):
            await client.put("T:L.VAL$", b"y" * 200, data_type=ca.ChannelType.CHAR)
        async with client.monitor("T:L.VAL$") as events:
            assert bytes((await events.next()).value) == b"y" * 150 + b"\0"


async def test_fixed_count_is_padded_with_zeros(client: Client) -> None:
    pv = DoubleArrayPV(info=RecordInfo("waveform"), pvname="T:W", max_length=5)
    async with serving(pv):
        post(pv, [1.0, 2.0])
        channel = await client.connect("T:W")
        answers: asyncio.Queue[Any] = asyncio.Queue()
        request = channel.channel.subscribe(data_type="time", data_count=5)
        channel.circuit.monitor(request, answers.put_nowait)
        async with asyncio.timeout(20):
            assert list((await answers.get()).data) == [1.0, 2.0, 0.0, 0.0, 0.0]


async def test_record_type_and_alarm_acknowledgement(client: Client) -> None:
    pv = double(rtyp="ao")
    writable(pv)
    async with serving(pv):
        name = await client.get("T:D", form=ca.ChannelType.CLASS_NAME)
        assert name.metadata.value == b"ao"
        status = (await client.get("T:D", form=ca.ChannelType.STSACK_STRING)).metadata
        assert (status.status, status.severity, status.acks, status.value) == (17, 3, 0, b"0")
        pv.fail(AlarmStatus.COMM, time.time())
        post(pv, 1.0)
        status = (await client.get("T:D", form=ca.ChannelType.STSACK_STRING)).metadata
        assert (status.severity, status.acks) == (0, 3)


async def test_text_is_served_as_a_number_if_it_is_one_and_costs_the_record_nothing_else(
    client: Client,
) -> None:
    pv = StringPV(info=RecordInfo("stringin"), pvname="T:S")
    async with serving(pv):
        post(pv, "5")
        assert (await client.get("T:S", form=ca.ChannelType.TIME_DOUBLE)).value == 5.0
        async with client.monitor("T:S", form=ca.ChannelType.TIME_DOUBLE) as events:
            await events.next()
            post(pv, "abc", "7")
            assert (await client.get("T:S")).value == "7"
            assert (await events.next()).value == 7.0
        post(pv, "abc")
        with pytest.raises(GetFailed, match="GETFAIL"):
            await client.get("T:S", form=ca.ChannelType.TIME_DOUBLE)


async def test_control_form_of_text_is_as_libca_expects_it(client: Client) -> None:
    pv = StringPV(info=RecordInfo("stringin"), pvname="T:S")
    async with serving(pv):
        post(pv, "text")
        channel = await client.connect("T:S")
        request = channel.channel.read(data_type=ca.ChannelType.CTRL_STRING)
        answer = await channel.circuit.ask(request)
        assert bytes(answer.buffers[0])[:8] == b"\0\0\0\0text"
