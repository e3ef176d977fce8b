"""``labioc run``: an instrument, several on one line, or an IOC without an instrument."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence

from labioc.devices.core import Alarm, Scale
from labioc.drivers.core.links import check_present
from labioc.drivers.core.recording import record

from .command import LOOPBACK, Failure, add_fault, add_verbosity, name_and_text, stop_signals
from .control import control_socket
from .helpers import Helpers, add_helpers
from .host import Host
from .instrument import Instrument, InstrumentConfig, find_instrument
from .program import Program, find_program
from .server import CAServer
from .stand_ins import make_simulator, set_faults

USAGE = "serve an instrument as PVs; several on one line: run NAME ... + NAME ..."


def run_arguments(words: Sequence[str], found: Instrument | Program | None = None) -> argparse.Namespace:
    """Read what stands behind ``labioc run``, or behind ``python -m`` and the module ``found`` comes from.

    Raises UnknownInstrument; ends the process where the words make no sense.
    """
    if found is None and words:
        found = find_program(words[0])
    if isinstance(found, Program):
        return _program_arguments(words, found)
    parts = _split_at_plus(words)
    args = _instrument_parser().parse_args(parts[0])
    args.found = found or find_instrument(args.instrument)
    args.others = [_other_parser().parse_args(other) for other in parts[1:]]
    args.command = _run_instrument
    return args


def _split_at_plus(words: Sequence[str]) -> list[list[str]]:
    """Return what stands between the words "+"."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "+":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _other_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="labioc run ... +", allow_abbrev=False)
    _add_instrument(parser)
    return parser


# an instrument


def _instrument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="labioc run", description=USAGE, allow_abbrev=False)
    _add_instrument(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--connect", metavar="URL", help="tcp://host:port or serial:///dev/ttyUSB0?baudrate=9600"
    )
    where.add_argument(
        "--simulate", action="store_true", help="start the bundled simulator and connect to it"
    )
    parser.add_argument(
        "--record", metavar="FILE", help="write what goes over the wire to a file, see docs/trace.md"
    )
    add_fault(parser)
    _add_server(parser)
    return parser


