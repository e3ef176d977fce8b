"""The sequence server: ``labioc run sequence --prefix LAB:SEQ: --system path/to/file.py:System``."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import AsyncIterator, Mapping

from labioc.devices.core._caproto import ChannelData

from .core import Program, main
from .core.command import Failure
from .core.pvgroups import load, running
from .core.sequence import SequenceServer


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--system",
        metavar="FILE.py:NAME",
        help="the class of the system, with io_execute(pv_name, value) or run(), or an object of it; also"
        " package.module:NAME (default: none, a put is done at once)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="the longest time that the system may take for a command",
    )


@contextlib.asynccontextmanager
async def _serve(args: argparse.Namespace) -> AsyncIterator[Mapping[str, ChannelData]]:
    if args.timeout is not None and not 0 < args.timeout < math.inf:
        raise Failure(f"--timeout takes seconds above 0, not {args.timeout:g}")
    server = SequenceServer(args.prefix)
    server.timeout = args.timeout
    if args.system is not None:
        server.system = load(args.system)
    async with running(server):
        yield server.pvdb


program = Program(
    "sequence", "Sequence server: PVs in front of blocking code", _serve, prefix="SEQ:", options=_add_options
)

if __name__ == "__main__":
    main(program)
