"""Variants of an instrument that are asked otherwise, or have less."""

import pytest
from tests.ca import Client

from labioc.devices.core import Device, pv
from labioc.devices.core.table import describe
from labioc.drivers.core import Channel, Driver, Float, Lines, Readback, Setpoint, computed
from labioc.drivers.core.errors import DefinitionError, MissingChannel
from labioc.iocs.core import Host, Instrument, InstrumentConfig
from labioc.sim.core import Command, LineSimulator


class Bath(Driver):
    """The old series has the power elsewhere, and no sensor."""

    protocol = Lines(eol="\n", timeout=0.5, identify=("ID", "BATH"), variants={"old": "OLD"})
    power = Readback(Float("W"), ask="P1", variants={"old": "P2"})
    sensor = Readback(Float("degC"), ask="P2", variants={"old": None})
    limit = Setpoint(Float("degC", ".1f"), ask="L", tell="L {value}", variants={"old": None})
    setpoint = Setpoint(Float("degC", ".1f"), ask="S", tell="S {value}", refreshes=[limit])

    @computed(Float("degC"), sensor, setpoint)
    def distance(sensor: float, setpoint: float) -> float:
        """From the setpoint."""
        return sensor - setpoint


class BathPVs(Device):
    """Its PVs."""

    power = pv(Bath.power, name="POWER")
    sensor = pv(Bath.sensor, name="SENSOR")
    limit = pv(Bath.limit, name="LIMIT")
    setpoint = pv(Bath.setpoint, name="SETP")
    distance = pv(Bath.distance, name="DISTANCE")


class OldSimulator(LineSimulator):
    """A bath of the old series."""

    terminators_in = terminator_out = b"\n"

    @Command("ID")
    def _id(self) -> str:
        return "BATH OLD"

    @Command("P2")
    def _power(self) -> str:
        return "15.5"

    @Command("S")
    def _setpoint(self) -> str:
        return "20.0"


INSTRUMENT = Instrument("bath", Bath, BathPVs, lambda variant: OldSimulator(), "tcp://127.0.0.1:1")


async def test_an_old_bath_is_asked_otherwise_and_has_less(
    ca_environment: dict[str, str], client: Client
) -> None:
    sim = OldSimulator()
    async with sim.serve("tcp://127.0.0.1:0") as url:
        config = InstrumentConfig(instrument=INSTRUMENT, url=url, prefix="B:", name="bath", variant="old")
        async with Host([config]) as host:
            assert (await client.get("B:POWER")).value == 15.5
            assert {name for name in host.pvs if name[2:].count(":") == 0} >= {
                "B:POWER",
                "B:SETP",
                "B:SETP_RBV",
            }
            assert not {"B:SENSOR", "B:LIMIT", "B:LIMIT_RBV", "B:DISTANCE"} & set(host.pvs)
            driver = host.units[0].driver
            assert isinstance(driver, Bath)
            with pytest.raises(MissingChannel, match="the variant 'old' has no sensor"):
                _ = driver.sensor
        assert set(sim.log) == {"ID", "P2", "S"}


def test_the_table_shows_what_the_variant_is_asked() -> None:
    for variant, rows in (
        ("", ["P1", "P2", "L {value}", "L", "S {value}", "S", "P2; S"]),
        ("old", ["P2", "S {value}", "S"]),
    ):
        device = BathPVs("B:", driver=Bath("tcp://h:1", variant=variant))
        assert [row[-1] for row in describe(device) if row[-1]] == rows


def test_what_cannot_be() -> None:
    with pytest.raises(DefinitionError, match="does not tell how to recognise the variant 'new'"):

        class Unknown(Driver):
            protocol = Bath.protocol
            power = Readback(Float(), ask="P", variants={"new": "Q"})

    with pytest.raises(DefinitionError, match="variants= is for an instrument, not its channels"):

        class Input(Channel):
            value = Readback(Float(), ask="V {ch}", variants={"old": None})
