"""The command line: ``labioc run``, ``sim``, ``replay``, ``trace`` and the others that `_parser` lists."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from labioc.devices.core.table import HEADINGS, describe, markdown
from labioc.drivers.core.errors import LabiocError

from .command import LOOPBACK, Failure, stop_signals
from .control import control_socket
from .host import Host
from .instrument import Instrument, InstrumentConfig, find_instrument, instrument_names
from .program import Program, find_program, program_names
from .run import USAGE, run_arguments
from .stand_ins import add_stand_ins
from .trace import add_trace

USER_ERROR = 2


def main(found: Instrument | Program | None = None) -> None:
    """Run the command line and exit: status 0, or 2 with one line on standard error.

    Args:
        found: run this one, as ``labioc run`` does; for ``python -m`` on the module of an IOC.
    """
    words = sys.argv[1:] if found is None else ["run", found.name, *sys.argv[1:]]
    try:
        args = run_arguments(words[1:], found) if words[:1] == ["run"] else _parser().parse_args(words)
        _log_to_stderr(getattr(args, "verbose", 0), getattr(args, "quiet", False))
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


def _parser() -> argparse.ArgumentParser:
    version = f"labioc {metadata.version('labioc')}"
    parser = argparse.ArgumentParser(
        prog="labioc", description="Laboratory instruments on EPICS.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    commands.add_parser("run", help=USAGE)
    add_stand_ins(commands)
    add_trace(commands)

    listing = commands.add_parser("list", help="list what labioc can run", allow_abbrev=False)
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


def _log_to_stderr(verbose: int, quiet: bool) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    own = logging.getLogger("labioc")
    own.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("labioc.wire").setLevel(logging.DEBUG if verbose > 1 else logging.INFO)


# labioc list, describe


def _list(args: argparse.Namespace) -> None:
    rows = []
    for name in instrument_names():
        try:
            rows.append((name, find_instrument(name).title))
        except LabiocError as error:
            rows.append((name, str(error)))
    rows += [(name, program.title) for name in program_names() if (program := find_program(name))]
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
