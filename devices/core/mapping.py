"""Mapping: a driver's readbacks, setpoints and commands become PVs.

caproto's `PVGroup` gives naming, nesting and macros. What stands behind a PV is a record of `records`; what
happens between it and the driver is here.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from labioc.drivers.core.bound import (
    Bound,
    BoundCommand,
    BoundReadback,
    BoundSetpoint,
)
from labioc.drivers.core.driver import Block, ChannelRef, Channels, Driver
from labioc.drivers.core.errors import (
    DefinitionError,
    DeviceError,
    LabiocError,
    LimitError,
    LinkDown,
    LinkError,
    NotSettled,
    Superseded,
    UserError,
)
from labioc.drivers.core.port import LinkState

from ._caproto import DBE_LOG, DBE_VALUE
from ._pvgroup import CaprotoRuntimeError, PVGroup, PVGroupMeta, SubGroup, pvproperty
from .definition import LONG_TEXT_LENGTH, Definition, Settled
from .health import LinkHealth
from .pv import PV
from .records import Alarm, AlarmSeverity, AlarmStatus, EnumPV, LongTextPV, RecordInfo
from .status import status_of

log = logging.getLogger(__name__)

SETTLE_PERIOD = 0.2  # seconds between two looks whether a put is settled


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


# caproto's own attributes, on the class and on the instance, and those of `DeviceGroup`
_TAKEN = frozenset(dir(PVGroup)) | {
    *("alarms", "attr_pvdb", "attr_to_pvname", "groups", "log", "macros", "name", "parent", "prefix", "pvdb"),
    *("states", "update_state", "block", "device", "driver", "entries", "order", "on_rescan", "periods"),
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
            desc="Whether the instrument is a simulated one",
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

    def _entry_of(self, name: str) -> Entry:
        for entry in self.entries:
            if any(record.pvname == self.prefix + name for record in entry.pvs):
                return entry
        raise DefinitionError(f"{self.driver.name}: there is no PV {self.prefix}{name}")

    def refuse(self, pvname: str, error: Exception) -> None:
        """Put down why a put was refused."""
        text = str(error)
        text = text if text.startswith(pvname) else f"{pvname}: {text}"
        before = self.message.value
        self.message.post(text, time.time())
        if self.message.value == before:
            # who tries in vain a second time must see that it was refused a second time
            self.message.send_event(DBE_VALUE | DBE_LOG)

    def _link_changed(self) -> None:
        for entry in self.entries:
            entry.link_changed()
        self.link.refresh()


class Entry:
    """One line of a device at work: it posts what the driver reads, and writes what clients put."""

    def __init__(self, group: DeviceGroup, attribute: str, line: Definition) -> None:
        self.line = line
        self.device = group.device
        self.bound: Bound = group.block.parameters[line.spec.name]
        main: PV = group.attr_pvdb[attribute]
        self.readback: PV | None = main
        self.setpoint: PV | None = None
        self._driven: BoundSetpoint[Any] | BoundCommand | None = None
        self._good: Any = 0 if isinstance(self.bound, BoundCommand) else None
        self._was_down = True
        self._cycles = 0
        self.superseded: asyncio.Event | None = None
        self.stops = 0
        if isinstance(self.bound, (BoundSetpoint, BoundCommand)):
            self._driven = self.bound
            self.setpoint = main
            self.readback = group.attr_pvdb.get(f"{attribute}_rbv")
            main.putter = self._put
        if isinstance(self.bound, BoundReadback):
            self.bound.listeners.append(self._reading)
            if self.bound.asked and self.readback is not None:
                self.readback.reader = self._read
                self.readback.on_rescan = self._rescan

    @property
    def pvs(self) -> list[PV]:
        """The PVs of this line."""
        return [pv for pv in (self.setpoint, self.readback) if pv is not None]

    def narrow(self, low: float, high: float) -> None:
        """Narrow the limits of a setpoint, in the PV's unit. Raises DefinitionError, LimitError."""
        form = self.line.form
        if not isinstance(self._driven, BoundSetpoint) or form is None or not self.line.is_number:
            raise DefinitionError(f"{self.pvs[0].pvname}: only the limits of a number can be narrowed")
        if low >= high:
            raise LimitError(f"{self.pvs[0].pvname}: expected LOW:HIGH, got {low:g}:{high:g}")
        self._driven.narrow(
            *sorted((form.conversion.back(low), form.conversion.back(high))), field=self.line.field
        )
        for record in self.pvs:
            record.configure(lopr=low, hopr=high)
        self.pvs[0].configure(drvl=low, drvh=high)

    # From the instrument

    def _reading(self, bound: BoundReadback[Any]) -> None:
        if bound.error is not None:
            status, now = status_of(bound.error), time.time()
            for record in self.pvs:
                record.fail(status, now, message=str(bound.error))
            return
        value = self._shown(bound)
        if type(value) is float and math.isnan(value):  # not a number: the last good value stays
            for record in self.pvs:
                record.fail(AlarmStatus.UDF, bound.stamp)
            return
        if self.readback is not None:
            self._post(self.readback, value, bound.stamp)
        # a setpoint keeps what was put last, until it was invalid: then it shows what the instrument has
        if self.setpoint is not None and not self.setpoint.is_good:
            self._post(self.setpoint, value, bound.stamp)

    def _shown(self, bound: BoundReadback[Any]) -> Any:
        assert self.line.form is not None
        value = getattr(bound.value, self.line.field) if self.line.field else bound.value
        return self.line.form.to_pv(value)

    def _post(self, record: PV, value: Any, stamp: float) -> None:
        try:
            record.post(value, stamp)
        except (TypeError, ValueError) as error:
            if record.status != AlarmStatus.CALC:
                log.warning("%s: the reading %r does not fit: %s", record.pvname, value, error)
            record.fail(AlarmStatus.CALC, stamp, message=f"{value!r} does not fit")

    def link_changed(self) -> None:
        """Follow the link with what is written only: nothing will read it."""
        if self.setpoint is None or (isinstance(self.bound, BoundReadback) and self.bound.asked):
            return
        port = self.device.driver.port
        cycles = port.statistics.power_cycles
        if port.state is LinkState.DOWN and port.error is not None:
            self._was_down = True
            self.setpoint.fail(status_of(port.error), time.time(), message=str(port.error))
        elif port.state is LinkState.UP and (self._was_down or cycles != self._cycles):
            if cycles != self._cycles and not isinstance(self.bound, BoundCommand):
                self._good = None  # without power the instrument has lost it, and nobody can ask
            self._was_down = False
            self._cycles = cycles
            if self._good is None:
                self.setpoint.fail(AlarmStatus.UDF, time.time())
            else:
                self._post(self.setpoint, self._good, time.time())

    # From a client

    async def _read(self) -> None:
        assert isinstance(self.bound, BoundReadback)
        await self.bound.read()

    def _rescan(self, at_once: bool) -> None:
        assert isinstance(self.bound, BoundReadback)
        self.device.on_rescan(self.bound, at_once)

    async def _put(self, value: Any) -> None:
        """Write what a client put; done when the instrument has it. Raises what the driver raises."""
        assert self.setpoint is not None
        ended = self._rivals()
        connects = self.device.driver.port.statistics.epoch
        try:
            if isinstance(self._driven, BoundCommand):
                sent: Any = 0
                if value:
                    await self._execute(ended)
            else:
                sent = await self._write_in_turn(value)
        except UserError:
            raise  # the client's own doing leaves the alarm alone, and what was put before
        except LabiocError as error:
            # the instrument may have it all the same
            self._end_waits(ended)
            self.setpoint.fail(status_of(error), time.time(), message=str(error))
            raise
        if not isinstance(self._driven, BoundCommand) or value:
            self._end_waits(ended)
        if isinstance(self._driven, BoundSetpoint) and self._driven.asked and self._driven.verifies:
            sent = self._shown(self._driven)  # as the instrument rounded it
        self._good = sent
        self._post(self.setpoint, sent, time.time())
        if self.line.settled is not None:
            await self._settle(self.line.settled, connects)

    def _rivals(self) -> list[Entry]:
        """The entries whose puts end when this one is put to."""
        if isinstance(self._driven, BoundCommand):
            stops = self.line.stops
            target = None if stops is None else self.bound.block.parameters[stops.name]
            return [entry for entry in self.device.entries if entry.bound is target]
        return [
            entry
            for entry in self.device.entries
            if entry.bound is self.bound and entry.line.field == self.line.field
        ]

    def _end_waits(self, ended: list[Entry]) -> None:
        for entry in ended:
            if entry.superseded is not None:
                entry.superseded.set()

    async def _execute(self, stopped: list[Entry]) -> None:
        assert isinstance(self._driven, BoundCommand)
        if not stopped:
            async with self.device.order:
                await self._driven.execute()
            return
        # a stop doesn't wait for what was put before it, nor must that be written after it
        for entry in stopped:
            entry.stops += 1
        await self._driven.execute()

    async def _write_in_turn(self, value: Any) -> Any:
        assert self.setpoint is not None
        stops = self.stops
        async with self.device.order:
            if self.stops != stops:
                raise Superseded(f"{self.setpoint.pvname}: a stop came before it was written")
            return await self._write(value)

    async def _settle(self, rule: Settled, connects: int) -> None:
        """Wait until the instrument is there. Raises Superseded, NotSettled or LinkDown."""
        assert self.setpoint is not None
        name, port, clock = self.setpoint.pvname, self.device.driver.port, asyncio.get_running_loop().time
        readback = self.bound.block.parameters[rule.when.readback.name]
        assert isinstance(readback, BoundReadback)
        superseded = self.superseded = asyncio.Event()
        deadline = clock() + rule.timeout
        pause = rule.after
        while clock() < deadline:
            if pause:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await superseded.wait()
                    raise Superseded(f"{name}: a newer put or a stop came before it was settled")
            pause = SETTLE_PERIOD
            # what fails stands on the readback's PV, and the next answer may tell
            with suppress(LinkError, DeviceError):
                await readback.read()
            if port.state is LinkState.DOWN or port.statistics.epoch != connects:
                raise LinkDown(f"{name}: the instrument, or the connection, was lost before it was settled")
            if readback.error is None and rule.when.holds(readback.value):
                return
        raise NotSettled(
            f"{name}: not settled within {rule.timeout:g} s: {readback.label} is {readback.value!r}"
        )

    async def _write(self, value: Any) -> Any:
        """Write a value within the limits, and return the one that was sent, both as the PV has them."""
        assert isinstance(self._driven, BoundSetpoint)
        assert self.line.form is not None
        assert self.setpoint is not None
        field, form, drive = self.line.field, self.line.form, self.setpoint.info.drive
        if drive is not None and self.line.clamp:
            value = min(max(value, drive[0]), drive[1])
        elif drive is not None and not drive[0] <= value <= drive[1]:
            # in the words of the PV: the driver's would be its own unit and name
            raise LimitError(
                f"{self.setpoint.pvname}: {value:g} is beyond the limits {drive[0]:g} to {drive[1]:g}"
                f" {self.setpoint.info.egu}".rstrip()
            )
        wire = form.from_pv(value)
        limits = self._driven.limits_of(field)
        if drive is not None and limits is not None:
            # a limit in other units isn't quite the limit
            wire = min(max(wire, limits[0]), limits[1])
        if field:
            await self._driven.update(**{field: wire})
        else:
            await self._driven.write(wire)
        return value
