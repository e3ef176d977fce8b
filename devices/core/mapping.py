"""Mapping: a driver's readbacks, setpoints and commands become PVs.

caproto's `PVGroup` gives naming, nesting and macros. What stands behind a PV is a record of `records`; what
happens between it and the driver is an `Entry`.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from labioc.drivers.core.bound import BoundReadback
from labioc.drivers.core.driver import Block, ChannelRef, Channels, Driver
from labioc.drivers.core.errors import DefinitionError

from ._pvgroup import TAKEN, CaprotoRuntimeError, PVGroup, PVGroupMeta, SubGroup, pvproperty
from .definition import LONG_TEXT_LENGTH, Definition
from .entry import Entry
from .health import LinkHealth
from .hooks import tell_refusal
from .records import Alarm, AlarmSeverity, EnumPV, LongTextPV, RecordInfo
from .scale import Scale


class SubGroups:
    """A group of PVs for each channel: ``SubGroups(InputPVs, of=LakeShore336.inputs, prefix="IN{ch}:")``."""

    def __init__(self, group: type[DeviceGroup], *, of: Channels[Any, Any], prefix: str) -> None:
        if not isinstance(of, Channels):
            raise DefinitionError(
                f"SubGroups of {group.__name__}: of= must be channels of a driver, not {of!r}"
            )
        self.members = {
            str(key): SubGroup(group, prefix=prefix.replace("{ch}", str(key)), of=of[key])
            for key in (*of.keys, *(key for more in of.variants.values() for key in more))
        }


# caproto's own attributes, and those of `DeviceGroup`
_TAKEN = TAKEN | {
    *("block", "device", "driver", "entries", "order", "on_rescan", "periods"),
    *("link", "mark_simulated", "message", "shown_by", "simulated"),
}


class DeviceGroupMeta(PVGroupMeta):
    """Turns the lines of a device class into caproto's properties."""

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        """Raises DefinitionError for a line that cannot be right."""
        lines: dict[str, Definition] = {}
        for base in reversed(bases):
            lines.update(getattr(base, "_lines_", {}))
        written = set(body)
        for attribute, value in list(body.items()):
            if not isinstance(value, (Definition, SubGroups)):
                continue
            if attribute in _TAKEN or attribute.startswith("_"):
                raise DefinitionError(f"{name}.{attribute}: the name {attribute!r} is taken, choose another")
            del body[attribute]
            if isinstance(value, Definition):
                for twin, line in lines.items():
                    both = set(line.names) & set(value.names)
                    if both and twin != attribute:
                        raise DefinitionError(
                            f"{name}.{attribute} has the PV name {min(both)!r}, which {twin} has already"
                        )
                clash = (value.properties(attribute).keys() - {attribute}) & written
                if clash:
                    raise DefinitionError(
                        f"{name}.{min(clash)}: {attribute}'s readback has that name, choose another"
                    )
                lines[attribute] = value
                body.update(value.properties(attribute))
            else:
                body.update({f"{attribute}_{key}": member for key, member in value.members.items()})
        body["_lines_"] = lines
        made: Any = super().__new__(mcs, name, bases, body)
        for subgroup in made._subgroups_.values():
            of = subgroup.init_kwargs.get("of")
            if of is not None:
                _check(subgroup.group_cls, of.channels.kind)
        return made


def _check(group: type[DeviceGroup], block: type[Block]) -> None:
    for attribute, line in group._lines_.items():
        if block.specs.get(line.spec.name) is not line.spec:
            raise DefinitionError(
                f"{group.__name__}.{attribute} refers to {line.spec.path}, which {block.__name__} does not have"
            )


class DeviceGroup(PVGroup, metaclass=DeviceGroupMeta):
    """A group of PVs within a device, for a channel of the instrument.

    Args:
        prefix: what stands before the names of its PVs.
        of: the channel; without it, that of the group around it.

    Raises DefinitionError if a line refers to something that the driver does not have.
    """

    _lines_: dict[str, Definition]
    device: Device
    block: Block

    def __init__(
        self,
        prefix: str,
        *,
        of: ChannelRef[Any] | None = None,
        macros: dict[str, str] | None = None,
        parent: object = None,
        name: str | None = None,
    ) -> None:
        if isinstance(parent, DeviceGroup):
            self.device = parent.device
            self.block = parent.block
        elif not isinstance(self, Device):
            raise DefinitionError(f"{type(self).__name__} stands within a device")
        if of is not None:
            self.block = self.device.driver.channels[of.channels.name][of.key]
        _check(type(self), type(self.block))
        self._leave_out_missing()
        try:
            super().__init__(prefix, macros=macros, parent=parent, name=name)
        except CaprotoRuntimeError as error:
            raise DefinitionError(f"{type(self).__name__}: {error}") from None
        for attribute, line in self._lines_.items():
            if line.spec.name in self.block.parameters:
                self.device.entries.append(Entry(self, attribute, line))

    def _leave_out_missing(self) -> None:
        # channels of another variant: the class has their groups, this instance must not
        channels = self.device.driver.channels
        missing = {
            attribute
            for attribute, subgroup in self._subgroups_.items()
            if (of := subgroup.init_kwargs.get("of")) is not None and of.key not in channels[of.channels.name]
        }
        self._subgroups_ = {k: v for k, v in self._subgroups_.items() if not missing & set(_parents(k + "."))}
        self._pvs_ = {k: v for k, v in self._pvs_.items() if not missing & set(_parents(k))}
        for attribute, line in self._lines_.items():
            if line.spec.name not in self.block.parameters:
                for name in (attribute, f"{attribute}_rbv"):
                    self._pvs_.pop(name, None)


