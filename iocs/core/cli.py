"""The command line: ``labioc run``, ``sim``, ``replay``, ``trace`` and the others that `_parser` lists."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from labioc.devices.core import Alarm
from labioc.devices.core.table import HEADINGS, describe, markdown
from labioc.drivers.core.errors import LabiocError
from labioc.drivers.core.links import check_present
from labioc.drivers.core.recording import record

from .command import LOOPBACK, Failure, add_fault, add_verbosity, stop_signals
from .control import control_socket
from .host import Host
from .instrument import Instrument, InstrumentConfig, find_instrument, instrument_names
from .stand_ins import add_stand_ins, make_simulator, set_faults
from .trace import add_trace

USER_ERROR = 2


def main(instrument: Instrument | None = None) -> None:
    """Run the command line and exit: status 0, or 2 with one line on standard error.

    Args:
        instrument: run this one, as ``labioc run`` does; for ``python -m`` on the module of an IOC.
    """
    words = sys.argv[1:] if instrument is None else ["run", instrument.name, *sys.argv[1:]]
    words, *others = _split_at_plus(words) if words[:1] == ["run"] else [words]
    args = _parser().parse_args(words)
    args.found = instrument
    args.others = [_other_parser().parse_args(other) for other in others]
    _log_to_stderr(getattr(args, "verbose", 0), getattr(args, "quiet", False))
    try:
        args.command(args)
    except (LabiocError, Failure) as error:
        print(f"labioc: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(0)
    except BrokenPipeError:
        # whoever read the output has enough of it; the interpreter must not complain at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        print(f"labioc: {error.strerror or error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    sys.exit(0)


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


def _parser() -> argparse.ArgumentParser:
    version = f"labioc {metadata.version('labioc')}"
    parser = argparse.ArgumentParser(
        prog="labioc", description="Laboratory instruments on EPICS.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="serve an instrument as PVs; several on one line: run NAME ... + NAME ...",
        allow_abbrev=False,
    )
    run.set_defaults(command=_run)
    _add_instrument(run)
    where = run.add_mutually_exclusive_group()
    where.add_argument(
        "--connect", metavar="URL", help="tcp://host:port or serial:///dev/ttyUSB0?baudrate=9600"
    )
    where.add_argument(
        "--simulate", action="store_true", help="start the bundled simulator and connect to it"
    )
    run.add_argument(
        "--interfaces",
        nargs="+",
        default=_interfaces(),
        help="addresses to listen on (default: EPICS_CAS_INTF_ADDR_LIST, or loopback)",
    )
    run.add_argument(
        "--list-pvs", action="store_true", help="print the names of the PVs once they are served"
    )
    run.add_argument(
        "--record", metavar="FILE", help="write what goes over the wire to a file, see docs/trace.md"
    )
    add_fault(run)
    add_verbosity(run)

    add_stand_ins(commands)
    add_trace(commands)

    listing = commands.add_parser("list", help="list the instruments", allow_abbrev=False)
    listing.set_defaults(command=_list)

    describe = commands.add_parser(
        "describe", help="list the PVs of an instrument and the wire commands behind them", allow_abbrev=False
    )
    describe.set_defaults(command=_describe)
    describe.add_argument("instrument", help="its name, as in labioc list")
    describe.add_argument("--prefix", default="", help="what stands before the PV names")
    describe.add_argument("--variant", default="", help="the variant of the instrument")
    describe.add_argument("--markdown", action="store_true", help="as a table in Markdown")

    demo = commands.add_parser(
        "demo", help="a simulated temperature controller and its IOC, to play with", allow_abbrev=False
    )
    demo.set_defaults(command=_demo)

    for name, text in (
        ("get", "read PVs"),
        ("put", "write a PV and wait until it is done"),
        ("monitor", "follow PVs"),
    ):
        client = commands.add_parser(name, help=text, allow_abbrev=False)
        client.set_defaults(command=_client, action=name)
        client.add_argument("pv", nargs=1 if name == "put" else "+", help="the PV's name")
        if name == "put":
            client.add_argument("value", help="a number, a text or the name of a state")
        client.add_argument(
            "-s",
            "--server",
            metavar="HOST:PORT",
            help="where to search (default: the EPICS_CA_... variables)",
        )
        client.add_argument("--timeout", type=float, default=5.0, help="seconds to wait (default: 5)")
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
        "--limit", action="append", default=[], metavar="PV=LOW:HIGH", help="narrow the limits of a setpoint"
    )


def _interfaces() -> list[str]:
    return os.environ.get("EPICS_CAS_INTF_ADDR_LIST", "").split() or [LOOPBACK]


def _log_to_stderr(verbose: int, quiet: bool) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    own = logging.getLogger("labioc")
    own.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("labioc.wire").setLevel(logging.DEBUG if verbose > 1 else logging.INFO)


# labioc run


def _run(args: argparse.Namespace) -> None:
    instrument = args.found or find_instrument(args.instrument)
    if not args.connect and not args.simulate:
        raise Failure(f"where is the {instrument.name}? Give --connect {instrument.example}, or --simulate")
    if args.fault and not args.simulate:
        raise Failure("--fault is for --simulate; labioc fault-proxy has faults before a real instrument")
    asyncio.run(_serve(args, instrument))


async def _serve(args: argparse.Namespace, instrument: Instrument) -> None:
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
        check_present(url)
        await stack.enter_async_context(control_socket(host, simulator))
        if args.record is not None:
            stack.enter_context(record(host.units[0].driver.port, args.record, instrument=instrument.name))
        if not await _entered(stack, host, stop):
            return
        _say_where(host, args.interfaces, args.quiet)
        if args.list_pvs:
            print("\n".join(host.pvs), flush=True)
        await host.wait(stop)


def _config(args: argparse.Namespace, instrument: Instrument, url: str, simulated: bool) -> InstrumentConfig:
    return InstrumentConfig(
        instrument=instrument,
        url=url,
        prefix=args.prefix if args.prefix is not None else f"{instrument.name.upper()}:",
        name=args.name or instrument.name,
        variant=args.variant,
        macros=dict(_pair(text, "NAME=TEXT") for text in args.macro),
        limits=dict(_limit(text) for text in args.limit),
        alarms=dict(_alarm(text) for text in args.alarm),
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


def _pair(text: str, expected: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Failure(f"expected {expected}, got {text!r}")
    return name, value


def _limit(text: str) -> tuple[str, tuple[float, float]]:
    name, limits = _pair(text, "PV=LOW:HIGH")
    low, _, high = limits.partition(":")
    try:
        return name, (float(low), float(high))
    except ValueError:
        raise Failure(f"expected PV=LOW:HIGH, got {text!r}") from None


def _alarm(text: str) -> tuple[str, Alarm]:
    expected = "PV=high:80,hihi:95 (lolo, low, high, hihi, hysteresis)"
    name, limits = _pair(text, expected)
    try:
        values = {key: float(value) for key, _, value in (item.partition(":") for item in limits.split(","))}
        return name, Alarm(**values)  # type: ignore[arg-type]  # a wrong name is a TypeError
    except (TypeError, ValueError) as error:
        raise Failure(f"expected {expected}, got {text!r}: {error}") from None


def _say_where(host: Host, interfaces: Sequence[str], quiet: bool) -> None:
    if quiet:
        return
    names = ", ".join(f"{unit.config.name} ({unit.driver.port.url})" for unit in host.units)
    print(f"labioc: serving {len(host.pvs)} PVs of {names}", file=sys.stderr)
    port = host.server.search_port
    if list(interfaces) == [LOOPBACK]:
        print(
            "labioc: EPICS clients find them with EPICS_CA_ADDR_LIST=127.255.255.255 EPICS_CA_AUTO_ADDR_LIST=NO",
            file=sys.stderr,
        )
        print(
            f"labioc: ONLY THIS MACHINE CAN SEE THEM (127.0.0.1, port {port});"
            " to serve the network, add: --interfaces 0.0.0.0",
            file=sys.stderr,
        )
    else:
        print(f"labioc: on {', '.join(interfaces)}, port {port}", file=sys.stderr)
    sys.stderr.flush()


# labioc list, describe


def _list(args: argparse.Namespace) -> None:
    rows = []
    for name in instrument_names():
        try:
            rows.append((name, find_instrument(name).title))
        except LabiocError as error:
            rows.append((name, f"does not load: {error}"))
    _print_table(("name", "instrument"), rows)


def _describe(args: argparse.Namespace) -> None:
    instrument = find_instrument(args.instrument)
    driver = instrument.driver("tcp://localhost:1", variant=args.variant, address=instrument.address)
    rows = describe(instrument.device(args.prefix, driver=driver))
    if args.markdown:
        print("\n".join(markdown(rows)))
        return
    print(f"{instrument.title}\n")
    _print_table(HEADINGS, rows)


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# labioc demo


def _demo(args: argparse.Namespace) -> None:
    # a port of its own: the demo must not meet a laboratory's IOCs
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        os.environ["EPICS_CA_SERVER_PORT"] = str(probe.getsockname()[1])
    for name in ("EPICS_CAS_SERVER_PORT", "EPICS_CAS_INTF_ADDR_LIST"):
        os.environ.pop(name, None)
    asyncio.run(_run_demo())


async def _run_demo() -> None:
    instrument = find_instrument("lakeshore336")
    with stop_signals() as stop:
        simulator = instrument.simulator("")
        async with simulator.serve(f"tcp://{LOOPBACK}:0") as url:
            config = InstrumentConfig(
                instrument=instrument, url=url, prefix="demo:", name="demo", simulated=True
            )
            host = Host([config])
            async with control_socket(host, simulator), host:
                print(_demo_text(url, host.server.search_port), flush=True)
                await host.wait(stop)


def _demo_text(url: str, port: int) -> str:
    command = Path(sys.argv[0])
    labioc = os.path.relpath(command) if command.name == "labioc" else "labioc"
    return DEMO_TEXT.format(
        labioc=labioc, url=url, port=port, bin=os.path.dirname(labioc) + os.sep * ("/" in labioc)
    )


DEMO_TEXT = """
A simulated Lake Shore 336 temperature controller listens at {url}.
Its IOC serves it as PVs named demo:... on this machine only.

