"""Parameters, in transcripts: what is sent for them, and what is made of the answers."""

import asyncio
import socket
import threading
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import pytest

from labioc.drivers.core import (
    Bool,
    Channel,
    Channels,
    Command,
    Driver,
    Fields,
    Float,
    Integer,
    Lines,
    Readback,
    Setpoint,
    Text,
    computed,
)
from labioc.drivers.core.bound import BoundReadback
from labioc.drivers.core.errors import (
    DefinitionError,
    LinkDown,
    MissingChannel,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    UserError,
    ValueTypeError,
)
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.drivers.testing import transcript
from labioc.sim.lakeshore336 import LakeShore336 as Simulator

IDENTITY = "OVEN,1"


class Ramp(NamedTuple):
    on: bool
    rate: float


class Zone(Channel):
    status = Readback(Integer(), ask="STAT? {ch}")
    temperature = Readback(Float("K"), ask="TEMP? {ch}", valid_if=status == 0)
    limit = Setpoint(Float("K", ".1f"), ask="LIM? {ch}", tell="LIM {ch},{value}", refreshes=[temperature])

    @computed(Float("K"), temperature, limit)
    def margin(temperature: float, limit: float) -> float:
        """How far it is from the limit."""
        return limit - temperature


class Oven(Driver):
    protocol = Lines(
        eol="\r\n",
        timeout=1.0,
        identify=("*IDN?", "OVEN,"),
        join=";",
        max_joined=4,
        variants={"wide": "WIDE"},
        confirm=("ERR?", lambda answer: int(answer) == 0),
    )

    zones = Channels(Zone, (1, 2), variants={"wide": (3,)})

    voltage = Readback(Float("V"), ask="VOLT?")
    current = Readback(Float("A"), ask="CURR?")
    power = Setpoint(Float("W", ".1f", limits=(0, 100)), ask="POW?", tell="POW {value}")
    moving = Setpoint(Float("K", ".1f"), ask="SETP?", tell="SETP {value}", verify=False)
    ramp = Setpoint(
        Fields(Ramp, on=Bool(), rate=Float("K/min", ".1f", limits=(0, 10))),
        ask="RAMP?",
        tell="RAMP {value}",
        refreshes=[moving],
    )
    blind = Setpoint(Float("V", ".1f"), tell="BIAS {value}")
    label = Setpoint(Text(), ask="NAME?", tell="NAME {value}")
    stop = Command(tell="STOP", refreshes=[power])

    @computed(Float("ohm"), voltage, current)
    def resistance(voltage: float, current: float) -> float:
        """Of the heater."""
        return voltage / current

    @computed(Float("ohm"), resistance)
    def tenfold(resistance: float) -> float:
        """Computed from something computed."""
        return 10 * resistance

    @computed(Float("V"), voltage, blind)
    def above_bias(voltage: float, blind: float) -> float:
        """With an input that can't be asked for."""
        return voltage - blind


def oven(
    *lines: tuple[str, str | None], variant: str = "", identity: str = IDENTITY
) -> AbstractAsyncContextManager[Oven]:
    return transcript(Oven, lines, identity=identity, variant=variant)


def heard(*readbacks: BoundReadback[Any]) -> list[tuple[str, object]]:
    """Keep what listeners are told: the label and the value, or the kind of error."""
    events: list[tuple[str, object]] = []

    def listen(readback: BoundReadback[Any]) -> None:
        news = type(readback.error).__name__ if readback.error is not None else readback.value
        events.append((readback.label, news))

    for readback in readbacks:
        readback.listeners.append(listen)
    return events


# readbacks


async def test_value_stamp_and_error_stay() -> None:
    async with oven(("VOLT?", "5.0"), ("VOLT?", "OVERFLOW"), ("VOLT?", "6.0")) as d:
        with pytest.raises(LookupError, match="^Oven: voltage was not read yet$"):
            _ = d.voltage.value
        assert d.voltage.stamp == 0
        assert await d.voltage.read() == 5.0
        assert (d.voltage.value, d.voltage.error) == (5.0, None)
        stamp = d.voltage.stamp
        with pytest.raises(ReplyError):
            await d.voltage.read()
        assert (d.voltage.value, d.voltage.stamp) == (5.0, stamp)
        assert isinstance(d.voltage.error, ReplyError)
        assert await d.voltage.read() == 6.0
        assert d.voltage.error is None


