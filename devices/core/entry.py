"""Entries: what goes between one PV, or a setpoint with its readback, and the driver."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from labioc.drivers.core.bound import Bound, BoundReadback
from labioc.drivers.core.driven import BoundCommand, BoundSetpoint
from labioc.drivers.core.errors import (
    DefinitionError,
    DeviceError,
    LabiocError,
    LimitError,
    LinkDown,
    LinkError,
    NotSettled,
    ReadingInvalid,
    RefusedError,
    Superseded,
    UserError,
)
from labioc.drivers.core.parameters import Condition
from labioc.drivers.core.port import LinkState
from labioc.drivers.core.procedure import BoundProcedure

from .definition import Definition, Settled
from .pv import PV
from .records import AlarmStatus, DoublePV
from .scale import Scale
from .status import status_of

if TYPE_CHECKING:
    from .mapping import DeviceGroup

log = logging.getLogger(__name__)


class Entry:
    """One line of a device at work: it posts what the driver reads, and writes what clients put."""

    def __init__(self, group: DeviceGroup, attribute: str, line: Definition) -> None:
        self.line = line
        self.form = line.form
        self.device = group.device
        self.bound: Bound = group.block.parameters[line.spec.name]
        main: PV = group.attr_pvdb[attribute]
        self.readback: PV | None = main
        self.setpoint: PV | None = None
        self._driven: BoundSetpoint[Any] | BoundCommand | None = None
        self._good: Any = 0 if isinstance(self.bound, BoundCommand) else None
        self._is_restored = False
        self._was_down = True
        self._cycles = 0
        self.superseded: asyncio.Event | None = None
        self.stops = 0
        if isinstance(self.bound, (BoundSetpoint, BoundCommand)):
            self._driven = self.bound
            self.setpoint = main
            self.readback = group.attr_pvdb.get(f"{attribute}_rbv")
            main.putter = self._put
            if isinstance(self.bound, BoundSetpoint) and not self.bound.asked:
                main.restorer = self._restore
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
        form = self.form
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

    def scale(self, scale: Scale) -> bool:
        """Show a number of steps in another unit; return whether it is one. Raises DefinitionError."""
        unit = scale.unit_for(self.line.unit)
        if unit is None:
            return False
        if self.form is None or not issubclass(self.form.record, DoublePV):
            raise DefinitionError(f"{self.pvs[0].pvname} is no ai or ao: it can't be in {unit}")
        factor = scale.factor(self.line.lowest)
        self.form = self.form.scaled(factor)
        for record in self.pvs:
            record.configure(**scale.settings(record.info, unit, factor))
        return True

    # From the instrument

    def _reading(self, bound: BoundReadback[Any]) -> None:
        if bound.error is not None:
            status, now = status_of(bound.error), time.time()
            for record in self.pvs:
                record.fail(status, now, message=str(bound.error))
            return
        if not bound.stamp:  # there is nothing to read yet
            for record in self.pvs:
                record.fail(AlarmStatus.UDF, time.time())
            return
        if bound.is_news:
            self.device.refuse(self.pvs[-1].pvname, RefusedError(str(bound.value)))
        value = self._shown(bound)
        if type(value) is float and math.isinf(value):  # beyond what the instrument can tell
            for record in self.pvs:
                record.fail(AlarmStatus.HWLIMIT, bound.stamp, message="over-range")
            return
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
        assert self.form is not None
        value = getattr(bound.value, self.line.field) if self.line.field else bound.value
        return self.form.to_pv(value)

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
                self._show_good()

    def _restore(self, value: Any) -> None:
        self._good, self._is_restored = value, True
        self._show_good()
        self._was_down = True
        self.link_changed()

    def _show_good(self) -> None:
        assert self.setpoint is not None
        self._post(self.setpoint, self._good, time.time())
        if self._is_restored:
            self.setpoint.fail(AlarmStatus.WRITE, time.time(), message="put before the restart, lost perhaps")

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
        stops = self.stops
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
        self._good, self._is_restored = sent, False
        self._post(self.setpoint, sent, time.time())
        if self.line.settled is not None and not (isinstance(self._driven, BoundCommand) and not value):
            await self._settle(self.line.settled, connects, stops)

    def _rivals(self) -> list[Entry]:
        """The entries whose puts end when this one is put to."""
        stopped = [self.bound.block.parameters[spec.name] for spec in self.line.stops]
        return [
            entry
            for entry in self.device.entries
            if entry.bound in stopped or (entry.bound is self.bound and entry.line.field == self.line.field)
        ]

    def _end_waits(self, ended: list[Entry]) -> None:
        for entry in ended:
            if entry.superseded is not None:
                entry.superseded.set()

    async def _execute(self, stopped: list[Entry]) -> None:
        assert isinstance(self._driven, BoundCommand)
        if isinstance(self._driven, BoundProcedure):
            await self._driven.execute()  # it takes long: what is put meanwhile goes between its turns
            return
        if not self.line.stops or self.line.settled is not None:
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

    async def _settle(self, rule: Settled, connects: int, stops: int) -> None:
        """Wait until the instrument is there. Raises Superseded, NotSettled or LinkDown."""
        assert self.setpoint is not None
        name, port, clock = self.setpoint.pvname, self.device.driver.port, asyncio.get_running_loop().time
        looks: list[tuple[Condition, Any]] = [
            (condition, self.bound.block.parameters[condition.readback.name]) for condition in rule.conditions
        ]
        superseded = self.superseded = asyncio.Event()
        deadline = clock() + rule.timeout
        pause = rule.after
        while clock() < deadline:
            if pause:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await superseded.wait()
                    raise Superseded(f"{name}: a newer put or a stop came before it was settled")
            pause = rule.every
            for condition, readback in looks:
                # what fails stands on the readback's PV, and the next answer may tell
                with suppress(LinkError, DeviceError):
                    await readback.read()
                if port.state is LinkState.DOWN or port.statistics.epoch != connects:
                    raise LinkDown(
                        f"{name}: the instrument, or the connection, was lost before it was settled"
                    )
                error = readback.error
                if condition is rule.when and isinstance(error, ReadingInvalid) and error.refused:
                    if not readback.stamp:  # this instrument doesn't have it, and can't tell when it is there
                        log.info("%s: done when the instrument has it, since %s", name, error)
                        return
                if error is None and condition.holds(readback.value):
                    if self.stops != stops:  # it holds because of a stop, whose own end may still come
                        raise Superseded(f"{name}: a stop came before it was settled")
                    if condition is rule.when:
                        return
                    async with self.device.order:
                        pass  # a newer put that is on its way may be what ended this one
                    if superseded.is_set():
                        raise Superseded(f"{name}: a newer put came before it was settled")
                    raise NotSettled(f"{name}: will not settle: {readback.label} is {readback.value!r}")
        there = looks[-1][1]
        now = repr(there.value) if there.stamp else "unknown"
        raise NotSettled(f"{name}: not settled within {rule.timeout:g} s: {there.label} is {now}")

    async def _write(self, value: Any) -> Any:
        """Write a value within the limits, and return the one that was sent, both as the PV has them."""
        assert isinstance(self._driven, BoundSetpoint)
        assert self.form is not None
        assert self.setpoint is not None
        field, form, drive = self.line.field, self.form, self.setpoint.info.drive
        if drive is not None and self.line.clamp:
            value = min(max(value, drive[0]), drive[1])
        else:
            self.setpoint.check_drive(
                value
            )  # in the words of the PV: the driver's would be its own unit and name
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
