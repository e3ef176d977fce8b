"""Blocking work beside the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def in_thread(function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Run a blocking function in a thread of its own, and return what its result comes in.

    Nobody waits for that thread when the process ends, so one that hangs holds nothing up; asyncio.to_thread does.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # without an error there is a result
        else:
            future.set_exception(error)

    def work() -> None:
        result, failure = None, None
        try:
            result = function(*arguments)
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name=f"labioc {function.__name__}", daemon=True).start()
    return future


def from_thread(function: Callable[..., object]) -> Callable[..., None]:
    """Return what other threads call instead of a function of the event loop, such as one that posts to PVs.

    The event loop calls the function soon afterwards. When the loop has ended nothing is done.
    """
    loop = asyncio.get_running_loop()

    def call(*arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(function, *arguments)

    return call