def _parents(dotted: str) -> Iterator[str]:
    parts = dotted.split(".")
    return (".".join(parts[:n]) for n in range(1, len(parts)))


class Device(DeviceGroup):
    """The PVs of an instrument, with the health of its link and the text of the last refusal.

    Args:
        prefix: what stands before the names of its PVs.
        driver: the instrument.

    Raises DefinitionError if a line refers to something that the driver does not have.
    """

    message = pvproperty(
        dtype=LongTextPV,
        name="MESSAGE",
        max_length=LONG_TEXT_LENGTH,
        doc="",
        info=RecordInfo("lsi", desc="Why the last put was refused"),
    )
    simulated = pvproperty(
        dtype=EnumPV,
        name="SIM",
        max_length=1,
        doc="",
        info=RecordInfo(
            "bi",
            desc="Whether the instrument is simulated",
            states=("Real", "Simulated"),
            severities=(AlarmSeverity.NO_ALARM, AlarmSeverity.MINOR_ALARM),
        ),
    )
    link = SubGroup(LinkHealth, prefix="LINK:")

    def __init__(
        self,
        prefix: str,
        *,
        driver: Driver,
        macros: dict[str, str] | None = None,
        parent: object = None,
        name: str | None = None,
    ) -> None:
        self.device = self
        self.driver = driver
        self.block = driver
        self.entries: list[Entry] = []
        self.order = asyncio.Lock()  # puts reach the wire in the order of their arrival
        super().__init__(prefix, macros=macros, parent=parent, name=name)
        for record in self.pvdb.values():
            record.on_refused = functools.partial(self.refuse, record.pvname)
        self.on_rescan: Callable[[BoundReadback[Any], bool], None] = lambda readback, at_once: None
        self.message.post("", time.time())
        self.simulated.post(False, time.time())
        driver.port.on_change.append(self._link_changed)

    def periods(self) -> dict[BoundReadback[Any], float | None]:
        """Return what is to be read, and how often now: the shortest SCAN of its PVs, or None for Passive."""
        found: dict[BoundReadback[Any], float | None] = {}
        for entry in self.entries:
            bound = entry.bound
            if isinstance(bound, BoundReadback) and bound.asked:
                wanted = entry.readback.period if entry.readback is not None else entry.line.scan
                periods = [p for p in (found.get(bound), wanted) if p is not None]
                found[bound] = min(periods, default=None)
        return found

    def shown_by(self, bound: BoundReadback[Any]) -> str:
        """Return the name of the PV that shows a readback."""
        return next(entry.pvs[-1].pvname for entry in self.entries if entry.bound is bound)

    def mark_simulated(self) -> None:
        """Let every PV say that the instrument is a simulated one: SIMM is YES, and the device's SIM in alarm."""
        for record in self.pvdb.values():
            record.configure(simm=True)
        self.simulated.post(True, time.time())

    def narrow(self, name: str, low: float, high: float) -> None:
        """Narrow the limits of the setpoint ``name``, given without the device's prefix, in the PV's unit.

        Raises DefinitionError if there is none, LimitError if the instrument's limits are narrower.
        """
        entry = self._entry_of(name)
        if entry.setpoint is None or entry.setpoint.pvname != self.prefix + name:
            raise DefinitionError(f"{self.driver.name}: {name} is no setpoint")
        entry.narrow(low, high)

    def set_alarm(self, name: str, alarm: Alarm) -> None:
        """Set the alarm limits of the reading ``name``, given without the device's prefix, in the PV's unit.

        Raises DefinitionError if there is none.
        """
        entry = self._entry_of(name)
        record = entry.readback
        if record is None or not entry.line.is_number or record.pvname != self.prefix + name:
            raise DefinitionError(f"{self.driver.name}: {name} is no reading of a number")
        record.configure(**alarm.fields)

    def set_scale(self, name: str, scale: Scale) -> None:
        """Show what counts steps in another unit, on this instance.

        Args:
            name: which PVs, without the device's prefix: one, or all of a group if it ends with a colon.
            scale: how many steps make one unit.

        Raises DefinitionError if there are no such PVs, or if one of them is a whole number.
        """
        entries = self.entries if not name or name.endswith(":") else [self._entry_of(name)]
        found = [entry for entry in entries if entry.pvs[0].pvname.startswith(self.prefix + name)]
        if not [entry for entry in found if entry.scale(scale)]:
            raise DefinitionError(f"{self.driver.name}: nothing is counted in steps at {self.prefix}{name}")

    def _entry_of(self, name: str) -> Entry:
        for entry in self.entries:
            if any(record.pvname == self.prefix + name for record in entry.pvs):
                return entry
        raise DefinitionError(f"{self.driver.name}: there is no PV {self.prefix}{name}")

    def refuse(self, pvname: str, error: Exception) -> None:
        """Put down why a put was refused."""
        tell_refusal(self.message, pvname, error)

    def _link_changed(self) -> None:
        for entry in self.entries:
            entry.link_changed()
        self.link.refresh()
