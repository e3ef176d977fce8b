"""What becomes of answers: taken, judged side by side, kept, made known; asked again where the line spoilt them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import DeviceError, LabiocError, LinkDown, ReadingInvalid, RefusedError, ReplyError, ReplyTimeout
from .protocol import Request

if TYPE_CHECKING:
    from .bound import BoundReadback
    from .port import Port


class _Spoilt(ReplyError):
    """Raised when an answer makes no sense; it stands on its readback."""


def distribute(
    readbacks: Sequence[BoundReadback[Any]],
    answers: Sequence[str],
    stamp: float,
    refusals: Mapping[int, RefusedError] = MappingProxyType({}),
) -> None:
    """Give each readback its answer, or the refusal to answer; raise a fence if one makes no sense; finish them."""
    for place, error in refusals.items():
        readbacks[place].refuse(error)
    answered = [place for place in range(len(readbacks)) if place not in refusals]
    _take_all([readbacks[place] for place in answered], [answers[place] for place in answered])
    finish(readbacks, stamp)


def _take_all(readbacks: Iterable[BoundReadback[Any]], answers: Iterable[str]) -> bool:
    """Give each readback its answer; False if one makes no sense."""
    sensible = True
    for readback, answer in zip(readbacks, answers, strict=True):
        readback.take(answer)
        if readback.error is not None:
            readback.block.driver.port.distrust(readback.error)
            sensible = False
    return sensible


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
    port: Port,
    asked: Sequence[BoundReadback[Any]],
    requests: Sequence[Request],
    label: Callable[[], str],
    *,
    order: Sequence[BoundReadback[Any]] | None = None,
) -> None:
    """Ask for several readbacks in one exchange; a failure of it stands on each of them, and is raised.

    What the instrument refuses of several stands on that one alone. What is lost or spoilt is asked again as often as
    the protocol says, before anybody hears of it.

    Args:
        port: where they are asked.
        asked: the readbacks, each behind those that it depends on.
        requests: what asks for them.
        label: what error messages call them.
        order: the readbacks as they stand in the requests, if that is another order.
    """
    order = asked if order is None else order

    async def attempt(writes: int | None) -> None:
        refusals: dict[int, RefusedError] = {}
        several = refusals if len(asked) > 1 else None
        answers = await port.exchange(requests, label, refusals=several)
        if refusals:
            for place, error in refusals.items():
                order[place].refuse(error)
            answered = [place for place in range(len(order)) if place not in refusals]
            sensible = _take_all([order[n] for n in answered], [answers[n] for n in answered])
        else:
            sensible = _take_all(order, answers)
        if not sensible:
            raise _Spoilt

    await patiently(port, asked, attempt)
    finish(asked, time.time())


async def patiently(
    port: Port, asked: Sequence[BoundReadback[Any]], attempt: Callable[[int | None], Awaitable[None]]
) -> None:
    """Make an attempt, as often as the protocol says; a failure stands on all the readbacks, and is raised."""
    # what failed before fails again, most likely: its alarm is known, and each try costs the others time
    retries = 0 if any(readback.alone for readback in asked) else port.retries
    try:
        await port.repeated(attempt, retries)
    except _Spoilt:
        pass
    except LabiocError as failure:
        error = failure
        if isinstance(failure, RefusedError):
            error = ReadingInvalid(str(failure))
            error.refused = True
        alone = error.asked and isinstance(error, (ReplyTimeout, LinkDown, DeviceError))
        for readback in asked:
            readback.fail(error, alone=alone)
        raise error from None