async def test_a_condition_is_asked_in_the_same_exchange() -> None:
    async with oven(("STAT? 1;TEMP? 1", "0;77.35"), ("STAT? 1;TEMP? 1", "16;0.0")) as d:
        zone = d.zones[1]
        assert await zone.temperature.read() == 77.35
        assert zone.status.value == 0
        events = heard(zone.temperature, zone.margin)
        with pytest.raises(
            ReadingInvalid, match=r"^Oven: zones\[1\].temperature: not valid, since .* is 16$"
        ):
            await zone.temperature.read()
        # nobody was shown the value in between
        assert events[0] == ("zones[1].temperature", "ReadingInvalid")
        assert ("zones[1].margin", 0.0) not in events


async def test_a_condition_that_does_not_parse_spoils_what_depends_on_it() -> None:
    async with oven(("STAT? 1;TEMP? 1", "?;77.35")) as d:
        with pytest.raises(ReplyError, match=r"zones\[1\].status: 'STAT\? 1' was answered with '\?'"):
            await d.zones[1].temperature.read()


async def test_computed_from_several_in_one_exchange() -> None:
    async with oven(("VOLT?;CURR?", "10.0;2.0")) as d:
        events = heard(d.resistance)
        assert await d.resistance.read() == 5.0
        assert events == [("resistance", 5.0)]
        assert d.tenfold.value == 50.0


async def test_computed_from_what_has_a_condition_or_is_computed() -> None:
    lines = [("STAT? 2;TEMP? 2;LIM? 2", "0;300.0;400.0"), ("STAT? 2;TEMP? 2;LIM? 2", "1;300.0;400.0")]
    async with oven(*lines, ("VOLT?;CURR?", "10.0;2.0")) as d:
        events = heard(d.zones[2].margin)
        assert await d.zones[2].margin.read() == 100.0
        with pytest.raises(ReadingInvalid, match=r"zones\[2\].temperature: not valid"):
            await d.zones[2].margin.read()
        assert events == [("zones[2].margin", 100.0), ("zones[2].margin", "ReadingInvalid")]
        assert await d.tenfold.read() == 50.0


async def test_computed_when_an_input_fails_or_the_function_does() -> None:
    async with oven(("VOLT?;CURR?", "10.0;x"), ("VOLT?;CURR?", "10.0;0.0")) as d:
        with pytest.raises(ReplyError, match="^Oven: current: 'CURR\\?' was answered with 'x'"):
            await d.resistance.read()
        with pytest.raises(ReplyError, match="^Oven: resistance: does not compute: ZeroDivisionError"):
            await d.resistance.read()


async def test_computed_before_an_input_is_known() -> None:
    async with oven(("VOLT?", "5.0"), ("BIAS 2.0;ERR?", "0")) as d:
        with pytest.raises(ReadingInvalid, match="^Oven: above_bias: not known before blind has a value$"):
            await d.above_bias.read()
        await d.blind.write(2)
        assert d.above_bias.value == 3.0


# writes


async def test_a_write_is_confirmed_and_read_back_in_one_exchange() -> None:
    async with oven(("POW 5.5;ERR?;POW?", "0;5.5")) as d:
        await d.power.write(5.5)
        assert d.power.value == 5.5


async def test_the_instrument_refuses() -> None:
    async with oven(("POW 5.5;ERR?;POW?", "16;5.0")) as d:
        with pytest.raises(RefusedError, match="^Oven: power: refused: after 'POW 5.5' ERR\\? answers '16'$"):
            await d.power.write(5.5)
        assert d.power.value == 5.0


async def test_the_instrument_keeps_another_value() -> None:
    async with oven(("POW 5.5;ERR?;POW?", "0;5.0")) as d:
        with pytest.raises(RefusedError, match="^Oven: power: refused: sent '5.5', the instrument kept 5.0$"):
            await d.power.write(5.5)


async def test_the_instrument_may_keep_another_value_where_the_manual_says_so() -> None:
    async with oven(("SETP 100.0;ERR?;SETP?", "0;20.3")) as d:
        await d.moving.write(100)
        assert d.moving.value == 20.3


async def test_a_confirmation_that_makes_no_sense() -> None:
    async with oven(("POW 5.5;ERR?;POW?", "what;5.5")) as d:
        with pytest.raises(ReplyError, match="^Oven: power: 'ERR\\?' was answered with 'what'$"):
            await d.power.write(5.5)


async def test_a_write_that_cannot_be_read_back_is_the_value() -> None:
    async with oven(("BIAS 2.0;ERR?", "0")) as d:
        events = heard(d.blind)
        await d.blind.write(2)
        assert events == [("blind", 2.0)]
        with pytest.raises(DefinitionError, match="^Oven: blind can't be asked for$"):
            await d.blind.read()


