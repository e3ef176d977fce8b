"""Definitions: one line of a device each, which parameter becomes which PV."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from labioc.drivers.core import units
from labioc.drivers.core.arrays import Array, frozen
from labioc.drivers.core.errors import DefinitionError
from labioc.drivers.core.parameters import Command, Condition, Parameter, Readback, Setpoint
from labioc.drivers.core.procedure import Result
from labioc.drivers.core.rewritten import Rewritten
from labioc.drivers.core.values import Bool, Enum, Fields, Flags, Float, Integer, Text, ValueType

from ._caproto import MAX_STATES
from ._pvgroup import pvproperty
from .pv import PV
from .records import (
    Alarm,
    AlarmSeverity,
    DoubleArrayPV,
    DoublePV,
    EnumPV,
    FloatArrayPV,
    Integer64PV,
    IntegerArrayPV,
    IntegerPV,
    LongTextPV,
    RecordInfo,
    StringPV,
)

Stopped = Setpoint[Any] | Command

STRING_LENGTH = 39
LONG_TEXT_LENGTH = 256
DESC_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Form:
    """How a value type appears as a PV: the record, and the conversion both ways."""

    record: type[PV]
    rtyps: tuple[str, str]
    to_pv: Callable[[Any], Any]
    from_pv: Callable[[Any], Any]
    states: tuple[str, ...] = ()
    members: tuple[Any, ...] = ()
    max_length: int = 1
    conversion: units.Conversion = units.SAME

    def scaled(self, factor: float) -> Form:
        """Return the form of a number in another unit of its PV, of which ``factor`` make one of the present one."""
        conversion = units.Conversion(self.conversion.scale * factor, self.conversion.offset * factor)
        return replace(self, to_pv=conversion.value, from_pv=conversion.back, conversion=conversion)


@dataclass(frozen=True, slots=True)
class Settled:
    """When a put is done.

    Args:
        when: a condition on a readback of the setpoint's channel; where the instrument has always refused to be asked
            for that, the put is done when the instrument has the value.
        timeout: how long that may take, seconds.
        after: how long the instrument may take to begin, seconds: before, the condition isn't looked at.
        every: the time between two looks at it, seconds.
        fails: a condition that says that it will not get there, on a readback of the same channel.

    Raises DefinitionError if a time can't be.
    """

    when: Condition
    timeout: float
    after: float = 0.0
    every: float = 0.2
    fails: Condition | None = None

    def __post_init__(self) -> None:
        if not (0 < self.timeout < math.inf and 0 <= self.after < math.inf and 0 < self.every < math.inf):
            raise DefinitionError(
                f"settled within {self.timeout!r} s, after {self.after!r} s, looked at every {self.every!r} s:"
                " that can't be"
            )

    @property
    def conditions(self) -> list[Condition]:
        """What is looked at, in this order."""
        return [self.when] if self.fails is None else [self.fails, self.when]


def _form(value_type: ValueType[Any], unit: str | None, where: str) -> Form:
    """Choose the record for a value type. Raises DefinitionError, UnitError."""
    if isinstance(value_type, Rewritten):
        return _form(value_type.value, unit, where)
    converted = unit is not None and unit != value_type.unit
    if isinstance(value_type, Float):
        conversion = units.conversion(value_type.unit, unit) if unit is not None else units.SAME
        if conversion == units.SAME:
            return Form(DoublePV, ("ai", "ao"), float, float)
        return Form(DoublePV, ("ai", "ao"), conversion.value, conversion.back, conversion=conversion)
    if isinstance(value_type, Array):
        return _array_form(value_type, unit if converted else None, where)
    if converted:
        raise DefinitionError(f"{where}: only numbers with a unit convert, not {value_type.expected}")
    if isinstance(value_type, Integer) and value_type.limits and not _fits_32_bits(value_type.limits):
        return Form(Integer64PV, ("int64in", "int64out"), int, int)
    if isinstance(value_type, Flags) and any(bit >= 2**31 for bit in value_type.bits.__members__.values()):
        return Form(Integer64PV, ("int64in", "int64out"), int, int)
    if isinstance(value_type, (Integer, Flags)):
        return Form(IntegerPV, ("longin", "longout"), int, int)
    if isinstance(value_type, Bool):
        return Form(EnumPV, ("bi", "bo"), int, bool, states=("Off", "On"), members=(False, True))
    if isinstance(value_type, Enum):
        members: list[enum.Enum] = list(value_type.states.__members__.values())
        if len(members) > MAX_STATES:
            raise DefinitionError(
                f"{where}: an EPICS enum has at most {MAX_STATES} states, not {len(members)}"
            )
        rtyps = ("bi", "bo") if len(members) == 2 else ("mbbi", "mbbo")
        labels = tuple(member.name for member in members)
        return Form(EnumPV, rtyps, members.index, members.__getitem__, labels, tuple(members))
    if isinstance(value_type, Text):
        if value_type.max_length is not None and value_type.max_length <= STRING_LENGTH:
            return Form(StringPV, ("stringin", "stringout"), str, str)
        return Form(
            LongTextPV, ("lsi", "lso"), str, str, max_length=value_type.max_length or LONG_TEXT_LENGTH
        )
    raise DefinitionError(f"{where}: has several fields; say which one, as in field=PID.p")


def _array_form(value_type: Array, unit: str | None, where: str) -> Form:
    rtyps = ("waveform", "aao")
    length = value_type.max_length
    if isinstance(value_type.element, Integer):
        if unit is not None:
            raise DefinitionError(f"{where}: whole numbers don't convert")
        return Form(IntegerArrayPV, rtyps, _same, _same, max_length=length)
    record = FloatArrayPV if value_type.dtype.itemsize == 4 else DoubleArrayPV
    conversion = units.SAME if unit is None else units.conversion(value_type.unit, unit)
    if conversion == units.SAME:
        return Form(record, rtyps, _same, _same, max_length=length)
    return Form(
        record,
        rtyps,
        lambda array: frozen(array * conversion.scale + conversion.offset),
        conversion.back,
        max_length=length,
        conversion=conversion,
    )


def _same(value: Any) -> Any:
    return value


def _fits_32_bits(limits: tuple[float, float]) -> bool:
    return limits[0] >= -(2**31) and limits[1] < 2**31


def _field_name(value_type: ValueType[Any], field: object, where: str) -> str:
    if isinstance(value_type, Fields):
        for name in value_type.fields:
            if getattr(value_type.kind, name) is field:
                return name
        fields = ", ".join(f"{value_type.kind.__name__}.{name}" for name in value_type.fields)
        raise DefinitionError(f"{where}: field= is none of {fields}")
    raise DefinitionError(f"{where}: has no fields")


class Definition:
    """One line of a device: which parameter becomes which PV. Made by `pv`."""

    def __init__(
        self,
        spec: Parameter,
        *,
        name: str,
        field: object,
        unit: str | None,
        egu: str | None,
        precision: int,
        scan: float | None,
        alarm: Alarm,
        display: tuple[float, float] | None,
        severities: Mapping[Any, AlarmSeverity],
        clamp: bool,
        mdel: float,
        adel: float,
        settled: Settled | None,
        stops: Stopped | Iterable[Stopped],
        doc: str,
    ) -> None:
        if not isinstance(spec, Parameter):
            raise DefinitionError(f"PV {name!r}: expected an attribute of a driver's class, got {spec!r}")
        where = f"PV {name!r} of {spec.path}"
        self.spec = spec
        self.name = name
        self.where = where
        self.field = ""
        self.scan = scan
        self.clamp = clamp
        self.settled = settled
        self.stops = (stops,) if isinstance(stops, Parameter) else tuple(stops)
        self.form: Form | None = None
        self.unit = ""
        self.lowest: float | None = None
        if not name or any(c in name for c in " .{}"):
            raise DefinitionError(f"{where}: a PV name has no blanks, dots or braces")
        if scan is not None and not (isinstance(scan, (int, float)) and scan > 0):
            raise DefinitionError(f"{where}: expected a scan period in seconds, or None; got {scan!r}")
        if not isinstance(precision, int) or precision < 0:
            raise DefinitionError(f"{where}: expected a number of decimals, got precision={precision!r}")
        if settled is not None and not (
            isinstance(spec, Setpoint | Command)
            and all(
                seen.readback.owner is spec.owner and (seen.readback.ask or seen.readback.inputs)
                for seen in settled.conditions
            )
        ):
            raise DefinitionError(
                f"{where}: settled= is for setpoints and commands, and asks a readback of {spec.owner.__name__}"
            )
        if not all(
            isinstance(spec, Setpoint | Command)
            and isinstance(stopped, Setpoint | Command)
            and stopped.owner is spec.owner
            and stopped is not spec
            for stopped in self.stops
        ):
            raise DefinitionError(
                f"{where}: stops= is for commands and setpoints, and names others of {spec.owner.__name__}"
            )
        doc = doc or next(iter((spec.__doc__ or "").splitlines()), "").rstrip(".")
        if isinstance(spec, Readback):
            value_type = spec.value
            if field is not None:
                self.field = _field_name(value_type, field, where)
                if isinstance(spec, Setpoint) and not spec.ask:
                    raise DefinitionError(
                        f"{where}: one field can't be set where the others can't be asked for"
                    )
                assert isinstance(value_type, Fields)
                value_type = value_type.fields[self.field]
            self.form = _form(value_type, unit, where)
            doc = doc or " ".join([*spec.name.split("_"), *self.field.split("_")]).strip()
            if alarm != Alarm() and not self.is_number:
                raise DefinitionError(f"{where}: alarm limits are for numbers, not for {value_type.expected}")
            if clamp and not (isinstance(spec, Setpoint) and self.is_number and value_type.limits):
                raise DefinitionError(f"{where}: only a setpoint with limits can be clamped")
            if (mdel or adel) and not self.is_number:
                raise DefinitionError(f"{where}: deadbands are for numbers, not for {value_type.expected}")
            unknown = [repr(state) for state in severities if state not in self.form.members]
            if unknown:
                raise DefinitionError(f"{where}: severities of {', '.join(unknown)}, which is no state of it")
            text = self.unit = unit if unit is not None else value_type.unit
            limits = value_type.limits and tuple(sorted(map(self.form.conversion.value, value_type.limits)))
            shown = display or limits or (0.0, 0.0)
            self.lowest = limits[0] if limits else None
            self.readback_info = RecordInfo(
                self.form.rtyps[0],
                desc=doc[:DESC_LENGTH],
                egu=text if egu is None else egu,
                prec=precision,
                lopr=shown[0],
                hopr=shown[1],
                states=self.form.states,
                severities=tuple(
                    severities.get(member, AlarmSeverity.NO_ALARM)
                    for member in self.form.members
                    if severities
                ),
                scan=_scan(spec, scan),
                mdel=mdel,
                adel=adel,
                **alarm.fields,
            )
            # a setpoint's alarms and deadbands are its readback's
            self.setpoint_info = replace(
                self.readback_info,
                rtyp=self.form.rtyps[1],
                severities=(),
                drvl=limits[0] if limits and self.is_number else 0.0,
                drvh=limits[1] if limits and self.is_number else 0.0,
                scan="Passive",
                mdel=0.0,
                adel=0.0,
                **Alarm().fields,
            )
        self.desc = (doc or spec.name.replace("_", " "))[:DESC_LENGTH]

    @property
    def is_number(self) -> bool:
        """Whether its PVs are scalar numbers."""
        return self.form is not None and issubclass(self.form.record, (DoublePV, IntegerPV))

    @property
    def names(self) -> list[str]:
        """The names of its PVs."""
        return [self.name, f"{self.name}_RBV"] if self._has_readback else [self.name]

    @property
    def _has_readback(self) -> bool:
        return isinstance(self.spec, Setpoint) and bool(self.spec.ask or self.spec.inputs)

    def properties(self, attribute: str) -> dict[str, Any]:
        """Return caproto's properties for the PVs of this line, by attribute name."""
        spec, form = self.spec, self.form
        if form is None:
            info = RecordInfo("bo", desc=self.desc, states=("Idle", "Execute"))
            return {attribute: _property(EnumPV, self.name, 1, info)}
        if not isinstance(spec, Setpoint):
            return {attribute: _property(form.record, self.name, form.max_length, self.readback_info)}
        made = {attribute: _property(form.record, self.name, form.max_length, self.setpoint_info)}
        if self._has_readback:
            readback = _property(form.record, f"{self.name}_RBV", form.max_length, self.readback_info)
            made[f"{attribute}_rbv"] = readback
        return made


