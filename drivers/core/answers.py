"""What becomes of answers: taken, judged side by side, kept, made known; asked again where the line spoilt them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import DeviceError, LabiocError, LinkDown, ReadingInvalid, RefusedError, ReplyError, ReplyTimeout
from .protocol import Request

if TYPE_CHECKING:
    from .bound import BoundReadback
    from .port import Port


class _Spoilt(ReplyError):
    """Raised when an answer makes no sense; it stands on its readback."""


def distribute(readbacks: Sequence[BoundReadback[Any]], answers: Iterable[str], stamp: float) -> None:
    """Give each readback its answer, and raise a fence if one makes no sense; then finish them."""
    _take_all(readbacks, answers)
    finish(readbacks, stamp)


def _take_all(readbacks: Sequence[BoundReadback[Any]], answers: Iterable[str]) -> None:
    for readback, answer in zip(readbacks, answers, strict=True):
        readback.take(answer)
        if readback.error is not None:
            readback.block.driver.port.distrust(readback.error)


def finish(readbacks: Sequence[BoundReadback[Any]], stamp: float) -> None:
    """Let each readback judge what it has taken beside the others', then make all known."""
    for readback in readbacks:
        readback.judge(stamp)
        readback.note()
    publish(readbacks, stamp)


def publish(readbacks: Sequence[BoundReadback[Any]], stamp: float) -> None:
    """Tell whoever listens to these readbacks, and compute, once, what depends on them."""
    dependants: dict[BoundReadback[Any], None] = {}
    for readback in readbacks:
        readback.announce()
        if readback.dependants:
            dependants.update(dict.fromkeys(readback.dependants))
    for dependant in dependants:
        dependant.compute(stamp)


async def read_all(
    port: Port, asked: Sequence[BoundReadback[Any]], requests: Sequence[Request], label: Callable[[], str]
) -> None:
    """Ask for several readbacks in one exchange; a failure of it stands on each of them, and is raised.

    What is lost or spoilt is asked again as often as the protocol says, before anybody hears of it.
    """

    async def attempt(writes: int | None) -> None:
        _take_all(asked, await port.exchange(requests, label))
        if any(readback.error is not None for readback in asked):
            raise _Spoilt

    # what failed before fails again, most likely: its alarm is known, and each try costs the others time
    retries = 0 if any(readback.alone for readback in asked) else port.retries
    try:
        await port.repeated(attempt, retries)
    except _Spoilt:
        pass
    except LabiocError as failure:
        error = ReadingInvalid(str(failure)) if isinstance(failure, RefusedError) else failure
        alone = error.asked and isinstance(error, (ReplyTimeout, LinkDown, DeviceError))
        for readback in asked:
            readback.fail(error, alone=alone)
        raise error from None
    finish(asked, time.time())
