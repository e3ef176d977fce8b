"""The relay: any script publishes a variable by a put to a PV that doesn't exist yet; see docs/relay.md."""

import argparse
import asyncio
import contextlib
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

from labioc.iocs.core import Program, main
from labioc.iocs.core.command import Failure
from labioc.iocs.core.relay import Relay, Rules
from labioc.iocs.core.relay_pv import LETTERS
from labioc.iocs.core.relay_state import Keeper

log = logging.getLogger("labioc.relay")

RULES = Rules()
LONGEST_PREFIX = 40


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the relay."""
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="keep the PVs and their fields in this file over a restart"
    )
    parser.add_argument("--save-values", action="store_true", help="keep their values there, too")
    parser.add_argument(
        "--max-pvs",
        type=_count,
        default=RULES.max_pvs,
        metavar="N",
        help="PVs at most (default: %(default)s)",
    )
    parser.add_argument(
        "--max-count",
        type=_count,
        default=RULES.max_count,
        metavar="N",
        help="elements of a PV at most, each of which takes up to 8 bytes of memory (default: %(default)s)",
    )
    parser.add_argument(
        "--max-rate",
        type=_positive,
        default=RULES.max_rate,
        metavar="N",
        help="new PVs a second at most, on the average of ten seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--names",
        type=_pattern,
        metavar="REGEX",
        help="take only names that this fits, such as '(lab|hall)_.*'; it is for what stands behind the prefix",
    )
    parser.add_argument(
        "--stale",
        type=_positive,
        default=RULES.stale,
        metavar="SECONDS",
        help="PVs to which nobody has put for so long are INVALID, unless their .STALE says otherwise"
        " (default: never)",
    )
    parser.add_argument(
        "--drop-after",
        type=_positive,
        default=RULES.drop_after,
        metavar="SECONDS",
        help="drop a PV to which nobody has put for so long and which no client has open (default: never)",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it is a whole number, 1 at least, not {text}")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"it is a number above 0, not {text}")
    return number


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


@contextlib.asynccontextmanager
async def serve(args: argparse.Namespace) -> AsyncIterator[Relay]:
    """Make the PVs, and look after them. Raises Failure."""
    if not LETTERS.fullmatch(args.prefix) or len(args.prefix) > LONGEST_PREFIX:
        raise Failure(
            f"a relay needs a prefix of up to {LONGEST_PREFIX} letters, digits and _-+:;<>[], not {args.prefix!r}"
        )
    if args.save_values and args.state is None:
        raise Failure("--save-values needs --state FILE")
    if args.autosave and args.state is None:
        raise Failure("--autosave needs --state FILE: it restores fields of PVs that are there already")
    rules = Rules(
        max_pvs=args.max_pvs,
        max_count=args.max_count,
        max_rate=args.max_rate,
        names=args.names,
        stale=args.stale,
        drop_after=args.drop_after,
    )
    relay = Relay(args.prefix, rules, keeps_values=args.save_values)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(_running(relay.run, "the relay"))
        if args.state is None:
            log.info("nothing is kept over a restart: there is no --state FILE")
        else:
            keeper = Keeper(relay, args.state)
            stack.push_async_callback(keeper.close)
            keeper.load()
            await stack.enter_async_context(_running(keeper.run, "the keeper of its PVs"))
        yield relay


@contextlib.asynccontextmanager
async def _running(function: Callable[[], Coroutine[None, None, None]], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(function(), name=name)
    task.add_done_callback(_tell_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s has ended", task.get_name(), exc_info=task.exception())


program = Program(
    name="relay",
    title="The relay: makes a PV of every name that somebody puts to",
    prefix="relay:",
    options=options,
    serve=serve,
)

if __name__ == "__main__":
    main(program)