def _comes_by_itself(spec: Readback[Any]) -> bool:
    if spec.inputs:
        return all(map(_comes_by_itself, spec.inputs))
    return isinstance(spec, Result) or (bool(spec.unasked) and not spec.ask)


def _scan(spec: Readback[Any], scan: float | None) -> str:
    if _comes_by_itself(spec) or (spec.unasked and not scan):
        return "I/O Intr"
    return f"{scan:g}" if scan else "Passive"


def _property(record: type[PV], name: str, max_length: int, info: RecordInfo) -> Any:
    return pvproperty(dtype=record, name=name, max_length=max_length, doc=info.desc, info=info)


def pv(
    spec: Parameter,
    *,
    name: str,
    field: object = None,
    unit: str | None = None,
    egu: str | None = None,
    precision: int = 3,
    scan: float | None = 1.0,
    alarm: Alarm | None = None,
    display: tuple[float, float] | None = None,
    severities: Mapping[Any, AlarmSeverity] | None = None,
    clamp: bool = False,
    mdel: float = 0.0,
    adel: float = 0.0,
    settled: Settled | None = None,
    stops: Stopped | Iterable[Stopped] = (),
    doc: str = "",
) -> Any:
    """Serve a parameter as a PV; a setpoint also as ``<name>_RBV``.

    Args:
        spec: the driver's attribute, as in ``Input.temperature``.
        name: the PV's name after the prefix of its group.
        field: for a value with several fields, which one, as in ``PID.p``.
        unit: the unit at the PV, where it is not the wire's.
        egu: the text of the unit, where it is not the unit's name.
        precision: decimals that clients show.
        scan: period between two readings, seconds; None: read at connect only. What only comes unasked isn't polled.
        alarm: alarm limits and their severities, in the PV's unit.
        display: the lowest and highest value that clients show, in the PV's unit.
        severities: for states that are an alarm, which severity.
        clamp: for a setpoint, take a put beyond DRVL or DRVH as that limit, as the ao record does; else it is refused.
        mdel: how far the value must move before monitors hear of it, in the PV's unit.
        adel: the same for archivers.
        settled: for a setpoint or a command, when a put is done, as in ``Settled(Stage.moving == False, timeout=60)``;
            without it once it is written.
        stops: the setpoints and commands whose puts it ends while they wait to be settled. A command that isn't
            settled itself goes ahead of what was put before it.
        doc: its description for clients, where the driver's does not do.

    Raises DefinitionError, UnitError.
    """
    return Definition(
        spec,
        name=name,
        field=field,
        unit=unit,
        egu=egu,
        precision=precision,
        scan=scan,
        alarm=alarm or Alarm(),
        display=display,
        severities=severities or {},
        clamp=clamp,
        mdel=mdel,
        adel=adel,
        settled=settled,
        stops=stops,
        doc=doc,
    )
