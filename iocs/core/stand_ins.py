"""``labioc sim | replay | fault-proxy``: what stands in for an instrument, or before it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import Any

from labioc.drivers.core.links import check_present
from labioc.sim.core import Replay, Simulator, fault_switches, serve_control

from .command import LOOPBACK, Failure, add_fault, add_verbosity, port_number, stop_signals
from .fault_proxy import FaultProxy
from .instrument import Instrument, find_instrument


def add_stand_ins(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands to the command line."""
    sim = commands.add_parser("sim", help="run a simulator", allow_abbrev=False)
    sim.set_defaults(command=_sim)
    sim.add_argument("instrument", help="its name, as in labioc list")
    _add_place(sim, "--port")
    sim.add_argument("--variant", default="", help="the variant of the instrument")
    sim.add_argument("--speed", type=_positive, default=1.0, help="simulated seconds for each real second")
    _add_faults(sim)

    replay = commands.add_parser(
        "replay", help="let a recording answer as the instrument did", allow_abbrev=False
    )
    replay.set_defaults(command=_replay)
    replay.add_argument(
        "recording", type=Path, metavar="FILE", help="what labioc run --record FILE has written"
    )
    _add_place(replay, "--port")
    replay.add_argument("--timing", action="store_true", help="answers take as long as they did")
    replay.add_argument(
        "--session", type=int, default=-1, metavar="N", help="which one in the file (default: the latest)"
    )
    _add_faults(replay)

    proxy = commands.add_parser(
        "fault-proxy", help="let the line to an instrument go wrong", allow_abbrev=False
    )
    proxy.set_defaults(command=_fault_proxy)
    proxy.add_argument("target", metavar="URL", help="where the instrument is, as for labioc run --connect")
    _add_place(proxy, "--listen")
    proxy.add_argument(
        "--eol", type=_bytes, default=b"\n", help=r"what ends a reply, such as '\r\n' (default: \n)"
    )
    proxy.add_argument(
        "--command-eol", type=_bytes, default=b"", help="what ends a command (default: as --eol)"
    )
    _add_faults(proxy)


def make_simulator(instrument: Instrument, variant: str) -> Simulator:
    """Make the simulator of an instrument. Raises Failure if it has no such variant."""
    known = instrument.driver.protocol.variants
    if variant and variant not in known:
        raise Failure(
            f"unknown variant {variant!r} of {instrument.name}; there are: {', '.join(known) or 'none'}"
        )
    return instrument.simulator(variant)


def set_faults(faulty: Simulator | FaultProxy, faults: list[str]) -> None:
    """Switch faults on. Raises Failure for a text that is none."""
    try:
        faulty.faults.add(*faults)
    except ValueError as error:
        raise Failure(str(error)) from None


def _add_place(parser: argparse.ArgumentParser, port: str) -> None:
    at = parser.add_mutually_exclusive_group()
    at.add_argument(
        port,
        dest="port",
        type=port_number,
        default=0,
        metavar="PORT",
        help="TCP port (default: a free one)",
    )
    at.add_argument("--pty", action="store_true", help="serve a pseudo-terminal instead of a TCP port")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on (default: loopback)")


def _add_faults(parser: argparse.ArgumentParser) -> None:
    add_fault(parser)
    parser.add_argument(
        "--control",
        metavar="PATH|PORT",
        help="a socket where faults are switched: a file of this user alone, or a TCP port on loopback",
    )
    add_verbosity(parser)


def _bytes(text: str) -> bytes:
    made = text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")
    if not made:
        raise argparse.ArgumentTypeError("a terminator has one byte at least")
    return made


def _positive(text: str) -> float:
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)


def _sim(args: argparse.Namespace) -> None:
    instrument = find_instrument(args.instrument)
    asyncio.run(_simulate(args, instrument))


async def _simulate(args: argparse.Namespace, instrument: Instrument) -> None:
    simulator = make_simulator(instrument, args.variant)
    simulator.clock.speed = args.speed
    await _serve_faulty(simulator, args, f"{instrument.name} simulator")


def _replay(args: argparse.Namespace) -> None:
    try:
        replay = Replay(args.recording, session=args.session, timing=args.timing)
    except ValueError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"can't replay {args.recording}: {error.strerror}") from None
    asyncio.run(_serve_faulty(replay, args, f"replay of {args.recording}"))


def _fault_proxy(args: argparse.Namespace) -> None:
    check_present(args.target)
    proxy = FaultProxy(args.target, eol=args.eol, command_eol=args.command_eol)
    asyncio.run(_serve_faulty(proxy, args, f"fault proxy to {args.target}"))


async def _serve_faulty(faulty: Simulator | FaultProxy, args: argparse.Namespace, what: str) -> None:
    set_faults(faulty, args.fault)
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        at = "pty:" if args.pty else f"tcp://{args.host}:{args.port}"
        where = await stack.enter_async_context(faulty.serve(at))
        said = [f"{what} at {where}"]
        if args.control is not None:
            control = serve_control(fault_switches(faulty), args.control)
            said.append(f"control at {await stack.enter_async_context(control)}")
        print("\n".join(said), flush=True)
        await stop.wait()