async def test_a_write_refreshes_what_it_changes_with_its_condition() -> None:
    async with oven(("LIM 1,300.0;ERR?;LIM? 1;STAT? 1;TEMP? 1", "0;300.0;0;77.35")) as d:
        zone = d.zones[1]
        await zone.limit.write(300)
        assert (zone.limit.value, zone.status.value, zone.temperature.value) == (300.0, 0, 77.35)


class Cart(Driver):
    protocol = Lines(
        eol="\r\n",
        timeout=1.0,
        identify=("*IDN?", "CART"),
        join=";",
        confirm=("ERR?", lambda answer: int(answer) == 0),
    )

    place = Setpoint(Float("mm", ".1f"), before="STOP", tell="SET {value}", ask="POS?")


async def test_a_command_goes_before_a_write() -> None:
    lines = (("STOP;ERR?", "0"), ("SET 2.0;ERR?;POS?", "0;2.0"))
    async with transcript(Cart, lines, identity="CART") as cart:
        await cart.place.write(2)
        assert Cart.place.wire("") == ["STOP; SET {value}", "POS?"]


async def test_nothing_is_written_if_what_goes_before_is_refused() -> None:
    async with transcript(Cart, [("STOP;ERR?", "5")], identity="CART") as cart:
        with pytest.raises(RefusedError, match="after 'STOP' ERR. answers '5'"):
            await cart.place.write(2)


async def test_a_command_refreshes_what_it_changes() -> None:
    async with oven(("STOP;ERR?;POW?", "0;0.0"), ("STOP;ERR?;POW?", "32;5.0")) as d:
        await d.stop.execute()
        assert d.power.value == 0.0
        with pytest.raises(RefusedError, match="^Oven: stop: refused: after 'STOP' ERR\\? answers '32'$"):
            await d.stop.execute()


def no_or_answer(question: str, reply: str) -> str:
    if reply == "NO":
        raise RefusedError("it says NO")
    return reply


class Polite(Driver):
    """It refuses in words."""

    protocol = Lines(eol="\n", identify=("*IDN?", "OVEN"), match=no_or_answer, accepted=lambda _: True)
    power = Readback(Float("W"), ask="POW?")
    fan = Readback(Float("rpm"), ask="FAN?")
    level = Setpoint(Float("%", ".1f"), ask="LEV?", tell="LEV {value}", refreshes=[power, fan])
    stop = Command(tell="STOP", refreshes=[power, fan])


async def test_what_cannot_be_asked_after_a_command_is_no_refusal_of_the_command() -> None:
    lines = [("STOP", "OK"), ("POW?", "NO"), ("FAN?", "50")]
    lines += [("LEV 5.0", "OK"), ("LEV?", "5.0"), ("POW?", "1"), ("FAN?", "NO")]
    lines += [("STOP", "NO"), ("LEV 6.0", "NO"), ("LEV 7.0", "OK"), ("LEV?", "NO")]
    async with transcript(Polite, lines, identity=IDENTITY) as d:
        events = heard(d.power)
        await d.stop.execute()
        assert repr(d.power.error) == """ReadingInvalid("Polite: power: it says NO; sent b'POW?\\\\n'")"""
        assert d.fan.is_known
        assert d.fan.value == 50.0
        await d.level.write(5)
        assert d.power.is_known
        assert (d.level.value, d.power.value) == (5.0, 1.0)
        assert isinstance(d.fan.error, ReadingInvalid)
        assert [name for name, _ in events] == ["power", "power"]
        for write in (d.stop.execute(), d.level.write(6), d.level.write(7)):
            with pytest.raises(RefusedError, match="it says NO"):
                await write


async def test_some_fields_are_changed_and_the_others_kept() -> None:
    lines = [("RAMP?", "1,2.5"), ("RAMP 1,5.0;ERR?;RAMP?;SETP?", "0;1,5.0;20.0")]
    async with oven(*lines, ("RAMP?", "1,5.0")) as d:
        await d.ramp.update(rate=5)
        assert d.ramp.value == Ramp(True, 5.0)
        with pytest.raises(ValueTypeError, match="^Oven: ramp: there is no field 'speed'$"):
            await d.ramp.update(speed=5)
        with pytest.raises(ValueTypeError, match="^Oven: power: there is no field 'rate'$"):
            await d.power.update(rate=5)
        with pytest.raises(ValueError, match="^Oven: ramp: rate: 11 is beyond the limits 0 to 10 K/min$"):
            await d.ramp.update(rate=11)