Open a second terminal in this folder. What is the temperature at input A, in kelvin?

    {labioc} get -s :{port} demo:A:TEMP

Heat it: ask for 77 K at output 1, and switch its heater on.

    {labioc} put -s :{port} demo:OUT1:SETP 77
    {labioc} put -s :{port} demo:OUT1:RANGE HIGH

Watch the temperature follow (Ctrl-C ends it):

    {labioc} monitor -s :{port} demo:A:TEMP demo:OUT1:OUTPUT

Any other EPICS client works as well, once it knows where to look:

    export EPICS_CA_ADDR_LIST=127.0.0.1 EPICS_CA_AUTO_ADDR_LIST=NO EPICS_CA_SERVER_PORT={port}
    {bin}caproto-get --no-repeater demo:A:TEMP
    {bin}caproto-put --no-repeater demo:OUT1:SETP 50
    {bin}caproto-monitor --no-repeater demo:A:TEMP

Ctrl-C here ends the demo.
"""


# labioc get, put, monitor


def _client(args: argparse.Namespace) -> None:
    from . import client  # caproto's client reads the environment when it is loaded

    client.search_at(args.server)
    if args.action == "get":
        client.get(args.pv, args.timeout)
    elif args.action == "put":
        client.put(args.pv[0], args.value, args.timeout)
    else:
        client.monitor(args.pv, args.timeout)
