"""Driver classes that cannot be right are refused when they are made, with the reason."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from labioc.drivers.core import (
    Channel,
    Channels,
    Command,
    Conversation,
    Driver,
    Enum,
    Fields,
    Float,
    Lines,
    Offset,
    Readback,
    Result,
    Setpoint,
    computed,
    procedure,
)
from labioc.drivers.core.driver import RESERVED
from labioc.drivers.core.errors import AddressError, DefinitionError, LabiocError, UnitError, UserError
from labioc.drivers.lakeshore336 import LakeShore336
from labioc.sim.lakeshore336 import LakeShore336 as Simulator

LINES = Lines(eol="\n", identify=("ID?", "X"))


class Pair(NamedTuple):
    a: float
    b: float


class Base(Channel):
    status = Readback(Float(), ask="S?")


def same_object_twice() -> None:
    class Bad(Driver):
        protocol = LINES
        first = second = Readback(Float(), ask="A?")


def another_classes_object() -> None:
    class Bad(Channel):
        status = Base.status


def same_channels_twice() -> None:
    class Bad(Driver):
        protocol = LINES
        inputs = sensors = Channels(Base, "AB")


def valid_if_of_another_class() -> None:
    class Bad(Channel):
        value = Readback(Float(), ask="V?", valid_if=Base.status == 0)


def refreshes_of_another_class() -> None:
    class Bad(Channel):
        value = Setpoint(Float(), tell="V {value}", refreshes=[Base.status])


def command_refreshes_of_another_class() -> None:
    class Bad(Channel):
        zero = Command(tell="ZERO", refreshes=[Base.status])


def computed_of_another_class() -> None:
    class Bad(Channel):
        @computed(Float(), Base.status)
        def twice(status: float) -> float:
            return 2 * status


class Other(Channel):
    target = Setpoint(Float("mm"), tell="GO {value}")
    found = Result(Float())


def step_to_a_setpoint_of_another_class() -> None:
    class Bad(Channel):
        position = Readback(Float("mm"), ask="POS?")
        move = Offset(Other.target, position)


def result_of_another_class() -> None:
    class Bad(Channel):
        @procedure(Other.found, "GO")
        async def find(self, talk: Conversation) -> float:
            return 0.0


def needed_but_replaced() -> None:
    class Good(Channel):
        status = Readback(Float(), ask="S?")
        value = Readback(Float(), ask="V?", valid_if=status == 0)

    class Bad(Good):
        status = Readback(Float(), ask="T?")


def no_protocol() -> None:
    class Bad(Driver):
        pass


def protocol_of_another_kind() -> None:
    class Bad(Driver):
        protocol = "lines"  # type: ignore[assignment]


def unknown_variant_of_channels() -> None:
    class Bad(Driver):
        protocol = LINES
        inputs = Channels(Base, "AB", variants={"card": "C"})


def channels_of_channels() -> None:
    class Bad(Channel):
        inputs = Channels(Base, "AB")


def wrong_fields() -> None:
    Fields(Pair, a=Float(), c=Float())


def no_value_in_the_command() -> None:
    Setpoint(Float(), tell="V 5")


def unknown_channel() -> None:
    LakeShore336.inputs["E"]


def no_fence() -> None:
    Lines(eol="\n")


def no_terminator() -> None:
    Lines(eol="", max_late=1.0)


def no_regular_expression() -> None:
    Lines(eol="\n", identify=("ID?", "(X"))


def a_text_as_timeout() -> None:
    Lines(eol="\n", timeout="1 s", max_late=1.0)  # type: ignore[arg-type]


def half_an_identity() -> None:
    Lines(eol="\n", identify="*IDN?")  # type: ignore[arg-type]


def limits_the_wrong_way_round() -> None:
    Float("K", limits=(3, 0))


def no_format() -> None:
    Float("K", "%.3f")


def no_enumeration() -> None:
    Enum(int)  # type: ignore[type-var]


def a_class_as_value_type() -> None:
    Readback(Float, ask="T?")  # type: ignore[arg-type]


def no_question() -> None:
    Readback(Float(), ask="")


def channel_of_an_instrument() -> None:
    class Bad(Driver):
        protocol = Lines(eol="\n", max_late=1.0)
        value = Readback(Float(), ask="V? {ch}")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (same_object_twice, "Bad.second and Bad.first are one and the same object"),
        (another_classes_object, "Bad.status and Base.status are one and the same object"),
        (same_channels_twice, "Bad.sensors and Bad.inputs are one and the same object"),
        (valid_if_of_another_class, "Bad.value needs Base.status, which is not in the class"),
        (refreshes_of_another_class, "Bad.value needs Base.status, which is not in the class"),
        (command_refreshes_of_another_class, "Bad.zero needs Base.status, which is not in the class"),
        (computed_of_another_class, "Bad.twice needs Base.status, which is not in the class"),
        (step_to_a_setpoint_of_another_class, "Bad.move needs Other.target, which is not in the class"),
        (result_of_another_class, "Bad.find needs Other.found, which is not in the class"),
        (needed_but_replaced, "Bad.value needs Good.status, which is not in the class"),
        (no_protocol, r"Bad needs a protocol, as in protocol = Lines\(...\)"),
        (protocol_of_another_kind, r"Bad needs a protocol, as in protocol = Lines\(...\)"),
        (unknown_variant_of_channels, "Bad.inputs: .* does not tell how to recognise the variant 'card'"),
        (channels_of_channels, "Bad.inputs: a channel has no channels"),
        (wrong_fields, "Pair has the fields a, b; got types for a, c"),
        (no_value_in_the_command, r"a setpoint's command needs \{value\}, got 'V 5'"),
        (
            unknown_channel,
            "LakeShore336.inputs has no channel 'E'; expected one of A, B, C, D, D2, D3, D4, D5",
        ),
        (no_fence, "a protocol needs identify, or max_late"),
        (no_terminator, "expected a terminator, got ''"),
        (a_text_as_timeout, "expected timeout in seconds, got '1 s'"),
        (half_an_identity, r"expected a question and what its answer must be, got '\*IDN\?'"),
        (limits_the_wrong_way_round, r"expected limits as \(lowest, highest\), got \(3, 0\)"),
        (no_format, "'%.3f' is no format of a number"),
        (no_enumeration, "expected an enumeration, got <class 'int'>"),
        (a_class_as_value_type, r"expected a value type such as Float\(\), got <class"),
        (no_question, "a readback needs a question"),
        (channel_of_an_instrument, r"Bad.value: \{ch\} stands for a channel"),
        (no_regular_expression, r"'\(X' is no regular expression"),
    ],
)
def test_what_cannot_be_right(make: Callable[[], None], text: str) -> None:
    with pytest.raises(DefinitionError, match=text) as caught:
        make()
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("name", sorted(RESERVED))
@pytest.mark.parametrize("attribute", [Readback(Float(), ask="A?"), Channels(Base, "AB")])
def test_the_names_of_labioc_itself_are_reserved(name: str, attribute: object) -> None:
    with pytest.raises(DefinitionError, match=f"Bad.{name}: the name '{name}' is reserved"):
        type("Bad", (Driver,), {"protocol": LINES, name: attribute})
    with pytest.raises(DefinitionError, match=f"Bad.{name}: the name '{name}' is reserved"):
        type("Bad", (Channel,), {name: attribute})


def test_a_parameter_can_be_taken_away() -> None:
    class Plain(Base):
        status = None  # type: ignore[assignment]

    assert Plain.specs == {}


def test_an_unknown_variant_is_named_with_the_known_ones() -> None:
    with pytest.raises(DefinitionError, match="^lakeshore336: unknown variant '3061'; known: 3062$"):
        LakeShore336("tcp://127.0.0.1:1", variant="3061")


def test_an_error_is_also_the_builtin_that_python_users_catch() -> None:
    with pytest.raises(ValueError) as caught:
        LakeShore336("nowhere")
    assert isinstance(caught.value, (AddressError, UserError))
    assert issubclass(UnitError, ValueError)
    assert issubclass(UserError, LabiocError)


async def test_open_and_close() -> None:
    async with Simulator().serve("tcp://127.0.0.1:0") as url:
        async with LakeShore336.open(url, name="cryostat") as controller:
            assert controller.name == "cryostat"
            assert controller.port.identity.startswith("LSCI,MODEL336,")
            assert (
                repr(controller.inputs["A"].temperature) == "<BoundReadback cryostat inputs[A].temperature>"
            )
            for readback in controller.readbacks():
                await readback.read()
        # a second time, on the same simulator: nothing is left behind
        async with LakeShore336.open(url) as controller:
            await controller.read_together(controller.readbacks())
            assert [readback.label for readback in controller.readbacks() if readback.error] == []