def _add_instrument(parser: argparse.ArgumentParser) -> None:
    """Add what is said of each instrument, but for where it is."""
    parser.add_argument("instrument", help="its name, as in labioc list")
    parser.add_argument(
        "--prefix", help="what stands before the PV names (default: the instrument's name and a colon)"
    )
    parser.add_argument("--name", help="what logs and errors call it (default: the instrument's name)")
    parser.add_argument("--variant", default="", help="the variant of the instrument, such as an option card")
    parser.add_argument(
        "--address", default="", help="its address, where several instruments can be on its line"
    )
    parser.add_argument(
        "--retry-every",
        type=float,
        metavar="SECONDS",
        help="the longest time between two attempts to connect (default: 0.4; on a line with others 30)",
    )
    parser.add_argument(
        "--raw", action="store_true", help="let clients send to it what they like, by the PV LINK:CMD"
    )
    parser.add_argument(
        "--macro", action="append", default=[], metavar="NAME=TEXT", help="a macro of the prefix"
    )
    parser.add_argument(
        "--alarm",
        action="append",
        default=[],
        metavar="PV=high:80,hihi:95",
        help="alarm limits of a reading: lolo, low, high, hihi, hysteresis",
    )
    parser.add_argument(
        "--scale",
        action="append",
        default=[],
        metavar="PV=STEPS/UNIT",
        help="show what is counted in steps in a unit: AXIS0:=51200/mm for a group, or the name of a PV",
    )
    parser.add_argument(
        "--limit", action="append", default=[], metavar="PV=LOW:HIGH", help="narrow the limits of a setpoint"
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    """Add what is said of the server and its process."""
    parser.add_argument(
        "--interfaces",
        nargs="+",
        default=os.environ.get("EPICS_CAS_INTF_ADDR_LIST", "").split() or [LOOPBACK],
        help="addresses to listen on (default: EPICS_CAS_INTF_ADDR_LIST, or loopback)",
    )
    parser.add_argument(
        "--list-pvs", action="store_true", help="print the names of the PVs once they are served"
    )
    add_helpers(parser)
    add_verbosity(parser)


def _run_instrument(args: argparse.Namespace) -> None:
    if not args.connect and not args.simulate:
        example = args.found.example
        raise Failure(f"where is the {args.found.name}? Give --connect {example}, or --simulate")
    if args.fault and not args.simulate:
        raise Failure("--fault is for --simulate; labioc fault-proxy has faults before a real instrument")
    asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> None:
    instrument: Instrument = args.found
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        url, simulator = args.connect, None
        if args.simulate:
            simulator = make_simulator(instrument, args.variant)
            set_faults(simulator, args.fault)
            url = await stack.enter_async_context(simulator.serve(f"tcp://{LOOPBACK}:0"))
        kinds = [(args, instrument), *((other, find_instrument(other.instrument)) for other in args.others)]
        configs = [_config(said, kind, url, args.simulate) for said, kind in kinds]
        host = Host(configs, interfaces=args.interfaces)
        helpers = Helpers(args, host.units[0].device.prefix, host.pvs)
        host.serve_too(helpers.pvs, helpers.restore)
        check_present(url)
        await stack.enter_async_context(control_socket(host, simulator))
        if args.record is not None:
            stack.enter_context(record(host.units[0].driver.port, args.record, instrument=instrument.name))
        if not await _entered(stack, host, stop):
            return
        await stack.enter_async_context(helpers.running(host.server))
        names = ", ".join(f"{unit.config.name} ({unit.driver.port.url})" for unit in host.units)
        _say_where(host.server, args, f"{len(host.pvs)} PVs of {names}")
        if args.list_pvs:
            print("\n".join(host.pvs), flush=True)
        await host.wait(stop)
        await host.server.stop()  # before the last save: what a client has put is in it


def _config(args: argparse.Namespace, instrument: Instrument, url: str, simulated: bool) -> InstrumentConfig:
    return InstrumentConfig(
        instrument=instrument,
        url=url,
        prefix=args.prefix if args.prefix is not None else f"{instrument.name.upper()}:",
        name=args.name or instrument.name,
        variant=args.variant,
        macros=dict(name_and_text(text, "NAME=TEXT") for text in args.macro),
        limits=dict(_limit(text) for text in args.limit),
        alarms=dict(_alarm(text) for text in args.alarm),
        scales=dict(_scale(text) for text in args.scale),
        simulated=simulated,
        address=args.address or (instrument.address if simulated else ""),
        retry_every=args.retry_every,
        raw=args.raw,
    )


async def _entered(stack: contextlib.AsyncExitStack, host: Host, stop: asyncio.Event) -> bool:
    """Start a host, unless a signal comes first."""
    starting = asyncio.create_task(stack.enter_async_context(host))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in (starting, stopping):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    return not stop.is_set()


def _limit(text: str) -> tuple[str, tuple[float, float]]:
    name, limits = name_and_text(text, "PV=LOW:HIGH")
    low, _, high = limits.partition(":")
    try:
        return name, (float(low), float(high))
    except ValueError:
        raise Failure(f"expected PV=LOW:HIGH, got {text!r}") from None


def _scale(text: str) -> tuple[str, Scale]:
    expected = "PV=STEPS/UNIT, such as AXIS0:=51200/mm"
    name, scale = name_and_text(text, expected)
    steps, _, unit = scale.partition("/")
    try:
        return name, Scale(float(steps), unit.strip())
    except (TypeError, ValueError) as error:
        raise Failure(f"expected {expected}, got {text!r}: {error}") from None


def _alarm(text: str) -> tuple[str, Alarm]:
    expected = "PV=high:80,hihi:95 (lolo, low, high, hihi, hysteresis)"
    name, limits = name_and_text(text, expected)
    try:
        values = {key: float(value) for key, _, value in (item.partition(":") for item in limits.split(","))}
        return name, Alarm(**values)  # type: ignore[arg-type]  # a wrong name is a TypeError
    except (TypeError, ValueError) as error:
        raise Failure(f"expected {expected}, got {text!r}: {error}") from None


def _say_where(server: CAServer, args: argparse.Namespace, what: str) -> None:
    if args.quiet:
        return
    print(f"labioc: serving {what}", file=sys.stderr)
    if list(args.interfaces) == [LOOPBACK]:
        print(
            "labioc: EPICS clients find them with EPICS_CA_ADDR_LIST=127.255.255.255 EPICS_CA_AUTO_ADDR_LIST=NO",
            file=sys.stderr,
        )
        print(
            f"labioc: ONLY THIS MACHINE CAN SEE THEM (127.0.0.1, port {server.search_port});"
            " to serve the network, add: --interfaces 0.0.0.0",
            file=sys.stderr,
        )
    else:
        print(f"labioc: on {', '.join(args.interfaces)}, port {server.search_port}", file=sys.stderr)
    sys.stderr.flush()


# an IOC without an instrument


def _program_arguments(words: Sequence[str], program: Program) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"labioc run {program.name}", description=program.title, allow_abbrev=False
    )
    parser.add_argument("program", help=argparse.SUPPRESS)
    parser.add_argument(
        "--prefix", default=program.prefix, help="what stands before the PV names (default: %(default)s)"
    )
    program.options(parser)
    _add_server(parser)
    args = parser.parse_args(words)
    args.found = program
    args.command = lambda args: asyncio.run(_serve_program(args))
    return args


async def _serve_program(args: argparse.Namespace) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        pvs = await stack.enter_async_context(args.found.serve(args))
        helpers = Helpers(args, args.prefix, pvs)
        await helpers.restore()
        server = CAServer(helpers.all, args.interfaces)
        await server.start()
        stack.push_async_callback(server.stop)
        await stack.enter_async_context(helpers.running(server))
        _say_where(server, args, f"{len(helpers.all)} PVs of {args.found.name}")
        if args.list_pvs:
            print("\n".join(helpers.all), flush=True)
        await stop.wait()
        await server.stop()  # before the last save: what a client has put is in it
