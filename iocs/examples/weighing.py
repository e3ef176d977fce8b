"""Sequences two instruments: sets a temperature, waits until it is there, and weighs.

``labioc run examples.weighing`` uses the bundled simulators. A put of ``80 90`` to CMD weighs at 80 and at 90 K; the
weights are `values` then. A put to STOP ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from labioc.devices.core._caproto import ChannelData
from labioc.devices.core.soft import soft
from labioc.drivers.core.errors import ReadingInvalid
from labioc.drivers.lakeshore336 import HeaterRange, LakeShore336
from labioc.drivers.mettler_balance import MettlerBalance
from labioc.iocs.core import Program
from labioc.iocs.core.pvgroups import running
from labioc.iocs.core.sequence import Command, SequenceServer
from labioc.sim.lakeshore336 import LakeShore336 as LakeShore336Simulator
from labioc.sim.mettler_balance import MettlerBalance as BalanceSimulator

PAUSE = 0.1
PATIENCE = 3600.0


class Weighing:
    """The system: blocking code that knows nothing of PVs but their names."""

    io_get_queue: queue.Queue[Command]
    io_put_queue: queue.Queue[Any]

    def __init__(self, thermostat: str, balance: str) -> None:
        """The URLs of the two instruments."""
        self._thermostat = thermostat
        self._balance = balance
        self.tolerance = 0.5

    def io_execute(self, pv_name: str, value: Any) -> None:
        """Do what a client has put. Raises what goes wrong."""
        if pv_name == "CMD":
            self._weigh_at([float(word) for word in value.split()])
        elif pv_name == "TOLERANCE":
            self.tolerance = value
        elif pv_name == "STOP":
            self.io_put_queue.put({"STOP": "Idle"})

    def _weigh_at(self, temperatures: Sequence[float]) -> None:
        weights: list[float] = []
        self.io_put_queue.put({"values": weights})
        with (
            LakeShore336.connect(self._thermostat) as thermostat,
            MettlerBalance.connect(self._balance) as balance,
        ):
            heater = thermostat.outputs[1]
            for temperature in temperatures:
                heater.setpoint.put(temperature)
                heater.range.put(HeaterRange.HIGH)
                self._reach(temperature, thermostat)
                weights.append(self._weigh(balance))
                self.io_put_queue.put({"WEIGHT": weights[-1], "values": list(weights)})

    def _reach(self, temperature: float, thermostat: LakeShore336) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            now = thermostat.inputs["A"].temperature.get()
            self.io_put_queue.put({"TEMP": now})
            if abs(now - temperature) <= self.tolerance:
                return
            self._pause()
        raise TimeoutError(f"{temperature:g} K is not reached")

    def _weigh(self, balance: MettlerBalance) -> float:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(ReadingInvalid):  # not stable yet
                return balance.stable_weight.get()
            self._pause()
        raise TimeoutError("the weight does not become stable")

    def _pause(self) -> None:
        """Wait a moment, and look whether a client wants something else meanwhile."""
        with contextlib.suppress(queue.Empty):
            pv_name, value = self.io_get_queue.get(timeout=PAUSE)
            if pv_name == "CMD":
                raise RuntimeError("a new command came before the end of this one")
            self.io_execute(pv_name, value)
            if pv_name == "STOP":
                raise InterruptedError("stopped by a client")


class WeighingServer(SequenceServer):
    """The PVs: those of every sequence server, and what this one needs."""

    tolerance = soft("ao", "TOLERANCE", "How near the temperature must be", egu="K", prec=2, value=0.5)
    stop = soft("bo", "STOP", "End the sequence", states=("Idle", "Stop"), value=0)
    temperature = soft("ai", "TEMP", "Temperature of the sample", egu="K", prec=3)
    weight = soft("ai", "WEIGHT", "Last weight", egu="g", prec=3)

    def __init__(self, prefix: str, system: Weighing) -> None:
        super().__init__(prefix)
        self.system = system


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--thermostat", metavar="URL", help="a Lake Shore 336 (default: its simulator)")
    parser.add_argument("--balance", metavar="URL", help="a Mettler balance (default: its simulator)")
    parser.add_argument("--speed", type=float, default=10.0, help="of the simulators (default: %(default)g)")


@contextlib.asynccontextmanager
async def _serve(args: argparse.Namespace) -> AsyncIterator[Mapping[str, ChannelData]]:
    async with contextlib.AsyncExitStack() as stack:
        thermostat, balance = LakeShore336Simulator(), BalanceSimulator()
        balance.pan.load = 12.5  # the sample
        urls = []
        for url, simulator in ((args.thermostat, thermostat), (args.balance, balance)):
            simulator.clock.speed = args.speed
            urls.append(url or await stack.enter_async_context(simulator.serve("tcp://127.0.0.1:0")))
        server = WeighingServer(args.prefix, Weighing(*urls))
        await stack.enter_async_context(running(server))
        yield server.pvdb


program = Program(
    "examples.weighing",
    "Weighs a sample at several temperatures: a sequence server",
    _serve,
    prefix="weighing:",
    options=_add_options,
)
