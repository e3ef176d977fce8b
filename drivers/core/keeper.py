"""The keeper of a port: connects, identifies, gets into step again, and tries anew for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import (
    DeviceError,
    LabiocError,
    LinkDown,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    TruncatedReply,
    WrongInstrument,
)
from .exchanger import Exchanger
from .line import Connection
from .port import ECHO, LinkState, left
from .protocol import Lines, Part, Request
from .wire import DOWN

if TYPE_CHECKING:
    from .port import Port

FIRST_BACK_OFF = 0.2
LAST_BACK_OFF = 0.4  # with the time-out of a fence, a recovery is seen within 0.5 s and the time-out
SHARED_BACK_OFF = (
    30.0  # while others talk on the line, whom an attempt costs a time-out; the jitter leaves half of it
)
FENCE_PATIENCE = (0.05, 0.5)  # twice the last round trip, within these bounds, seconds; a busy machine stalls
POWER_PERIOD = 10.0  # how often an instrument is asked whether it has been without power, seconds
VAIN = 8  # in one of so many attempts it is found out whether an instrument answers nothing but a fence's question
STEADY = 2.0  # a link that stood for so long, in seconds, is tried again at once


class Keeper:
    """The task that keeps a port's link.

    Attributes:
        attempted: set at the end of the first attempt to connect.
        wanted: set to have the next attempt at once.
    """

    def __init__(self, port: Port) -> None:
        protocol = port.protocol
        self.attempted = asyncio.Event()
        self.wanted = asyncio.Event()
        self._port = port
        self._protocol = protocol
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

        def request(text: str, *, times: int = 1, answered: bool = True) -> Request:
            part = Part(text.replace("{addr}", port.address), answered)
            return protocol.requests(*[part] * times)[0]

        self._fence = request(protocol.identify[0]) if protocol.identify else None
        port.identity_question = self._fence.payload if self._fence is not None else None
        self._pattern = (
            re.compile(protocol.identify[1].replace("{addr}", re.escape(port.address)))
            if protocol.identify
            else None
        )
        self._first: Request | None = None
        if (first := protocol.fence(port.line.framing)) is not None:
            self._first = request(first)
        self._silence = protocol.lateness(port.line.framing)
        self._vain = 0  # how often the first question of a fence was not answered
        self._joined = request(protocol.identify[0], times=2) if protocol.identify and port.joins else None
        if (
            self._joined is not None
            and self._fence is not None
            and self._joined.payload == self._fence.payload
        ):
            self._joined = None  # the protocol knows what it can join
        self._confirm = request(protocol.confirm[0]) if protocol.confirm else None
        self._power_on = request(protocol.power_on[0]) if protocol.power_on else None
        self._set_up_at = 0
        self._last_good = -1.0
        self._tells_power = True
        self._setup = [request(text, answered=protocol.accepted is not None) for text in protocol.setup]
        self._variant = re.compile(protocol.variants[port.variant]) if port.variant else None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._keep(), name=f"port {self._port.name}")

    async def stop(self) -> None:
        """End, and close the link."""
        assert self._task is not None
        while not self._task.done():
            # again and again: asyncio.wait_for, in an exchanger from outside, swallows it before Python 3.12
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.1)
        self.attempted.set()
        self._port.set_state(LinkState.DOWN, LinkDown(f"{self._port.name}: closed"))
        await self._hang_up()

    async def _keep(self) -> None:
        back_off = 0.0
        while True:
            began = time.monotonic()
            self.wanted.clear()
            try:
                connection = await self._connect()
                self.wanted.clear()
                began = time.monotonic()
                port = self._port
                level = logging.INFO if self._is_news() else logging.DEBUG
                port.log.log(level, "%s: connected to %s: %s", port.name, port.url, port.identity)
                port.statistics.connects += 1
                self._set_up_at = port.statistics.epoch
                port.set_state(LinkState.UP, None)
                self.attempted.set()
                await self._watch(connection)
            except LabiocError as error:
                self._set_down(error)
            except Exception as error:
                self._set_down(LinkDown(f"internal error: {error!r}"), error)
            self.attempted.set()
            # a link that comes up and falls at once is as dead as one that does not come up
            if time.monotonic() - began > STEADY:
                back_off = 0.0
            stands = self._connection is not None and not self._connection.lost.done()
            # once more at once: two losses in a row are no death
            if stands and back_off and not self._is_worth_trying():
                back_off = self._longest
            await self._pause(back_off * random.uniform(0.5, 1.0))
            back_off = min(max(2 * back_off, FIRST_BACK_OFF), self._longest)

    async def _pause(self, seconds: float) -> None:
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(asyncio.sleep(seconds)),
            asyncio.ensure_future(self.wanted.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _is_worth_trying(self) -> bool:
        # an attempt at a dead address holds up those that are alive for a time-out
        return not self._port.line.serves_others(self._port)

    @property
    def _longest(self) -> float:
        if self._port.retry_every is not None:
            return self._port.retry_every
        return LAST_BACK_OFF if self._is_worth_trying() else SHARED_BACK_OFF

    async def _connect(self) -> Connection:
        port = self._port
        await self._hang_up()
        connection = self._connection = await port.line.hold(port)
        port.exchanger = connection.exchanger
        async with port.line.mending(port):
            port.trouble.clear()
            await self._raise_fence(connection.exchanger)
            if self._variant is not None and not self._variant.search(port.identity):
                raise WrongInstrument(
                    f"expected the variant {port.variant!r}, which answers {self._variant.pattern!r};"
                    f" {port.url} answers {port.identity!r}"
                )
            await self._learn(connection.exchanger)
        return connection

    async def _learn(self, exchanger: Exchanger) -> None:
        """Find out whether the instrument does all that its manual says; an old firmware or an emulator may not."""
        port, protocol = self._port, self._protocol
        port.forget_learnt()
        self._tells_power = True
        await self._ask_for_power(exchanger)
        if self._joined is not None:
            both = f"{port.identity}{protocol.join}{port.identity}"
            answers = await self._try(exchanger, self._joined)
            port.joins = answers is not None and f"{protocol.join}".join(answers) == both
            if answers is not None and not port.joins:
                await self._do_without(exchanger, self._joined)
        if self._confirm is not None:
            # the answer is about what came before this connection
            verdict = await self._try(exchanger, self._confirm, judge=True)
            port.confirms = verdict is not None
            port.on_verdict(verdict[0] if verdict else "")
        await self._set_up(exchanger)

    async def _set_up(self, exchanger: Exchanger) -> None:
        """Send what the instrument is set up with. It may be refused: an error in the log, and the port goes on."""
        port, protocol = self._port, self._protocol
        port.listens = True
        for request in self._setup:
            answers = await self._try(exchanger, request, 1)
            if answers and not self._accepts(protocol.is_accepted, answers[0]):
                port.log.error("%s: %r was refused: %r", port.name, request.text, answers[0])
        if self._setup and self._confirm is not None and protocol.confirm is not None and port.confirms:
            answers = await self._try(exchanger, self._confirm)
            port.on_verdict(answers[0] if answers else "")
            if answers and not self._accepts(protocol.confirm[1], answers[0]):
                port.log.error("%s: setting it up was refused: %r", port.name, answers[0])

    @staticmethod
    def _accepts(judge: Callable[[str], bool], answer: str) -> bool:
        try:
            return judge(answer)
        except ValueError:
            return False

    async def _try(
        self, exchanger: Exchanger, request: Request, attempts: int = 2, *, judge: bool = False
    ) -> list[str] | None:
        """Ask, a second time if need be: one answer may be lost before an instrument is held not to know it.

        With ``judge``, an answer to the confirm question must make sense, if it says anything.
        """
        for further in reversed(range(attempts)):
            try:
                answers = await self._port.ask(exchanger, request)
                if judge and answers[0] and self._protocol.confirm is not None:
                    self._protocol.confirm[1](answers[0])
                return answers
            except (TimeoutError, TruncatedReply, ReplyError, ValueError):
                if further:
                    await self._raise_fence(exchanger)
        await self._do_without(exchanger, request)
        return None

    async def _do_without(self, exchanger: Exchanger, request: Request) -> None:
        port = self._port
        port.log.warning("%s: no proper answer to %r: going on without", port.name, request.payload)
        await self._raise_fence(exchanger)

    async def _ask_for_power(self, exchanger: Exchanger) -> None:
        """Find out whether the instrument has been without power since it was asked before."""
        if self._power_on is None or self._protocol.power_on is None or not self._tells_power:
            return
        port = self._port
        try:
            answers = await port.ask(exchanger, self._power_on)
            was_off = self._protocol.power_on[1](answers[0])
        except (TimeoutError, DeviceError, ValueError):
            if port.state is LinkState.DOWN:
                self._tells_power = False
                await self._do_without(exchanger, self._power_on)
            else:
                port.statistics.doubts += 1
                await self._raise_fence(exchanger)
            return
        if was_off and port.statistics.connects:
            port.lost_power()

    async def _watch(self, connection: Connection) -> None:
        """Wait for trouble and mend it with a fence, for as long as the connection stands."""
        port, line = self._port, self._port.line
        wanted = asyncio.ensure_future(self.wanted.wait())
        try:
            while True:
                trouble = asyncio.ensure_future(port.trouble.wait())
                try:
                    waits: list[asyncio.Future[Any]] = [trouble, wanted, connection.lost]
                    period = POWER_PERIOD if self._power_on is not None else None
                    done, _ = await asyncio.wait(waits, timeout=period, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    trouble.cancel()
                if connection.lost.done():
                    raise LinkDown(f"{port.url} closed the connection")
                if wanted.done():
                    anew = LinkDown(f"{port.url}: told to connect anew")
                    self._set_down(anew)
                    await line.cut(connection)
                    raise anew
                patience = asyncio.get_running_loop().call_later(
                    min(max(2 * port.statistics.round_trips[-1], FENCE_PATIENCE[0]), FENCE_PATIENCE[1]),
                    port.lose_patience,
                )
                try:
                    async with line.mending(port):
                        await self._mend(connection.exchanger, in_trouble=bool(done))
                finally:
                    patience.cancel()
                is_anew = self._set_up_at != port.statistics.epoch
                self._set_up_at = port.statistics.epoch
                if (done or is_anew) and not port.trouble.is_set():
                    port.set_state(LinkState.UP, None)
        finally:
            wanted.cancel()

    async def _mend(self, exchanger: Exchanger, *, in_trouble: bool) -> None:
        """Get into step, and find out whether the instrument is as it was; the line's turn is ours."""
        port = self._port
        was_silent = port.silences > 0
        if in_trouble:
            port.trouble.clear()
            await self._raise_fence(exchanger)
            port.log.debug("%s: in step again", port.name)
        if was_silent or not in_trouble:
            await self._ask_for_power(exchanger)
        if self._set_up_at != port.statistics.epoch:
            await self._set_up(exchanger)

    async def _raise_fence(self, exchanger: Exchanger) -> None:
        """Drop all that came and may still come of earlier questions; the port's turn is ours."""
        port, protocol = self._port, self._protocol
        port.line.forget_beginning()
        port.statistics.discarded += bool(exchanger.resynchronise())
        if self._pattern is None or self._fence is None:
            # also at a connect: behind a device server, an answer to the former connection may still come
            assert protocol.max_late is not None
            await asyncio.sleep(protocol.max_late)
            exchanger.resynchronise()
            if port.silences > 1:
                port.silences = 0
                raise ReplyTimeout(f"no reply to anything ({port.url})")
            return
        gap = port.line.gap(protocol)
        pause = max(gap, self._silence, port.line.quiet_until - time.perf_counter())
        if pause > 0:
            await asyncio.sleep(pause)
            if self._silence:
                exchanger.resynchronise()
        question = self._first or self._fence
        deadline = time.perf_counter() + question.timeout
        strange: bytes | None = None
        reply, why = b"", ""
        try:
            await exchanger.send(port.line.sealed(question.payload))
            while True:
                try:
                    reply = await exchanger.receive(left(deadline))
                    text = protocol.said(question, reply)
                except (ReplyError, RefusedError, ReadingInvalid) as error:
                    strange = str(error).encode()
                    if not isinstance(error, RefusedError) or protocol.identity_is_unique:
                        continue
                    text = ""  # it is in step, and does not tell what it is
                except TruncatedReply as error:
                    why = str(error)
                    continue
                if text is not None and question is self._first:
                    # in step; now the instrument is asked what it is
                    self._vain = -1
                    exchanger.resynchronise()
                    question = self._fence
                    await asyncio.sleep(gap)
                    deadline = time.perf_counter() + question.timeout
                    await exchanger.send(port.line.sealed(question.payload))
                    continue
                if text is not None and self._pattern.match(text):
                    port.identity = text
                    port.identity_reply = reply if protocol.identity_is_unique else None
                    exchanger.resynchronise()  # what came with it answers nothing
                    port.line.quiet_until = time.perf_counter() + gap
                    return
                strange = reply
                port.statistics.discarded += 1
        except TimeoutError as error:
            if question is self._first:
                if await self._is_known_without(exchanger):
                    return
                came = (
                    f"no reply to {question.text!r}" if strange is None else f"nothing but {strange[:80]!r}"
                )
                raise ReplyTimeout(f"{why or came} ({port.url})") from None
            raise self._no_identity(strange, why or str(error)) from None

    async def _is_known_without(self, exchanger: Exchanger) -> bool:
        """Find out whether an instrument that never answered the first question of a fence answers after a silence."""
        self._vain += self._vain >= 0
        if self._vain % VAIN != 1 or self._protocol.max_late is None:
            return False
        port, first = self._port, self._first
        self._first, self._silence = None, self._protocol.max_late
        try:
            await self._raise_fence(exchanger)
        except LabiocError as error:
            self._first, self._silence = first, 0.0
            if isinstance(error, ReplyTimeout):
                return False
            raise
        port.log.warning(
            "%s: no answer to %r: going on without; after trouble it is given %g s of silence",
            *(port.name, first.text if first is not None else "", self._silence),
        )
        return True

    def _no_identity(self, strange: bytes | None, why: str) -> LabiocError:
        port = self._port
        assert self._fence is not None
        assert self._pattern is not None
        ask = self._fence.text
        if strange is not None and self._fence.payload.startswith(strange) and strange.strip():
            return ReplyTimeout(f"nothing but {strange!r} came: {ECHO} ({port.url})")
        # a frame of another answer looks like anything; a line of it is text
        is_message = not isinstance(self._protocol, Lines) or (strange or b"").isascii()
        if strange is None or (port.state is LinkState.SUSPECT and is_message) or port.line.is_shared:
            # what came while the link was up may have been the late answer, or another instrument's
            what = why or f"no reply to {ask!r} within {self._fence.timeout:g} s"
            return ReplyTimeout(f"{what} ({port.url})")
        came = f"{port.url} answers {strange[:80]!r}"
        if not is_message:
            return ReplyError(f"{came}, which is no text: has the line the right speed and parity?")
        return WrongInstrument(
            f"expected an instrument that answers {ask!r} with {self._pattern.pattern!r}; {came}"
        )

    def _is_news(self) -> bool:
        # without a fence a connection proves nothing, and a dead instrument would be news at each attempt
        return self._fence is not None or self._port.statistics.last_good != self._last_good

    def _set_down(self, error: LabiocError, cause: Exception | None = None) -> None:
        # an error is logged when it begins, not at each attempt
        port = self._port
        begins = port.state is not LinkState.DOWN or type(port.error) is not type(error)
        if (begins and self._is_news()) or not self.attempted.is_set():
            self._last_good = port.statistics.last_good
            port.log.warning("%s: %s", port.name, error, exc_info=cause)
            port.line.wire.event(DOWN, str(error))
            port.count(error)
        port.set_state(LinkState.DOWN, error)

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        self._port.exchanger = None
        if connection is not None:
            await self._port.line.let_go(self._port, connection)