async def test_assignment_is_a_clear_error() -> None:
    async with oven() as d:
        with pytest.raises(
            AttributeError, match=r"^power is not assigned to: use await power.write\(...\), or put"
        ):
            d.power = 5  # type: ignore[assignment]


async def test_a_condition_is_not_a_truth() -> None:
    with pytest.raises(TypeError, match="a condition on a readback is for valid_if"):
        bool(Oven.power == 5)


# several together


async def test_read_together_joins_what_the_instrument_takes() -> None:
    lines = [("VOLT?;CURR?;POW?;SETP?", "1;2;3;4"), ("STAT? 1;TEMP? 1", "0;5")]
    async with oven(*lines) as d:
        await d.read_together([d.resistance, d.voltage, d.power, d.moving, d.zones[1].temperature])
        assert d.resistance.value == 0.5
        assert (d.power.value, d.moving.value, d.zones[1].temperature.value) == (3, 4, 5)


async def test_a_question_that_is_not_answered_spoils_the_others_only_once() -> None:
    lines: list[tuple[str, str | None]] = [
        ("VOLT?;CURR?;POW?;SETP?", "1;3;4"),  # the instrument skips what it does not know
        *[("VOLT?", "1"), ("CURR?", None), ("POW?", "3"), ("SETP?", "4")],
        *[("VOLT?", "5"), ("CURR?", None), ("POW?;SETP?", "6;7")],
    ]
    async with oven(*lines) as d:
        together = [d.voltage, d.current, d.power, d.moving]
        await d.read_together(together)
        assert all(isinstance(readback.error, ReplyError) for readback in together)
        for _ in range(2):
            with pytest.raises(ReplyTimeout, match="^Oven: current: no reply"):
                await d.read_together(together)
            assert [readback.error is None for readback in together] == [True, False, True, True]
        assert [d.voltage.value, d.power.value, d.moving.value] == [5, 6, 7]


async def test_what_goes_wrong_with_one_stays_on_it() -> None:
    async with oven(("VOLT?;POW?", "x;3.0")) as d:
        await d.read_together([d.voltage, d.power])
        assert isinstance(d.voltage.error, ReplyError)
        assert d.power.value == 3.0


async def test_a_closed_link_stands_on_everything() -> None:
    async with oven(("VOLT?", "5.0")) as d:
        await d.voltage.read()
    for readback in d.readbacks():
        assert isinstance(readback.error, LinkDown)
    assert d.voltage.value == 5.0
    with pytest.raises(LinkDown):
        await d.read_together([d.voltage])


# channels and variants


async def test_channels_of_a_variant() -> None:
    async with oven(("STAT? 3", "7"), variant="wide", identity="OVEN,1,WIDE") as d:
        assert list(d.zones) == [1, 2, 3]
        assert await d.zones[3].status.read() == 7
    async with oven() as d:
        assert list(d.zones) == [1, 2]
        with pytest.raises(
            MissingChannel, match=r"^Oven.zones\[3\] does not exist: it comes with the variant 'wide'$"
        ):
            _ = d.zones[3]
        with pytest.raises(MissingChannel, match=r"^Oven.zones\[4\] does not exist: expected one of 1, 2$"):
            _ = d.zones[4]


# for scripts


async def test_the_face_for_scripts() -> None:
    def script(url: str) -> str:
        with LakeShore336.connect(url) as controller:
            controller.outputs[1].setpoint.put(20.0)
            controller.reset_extremes.run()
            with pytest.raises(ValueError, match="beyond the limits 0 to 9999 K"):
                controller.outputs[1].setpoint.put(-1)
            value = controller.outputs[1].setpoint.get()
            label = controller.inputs["A"].label.get()
        with pytest.raises(UserError, match="need a driver from connect"):
            controller.inputs["A"].label.get()
        return f"{label}: {value}"

    async with Simulator().serve("tcp://127.0.0.1:0") as url:
        assert await asyncio.to_thread(script, url) == "Input A: 20.0"


async def test_the_face_for_scripts_on_an_event_loop_is_a_clear_error() -> None:
    async with oven() as d:
        with pytest.raises(UserError, match="on an event loop use await read"):
            d.voltage.get()
        with pytest.raises(UserError, match="on an event loop use await read"):
            d.power.put(5)
        with pytest.raises(UserError, match="on an event loop use await read"):
            d.stop.run()
    with pytest.raises(UserError, match="on an event loop use: async with open"):
        with Oven.connect("tcp://127.0.0.1:1"):
            pytest.fail("it must not connect")


