"""Pfeiffer Vacuum digital gauges: CPT (piezo), PPT (Pirani), RPT (piezo and Pirani), HPT (Pirani and hot cathode) and
MPT (Pirani and cold cathode), series 100 and 200.

Source: PPT 100 operating instructions, 6.2 parameters of the series 100, 6.3 protocol; MPT 200 operating instructions.
What all gauges have is in `PfeifferGauge`; a variant adds what its model has besides.
"""

import enum
from collections.abc import Iterable

from .core import Bool, Channel, Channels, Driver, Enum, Rewritten, Text, computed
from .core.errors import ReadingInvalid
from .pfeiffer_vacuum import (
    Fault,
    Telegrams,
    UExpoNew,
    boolean_new,
    choice,
    entry,
    fault_of,
    named,
    setting,
    status,
    string,
    string16,
    u_expo_new,
    u_real,
)

NONE: tuple[str, ...] = ()
NAMES = {"A1": "CPT100", "A2": "RPT100", "A3": "PPT100", "A4": "HPT100", "A5": "MPT100"}
MODELS = [*(name.lower() for name in NAMES.values()), "cpt200", "ppt200", "rpt200", "hpt200", "mpt200"]
ERRORS = {"Err001": "sensor defective", "Err002": "memory defective"}


class AdjustPoint(enum.IntEnum):
    """Parameter 741: what the pressure that is written next adjusts."""

    ZERO = 0
    ATMOSPHERE = 1


class Transition(enum.IntEnum):
    """Parameter 049: how the reading goes from one sensor to the other."""

    DIRECT = 0
    CONTINUOUS = 1


class MeasuredPressure(UExpoNew):
    """Parameter 740: six zeros are below the measuring range, six nines above it."""

    def decode(self, text: str) -> float:
        """Return the pressure. Raises ReadingInvalid out of the measuring range."""
        beyond = {"000000": "below", "999999": "above"}.get(text)
        if beyond is not None:
            raise ReadingInvalid(f"{text}: {beyond} the measuring range")
        return super().decode(text)


def is_well(code: str) -> bool:
    """Tell from the error code whether there is a pressure."""
    return not code.startswith("Err")


def name_of(text: str) -> str:
    """Return the name of a model. The series 100 answers a letter and a digit for it (349)."""
    return NAMES.get(text.strip(), text)


def answers(model: str) -> str:
    """Return what a model answers for its name: not what another one does."""
    codes = [code for code, name in NAMES.items() if name.lower() == model]
    return "|".join([*codes, f"{model[:3].upper()} ?{model[3:]}", "^(?!.*([A-Z]PT|A[1-5]))"])


def models(key: str, *beginnings: str) -> dict[str, Iterable[str]]:
    """Return the key of a channel for every model whose name begins, or ends, so."""
    return {name: (key,) for name in MODELS if name.startswith(beginnings) or name.endswith(beginnings)}


class Pirani(Channel):
    """All but CPT."""

    correction = setting(742, u_real(limits=(0.2, 8)), doc="Gas correction of the Pirani")


class TwoSensors(Channel):
    """RPT, HPT and MPT."""

    transition = setting(49, choice(Transition), doc="From one sensor to the other")


class HighVacuum(Channel):
    """HPT and MPT: the hot or cold cathode."""

    correction = setting(743, u_real(limits=(0.2, 8)), doc="Gas correction of the high vacuum sensor")


class HighVacuum100(HighVacuum):
    """In the series 100."""

    on = setting(41, Bool(on="001", off="000"), doc="High vacuum sensor on or off")


class HighVacuum200(HighVacuum):
    """In the series 200."""

    on = setting(41, boolean_new(), doc="High vacuum sensor on or off")


class HotCathode(Channel):
    """HPT."""

    degas = setting(40, boolean_new(), doc="Degas the hot cathode")


class Series200(Channel):
    """What every gauge of the series 200 has besides."""

    hardware = status(354, string(), doc="Hardware version")
    serial_number = status(355, string16(), doc="Serial number")
    order_number = status(388, string16(), doc="Order number")
    switch_point_1 = setting(730, u_expo_new("hPa", limits=(0, 1200)), doc="Switching threshold 1")
    switch_point_2 = setting(732, u_expo_new("hPa", limits=(0, 1200)), doc="Switching threshold 2")


class PfeifferGauge(Driver):
    """Pfeiffer Vacuum digital gauge: CPT, PPT, RPT, HPT, MPT, series 100 and 200."""

    # any name but a pump's is a gauge's
    protocol = Telegrams(
        identify=named(r"(?!\s*T[CM])"), variants={model: answers(model) for model in MODELS}
    )

    pirani = Channels(Pirani, NONE, variants=models("pirani", "ppt", "rpt", "hpt", "mpt"))
    sensors = Channels(TwoSensors, NONE, variants=models("two", "rpt", "hpt", "mpt"))
    high_vacuum_100 = Channels(HighVacuum100, NONE, variants=models("100", "hpt100", "mpt100"))
    high_vacuum_200 = Channels(HighVacuum200, NONE, variants=models("200", "hpt200", "mpt200"))
    hot_cathode = Channels(HotCathode, NONE, variants=models("hot", "hpt"))
    series_200 = Channels(Series200, NONE, variants=models("200", "200"))

    error = status(303, string(), doc="Error code")
    firmware = status(312, string(), doc="Software version")
    model = status(349, Rewritten(string(), name_of), doc="Device designation")
    pressure = status(740, MeasuredPressure("hPa"), valid_if=error.where(is_well), doc="Pressure")
    adjust_point = entry(741, choice(AdjustPoint), doc="What the next ADJUST adjusts")
    adjust = entry(
        740, u_expo_new("hPa", limits=(0, 1200)), refreshes=[pressure], doc="Make this the reading"
    )

    @computed(Enum(Fault), error)
    def fault(error: str) -> Fault:
        """Whether the gauge has a fault."""
        return fault_of(error)

    @computed(Text(), error)
    def error_text(error: str) -> str:
        """What the error code means."""
        return "" if fault_of(error) is Fault.NONE else ERRORS.get(error, "unknown")
