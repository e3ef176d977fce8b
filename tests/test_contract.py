"""What every bundled instrument promises: its driver against its simulator, parameter by parameter."""

import asyncio
import enum
import importlib
import math
from collections.abc import Iterator
from typing import Any

import pytest

from labioc.devices.core.table import describe
from labioc.drivers.core import Bool, Enum, Fields, Flags, Float, Integer, Rewritten, Text, ValueType
from labioc.drivers.core.bound import BoundReadback
from labioc.drivers.core.driven import BoundSetpoint
from labioc.drivers.core.errors import LimitError, RefusedError
from labioc.iocs.core.instrument import bundled_names, find_instrument

PATIENCE = 20.0

INSTRUMENTS = bundled_names()
SPECS = [
    pytest.param(name, prefix, spec_name, id=f"{name}-{prefix}{spec_name}")
    for name in INSTRUMENTS
    for prefix, block in [
        ("", find_instrument(name).driver),
        *(
            (f"{key}.", channels.kind)
            for key, channels in find_instrument(name).driver.channel_specs().items()
        ),
    ]
    for spec_name in block.specs
]


def bound_of(driver: Any, prefix: str, name: str) -> list[Any]:
    """Return the bound parameter, one for each channel."""
    blocks = [driver] if not prefix else list(driver.channels[prefix.rstrip(".")].values())
    return [block.parameters[name] for block in blocks]


def others(value_type: ValueType[Any], now: Any) -> Iterator[Any]:
    """Go through values that differ from the present one, the likeliest first."""
    low, high = value_type.limits or (0, 100)
    match value_type:
        case Fields():
            yield from (
                now._replace(**{name: other})
                for name, field in value_type.fields.items()
                for other in others(field, getattr(now, name))
            )
        case Rewritten():
            yield from others(value_type.value, now)
        case Bool():
            yield not now
        case Enum():
            yield from (state for state in value_type.states if state != now)
        case Flags():
            yield from (bit for bit in value_type.bits if bit != now)
        case Integer():
            yield from (n for n in range(int(low), int(high) + 1) if n != now)
        case Float():
            near = () if now is None or not math.isfinite(now) else (now + 1, now - 1, now / 2)
            far = (low + (high - low) / 3, (now or 0) + (high - low) / 1000)
            yield from (float(x) for x in (*near, *far) if low <= x <= high and x != now)
        case Text():
            yield "Other"
        case _:
            raise NotImplementedError(f"how does one vary a {value_type}?")


@pytest.mark.parametrize("where", ["tcp://127.0.0.1:0", "pty:"])
@pytest.mark.parametrize("name", INSTRUMENTS)
async def test_every_parameter_is_read_over_tcp_and_over_a_serial_line(name: str, where: str) -> None:
    instrument = find_instrument(name)
    for variant in ("", *instrument.driver.protocol.variants):
        async with instrument.simulator(variant).serve(where) as url:
            async with instrument.driver.open(url, variant=variant, address=instrument.address) as driver:
                await driver.read_together(driver.readbacks())
                assert not {r.label: str(r.error) for r in driver.readbacks() if r.error is not None}


@pytest.mark.parametrize(("name", "prefix", "spec"), SPECS)
async def test_every_parameter_does_what_it_says(name: str, prefix: str, spec: str) -> None:
    """Every setpoint is written and read back; every readback follows a change of the simulated world."""
    instrument = find_instrument(name)
    world = importlib.import_module(f"tests.worlds.{name}")
    changes, before = world.CHANGES, getattr(world, "BEFORE", {}).get(f"{prefix}{spec}")
    kind = getattr(world, "DRIVER", instrument.driver)  # the same without pauses, which only take time here
    variant, keys = "", range(0)
    for variant in ("", *instrument.driver.protocol.variants):  # some parameters come with a variant only
        driver = kind("tcp://h:1", variant=variant, address=instrument.address)
        if keys := range(len(bound_of(driver, prefix, spec))):
            break
    for index in keys:
        simulator = instrument.simulator(variant)
        async with asyncio.timeout(PATIENCE), simulator.serve("tcp://127.0.0.1:0") as url:
            async with kind.open(url, variant=variant, address=instrument.address) as driver:
                bound = bound_of(driver, prefix, spec)[index]
                if before is not None:  # other settings stand against it
                    await before(driver, simulator, bound.block.key)
                if isinstance(bound, BoundSetpoint):
                    await write_another_value(bound, simulator)
                elif isinstance(bound, BoundReadback):
                    change = changes.get(f"{prefix}{spec}")
                    assert change is not None, (
                        f"tests/worlds/{name}.py does not say how {prefix}{spec} changes"
                    )
                    shows = await change(driver, simulator, bound.block.key)
                    while not shows(await read_anyway(bound)):
                        pass
                else:
                    await bound.execute()


async def write_another_value(bound: BoundSetpoint[Any], simulator: Any) -> None:
    now = await bound.read() if bound.asked else None
    simulator.log.clear()
    candidates = list(others(bound.value_type, now))
    for value in candidates:
        try:
            await bound.write(value)
        except (RefusedError, LimitError):
            continue  # other settings stand against it
        if not bound.asked or await bound.read() != now:
            break  # else it is the same, to the resolution of the instrument
    else:
        if bound.asked:
            pytest.fail(f"{bound.label} took none of {candidates}")
    assert simulator.log
    if bound.asked:
        kept = await bound.read()
        assert bound.agrees(value, kept)
        assert kept != now


async def read_anyway(bound: BoundReadback[Any]) -> Any:
    """Read a value, also one that the instrument marks as not valid."""
    try:
        return await bound.read()
    except ValueError:
        return bound.error


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_parameter_has_a_pv_or_is_left_out_knowingly(name: str) -> None:
    instrument = find_instrument(name)
    device = instrument.device("P:", driver=instrument.driver("tcp://h:1", address=instrument.address))
    rows = describe(device)
    assert len({row[0] for row in rows}) == len(device.pvdb)
    for pv_name in device.pvdb:
        assert len(pv_name) < 60
        assert pv_name == pv_name.upper()


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_enum_labels_fit_channel_access(name: str) -> None:
    instrument = find_instrument(name)
    device = instrument.device("P:", driver=instrument.driver("tcp://h:1", address=instrument.address))
    for pv in device.pvdb.values():
        assert len(pv.info.states) <= 16
        assert all(len(state) < 26 for state in pv.info.states)
        assert len(pv.info.egu) <= 15
        assert not isinstance(pv.info.states, enum.Enum)