def test_a_script_whose_instrument_is_off() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(LinkDown, match="oven: cannot connect: Connection refused"):
            with Oven.connect(url):
                pytest.fail("nobody listens there")


class Masked(Driver):
    """Bit 1 is a fault of the probe, bit 2 says that the heater is on."""

    protocol = Lines(eol="\n", join=";", identify=("*IDN?", "MASKED"))
    status = Readback(Integer(), ask="STAT?")
    temperature = Readback(Float("K"), ask="TEMP?", valid_if=status.where(lambda bits: not bits & 1))


async def test_a_reading_that_is_not_valid_leaves_the_last_good_value_and_its_time() -> None:
    lines = [("STAT?;TEMP?", "2;77.3"), ("STAT?;TEMP?", "3;0.0")]
    async with transcript(Masked, lines, identity="MASKED") as masked:
        assert await masked.temperature.read() == 77.3
        good = masked.temperature.stamp
        with pytest.raises(ReadingInvalid, match="not valid, since status is 3"):
            await masked.temperature.read()
        assert (masked.temperature.value, masked.temperature.stamp) == (77.3, good)


class Voltage(Float):
    """A voltage, or OL."""

    def decode(self, text: str) -> float:
        if text == "OL":
            raise ReadingInvalid("overload")
        return super().decode(text)


class Voltmeter(Driver):
    protocol = Lines(eol="\n", identify=("*IDN?", "VOLT"))
    voltage = Readback(Voltage("V"), ask="V?")


async def test_a_text_that_says_that_there_is_no_reading_is_an_answer_like_any_other() -> None:
    lines = [("V?", "1.5"), ("V?", "OL"), ("V?", "2.5")]
    async with transcript(Voltmeter, lines, identity="VOLT") as meter:
        assert await meter.voltage.read() == 1.5
        with pytest.raises(ReadingInvalid, match="voltage: overload$"):
            await meter.voltage.read()
        assert (meter.voltage.value, meter.port.is_up) == (1.5, True)
        assert await meter.voltage.read() == 2.5


async def test_a_first_reading_that_is_not_valid_leaves_no_value() -> None:
    async with transcript(Masked, [("STAT?;TEMP?", "1;0.0")], identity="MASKED") as masked:
        with pytest.raises(ReadingInvalid):
            await masked.temperature.read()
        with pytest.raises(LookupError, match="was not read yet"):
            _ = masked.temperature.value


async def test_an_error_that_was_another_clients_does_not_refuse_what_the_instrument_has() -> None:
    async with oven(("POW 5.5;ERR?;POW?", "32;5.5")) as d:
        await d.power.write(5.5)
        assert d.power.value == 5.5


async def test_a_field_is_read_and_written_in_one_turn() -> None:
    simulator = Simulator()
    async with simulator.serve("tcp://127.0.0.1:0") as url, LakeShore336.open(url) as controller:
        simulator.log.clear()
        output = controller.outputs[1]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(output.pid.update(p=10.0))
            tasks.create_task(output.pid.update(i=11.0))
            tasks.create_task(output.manual.read())
        assert (output.pid.value.p, output.pid.value.i) == (10.0, 11.0)
        order = [command.split()[0] for command in simulator.log]
        assert order.index("MOUT?") > len(order) - 1 - order[::-1].index("PID")


async def test_a_listener_that_raises_is_logged_once_and_harms_no_reading(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(readback: BoundReadback[Any]) -> None:
        raise RuntimeError("a bug of somebody's")

    lines = [("STAT?;TEMP?", "0;77.3"), ("STAT?;TEMP?", "0;78.4")]
    async with transcript(Masked, lines, identity="MASKED") as masked:
        masked.temperature.listeners.append(fail)
        assert await masked.temperature.read() == 77.3
        assert await masked.temperature.read() == 78.4
    assert caplog.text.count("a listener fails") == 1


def test_a_script_sets_one_field_of_several() -> None:
    address: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with Simulator().serve("tcp://127.0.0.1:0") as url:
            address.append(url)
            ready.set()
            await asyncio.get_running_loop().run_in_executor(None, done.wait)

    server = threading.Thread(target=asyncio.run, args=(serve(),))
    server.start()
    try:
        assert ready.wait(20)
        controller = LakeShore336.connect(address[0])
        controller.outputs[1].pid.put_fields(p=60.0)
        assert controller.outputs[1].pid.get().p == 60.0
        controller.disconnect()
        with pytest.raises(UserError):
            controller.outputs[1].pid.get()
    finally:
        done.set()
        server.join()
