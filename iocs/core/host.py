"""The host: one owner of the ports, pollers, PVs and the Channel Access server of a process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from labioc.devices.core import Device
from labioc.devices.core.records import PV
from labioc.devices.core.scan import Poller
from labioc.drivers.core import Driver
from labioc.drivers.core.errors import DefinitionError
from labioc.drivers.core.line import Line
from labioc.drivers.core.port import LinkState

from .instrument import InstrumentConfig
from .server import AccessRule, CAServer

log = logging.getLogger(__name__)

LONGEST_NAME = 60
FIRST_SWEEP = 5.0  # a slow instrument must not keep the others' PVs from their clients for longer


class Unit:
    """One instrument at work: its driver, its device and its poller."""

    def __init__(self, config: InstrumentConfig, line: Line | None = None) -> None:
        """Put it together; ``line`` is the one that it shares with others, if it does.

        Raises AddressError, DefinitionError or LimitError if the configuration cannot be right."""
        kind = config.instrument
        self.config = config
        try:
            prefix = config.prefix.format(**config.macros)
        except (LookupError, ValueError) as error:
            raise DefinitionError(
                f"{config.name}: the prefix {config.prefix!r} needs a macro that is not given: {error}"
            ) from None
        wrong = [c for c in prefix if not (c.isascii() and (c.isalnum() or c in "_-+:;<>[]"))]
        if wrong:
            hint = "; a macro is written {P}" if "$" in prefix else ""
            raise DefinitionError(
                f"{config.name}: a PV name has no {wrong[0]!r}, as in the prefix {prefix!r}{hint}"
            )
        self.driver: Driver = kind.driver(
            config.url if line is None else line,
            name=config.name,
            variant=config.variant,
            address=config.address,
            retry_every=config.retry_every,
        )
        self.device: Device = kind.device(config.prefix, driver=self.driver, macros=dict(config.macros))
        longest = max(self.device.pvdb, key=len)
        if len(longest) > LONGEST_NAME:
            raise DefinitionError(f"{config.name}: {longest} has more than {LONGEST_NAME} characters")
        for name, scale in config.scales.items():
            self.device.set_scale(name, scale)
        for name, (low, high) in config.limits.items():
            self.device.narrow(name, low, high)
        for name, alarm in config.alarms.items():
            self.device.set_alarm(name, alarm)
        if config.simulated:
            self.device.mark_simulated()
        if config.raw:
            self.device.link.allow_commands()
        self.poller = Poller(self.device)

    async def ready(self) -> None:
        """Wait for the end of the first sweep of readings, or of the first attempt to connect."""
        await self.driver.port.first_attempt()
        if self.driver.port.state is LinkState.DOWN:
            return
        try:
            async with asyncio.timeout(FIRST_SWEEP):
                await self.poller.swept.wait()
        except TimeoutError:
            log.warning("%s: the first sweep takes longer than %g s", self.config.name, FIRST_SWEEP)


class Host:
    """Runs instruments and serves their PVs; an async context manager.

    Args:
        configs: which instruments.
        interfaces: the addresses that the server listens on.
        access: what a client may do with a PV or field, by its real address; without it all that the PV allows.

    Raises AddressError, DefinitionError or LimitError if a configuration cannot be right; on entry OSError if the
    server cannot bind.
    """

    def __init__(
        self,
        configs: Sequence[InstrumentConfig],
        *,
        interfaces: Sequence[str] = ("127.0.0.1",),
        access: AccessRule | None = None,
    ) -> None:
        # without an address each has a connection of its own, where the instrument takes several
        self.lines = {config.url: Line(config.url) for config in configs if config.address}
        self.units = [Unit(config, self.lines.get(config.url)) for config in configs]
        self.pvs: dict[str, PV] = {}
        for unit in self.units:
            twice = self.pvs.keys() & unit.device.pvdb.keys()
            if twice:
                raise DefinitionError(
                    f"{unit.config.name}: the PV {min(twice)} is another instrument's already"
                )
            self.pvs.update(unit.device.pvdb)
        self.server = CAServer(self.pvs, interfaces, access)
        self._pollers: list[asyncio.Task[None]] = []
        self._prepare: Callable[[], Awaitable[None]] | None = None

    def serve_too(self, pvs: Mapping[str, PV], prepare: Callable[[], Awaitable[None]]) -> None:
        """Serve PVs that are no instrument's; ``prepare`` is awaited before the server opens."""
        self.pvs.update(pvs)
        self._prepare = prepare

    async def __aenter__(self) -> Self:
        try:
            for unit in self.units:
                await unit.driver.start()
                self._pollers.append(
                    asyncio.create_task(unit.poller.run(), name=f"poller {unit.config.name}")
                )
            await asyncio.gather(*(unit.ready() for unit in self.units))
            if self._prepare is not None:
                await self._prepare()
            await self.server.start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait until told to stop. Raises what a poller fails with, which would be labioc's own error."""
        waiting: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([waiting, *self._pollers], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                task.result()
        finally:
            waiting.cancel()

    async def _stop(self) -> None:
        await self.server.stop()
        for poller in self._pollers:
            poller.cancel()
        if self._pollers:
            await asyncio.wait(self._pollers)
            self._pollers.clear()
        await asyncio.gather(*(unit.driver.close() for unit in self.units))
