"""Drivers: an instrument as a class, its channels as classes, and the instances that talk."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, overload

from .answers import finish, read_all
from .bound import Bound, BoundReadback
from .conversation import BoundReading, Reading
from .errors import (
    AddressError,
    DefinitionError,
    DeviceError,
    LabiocError,
    MissingChannel,
    ReplyError,
    ReplyTimeout,
    UserError,
)
from .line import Line
from .parameters import Parameter, Readback
from .port import LinkState, Port
from .procedure import BoundResult
from .protocol import Protocol, Request

C = TypeVar("C", bound="Channel")
K = TypeVar("K", bound="str | int")
T = TypeVar("T")

MOST_LAYOUTS = 100  # of groups of readbacks
_Layout = tuple[tuple[BoundReadback[Any], ...], tuple[Request, ...]]


class BoundChannels(Mapping[K, C]):
    """The channels of one instrument, by key."""

    def __init__(self, name: str, channels: dict[K, C], missing: Mapping[K, str]) -> None:
        self._name = name
        self._channels = channels
        self._missing = missing

    def __getitem__(self, key: K) -> C:
        try:
            return self._channels[key]
        except KeyError:
            if key in self._missing:
                hint = f"it comes with the variant {self._missing[key]!r}"
            else:
                hint = f"expected one of {', '.join(map(str, self._channels))}"
            raise MissingChannel(f"{self._name}[{key!r}] does not exist: {hint}") from None

    def __iter__(self) -> Iterator[K]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)


class ChannelRef(Generic[C]):
    """A channel of a class, before there is an instrument: ``LakeShore336.inputs["A"]``."""

    def __init__(self, channels: Channels[Any, C], key: str | int) -> None:
        self.channels = channels
        self.key = key


class Channels(Generic[K, C]):
    """The channels of an instrument.

    Args:
        kind: the class of a channel.
        keys: what ``{ch}`` stands for in each.
        variants: further keys, that exist in a variant of the instrument only.
    """

    name: str = ""
    owner: type[Block]

    def __init__(
        self, kind: type[C], keys: Iterable[K], *, variants: Mapping[str, Iterable[K]] | None = None
    ) -> None:
        self.kind = kind
        self.keys = tuple(keys)
        self.variants = {variant: tuple(more) for variant, more in (variants or {}).items()}

    def __set_name__(self, owner: type[Block], name: str) -> None:
        if not self.name:
            self.name, self.owner = name, owner

    @overload
    def __get__(self, instance: None, owner: type[Block]) -> Self: ...
    @overload
    def __get__(self, instance: Driver, owner: type[Block]) -> BoundChannels[K, C]: ...
    def __get__(self, instance: Driver | None, owner: type[Block]) -> Self | BoundChannels[K, C]:
        if instance is None:
            return self
        return cast(BoundChannels[K, C], instance.channels[self.name])

    def __getitem__(self, key: K) -> ChannelRef[C]:
        """Refer to one channel. Raises DefinitionError if no variant of the instrument has it."""
        known = self.keys + tuple(key for more in self.variants.values() for key in more)
        if key not in known:
            raise DefinitionError(
                f"{self.owner.__name__}.{self.name} has no channel {key!r}; expected one of"
                f" {', '.join(map(str, known))}"
            )
        return ChannelRef(self, key)

    def in_variant(self, variant: str) -> tuple[K, ...]:
        """Return the keys that exist in a variant."""
        return self.keys + self.variants.get(variant, ())

    def bind(self, driver: Driver, variant: str) -> BoundChannels[K, C]:
        """Return the channels of one instrument."""
        made = {key: self.kind(driver, self.name, key) for key in self.in_variant(variant)}
        missing = {key: name for name, more in self.variants.items() for key in more}
        return BoundChannels(f"{driver.name}.{self.name}", made, missing)


class Block:
    """What has parameters: an instrument, or a channel of it.

    Attributes:
        parameters: the bound parameters, by attribute name.
        key: what ``{ch}`` stands for.
        path: where it stands in the instrument, as in ``inputs[A].``.
    """

    specs: ClassVar[dict[str, Parameter]] = {}
    parameters: dict[str, Bound]
    driver: Driver
    key: str = ""
    path: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raises DefinitionError if an attribute hides one of labioc's own."""
        super().__init_subclass__(**kwargs)
        own = dict(vars(cls))
        for name, attribute in own.items():
            if isinstance(attribute, (Parameter, Channels)) and name in RESERVED:
                raise DefinitionError(f"{cls.__name__}.{name}: the name {name!r} is reserved")
        cls.specs = dict(cls.specs)
        for name, attribute in own.items():
            if isinstance(attribute, (Parameter, Channels)):
                if attribute.owner is not cls or attribute.name != name:
                    first = f"{attribute.owner.__name__}.{attribute.name}"
                    raise DefinitionError(f"{cls.__name__}.{name} and {first} are one and the same object")
                if isinstance(attribute, Parameter):
                    cls.specs[name] = attribute
            elif name in cls.specs:
                del cls.specs[name]
        for spec in cls.specs.values():
            for other in spec.needs:
                if cls.specs.get(other.name) is not other:
                    raise DefinitionError(
                        f"{cls.__name__}.{spec.name} needs {other.path}, which is not in the class"
                    )
                if isinstance(other, Reading):
                    raise DefinitionError(
                        f"{cls.__name__}.{spec.name} needs {other.path}, which takes exchanges of its own"
                    )

    def filled(self, text: str, quote: Callable[[str], str] = str) -> str:
        """Return a command with the channel and the instrument's address in their places."""
        return text.replace("{ch}", quote(self.key)).replace("{addr}", quote(self.driver.address))

    def _bind(self, driver: Driver) -> None:
        self.driver = driver
        found = {name: spec for name, spec in self.specs.items() if spec.exists_in(driver.variant)}
        self.parameters = {name: spec.bind(self) for name, spec in found.items()}
        for bound in self.parameters.values():
            bound.prepare()


class Channel(Block):
    """One of several equal parts of an instrument: an input, an output, an axis."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raises DefinitionError if the class cannot be right."""
        super().__init_subclass__(**kwargs)
        for name, attribute in vars(cls).items():
            if isinstance(attribute, Channels):
                raise DefinitionError(f"{cls.__name__}.{name}: a channel has no channels")
            if isinstance(attribute, Readback) and attribute.variants:
                raise DefinitionError(
                    f"{cls.__name__}.{name}: variants= is for an instrument, not its channels"
                )

    def __init__(self, driver: Driver, path: str, key: str | int) -> None:
        self.key = str(key)
        self.path = f"{path}[{key}]."
        self._bind(driver)


class Driver(Block):
    """An instrument.

    A subclass states its ``protocol``, its parameters and its `Channels`.

    Args:
        url: where the instrument is, as in ``tcp://10.0.0.12:7777``; or a `Line`, that several instruments share.
        name: what errors and logs call it.
        variant: the variant of the instrument, or "" for the plain one.
        address: its address on a line, for a protocol with ``{addr}`` in its commands.
        retry_every: the longest time between two attempts to connect, seconds.

    Raises AddressError for a URL or an address that can't be right, DefinitionError for an unknown variant.
    """

    protocol: ClassVar[Protocol]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raises DefinitionError if the class cannot be right."""
        super().__init_subclass__(**kwargs)
        if not isinstance(getattr(cls, "protocol", None), Protocol):
            raise DefinitionError(f"{cls.__name__} needs a protocol, as in protocol = Lines(...)")
        for spec in cls.specs.values():
            if any("{ch}" in text for text in spec.wire("{ch}")):
                raise DefinitionError(
                    f"{cls.__name__}.{spec.name}: {{ch}} stands for a channel; an instrument is none"
                )
        readbacks = [spec for spec in cls.specs.values() if isinstance(spec, Readback)]
        parts: list[Channels[Any, Any] | Readback[Any]] = [*cls.channel_specs().values(), *readbacks]
        for part in parts:
            unknown = part.variants.keys() - cls.protocol.variants.keys()
            if unknown:
                raise DefinitionError(
                    f"{cls.__name__}.{part.name}: the protocol does not tell how to recognise the variant"
                    f" {min(unknown)!r}"
                )

    def __init__(
        self,
        url: str | Line,
        *,
        name: str | None = None,
        variant: str = "",
        address: str = "",
        retry_every: float | None = None,
    ) -> None:
        self.name = name or type(self).__name__.lower()
        if variant and variant not in self.protocol.variants:
            known = ", ".join(self.protocol.variants) or "none"
            raise DefinitionError(f"{self.name}: unknown variant {variant!r}; known: {known}")
        self.variant = variant
        self.address = self.protocol.addressed(address) if address else ""
        self._check_address()
        self.port = Port(
            url, self.protocol, name=self.name, variant=variant, address=self.address, retry_every=retry_every
        )
        self._thread: _LoopThread | None = None
        self._layouts: dict[tuple[bool, tuple[BoundReadback[Any], ...]], _Layout] = {}
        self._bind(self)
        self.channels: dict[str, BoundChannels[Any, Any]] = {
            name: channels.bind(self, variant) for name, channels in self.channel_specs().items()
        }
        self.port.on_change.append(self._link_changed)
        self._unasked = [
            readback
            for readback in self.all_parameters()
            if isinstance(readback, BoundReadback) and readback.comes_unasked
        ]
        self.port.routes = bool(self._unasked) or bool(self.protocol.restarted)
        self.port.route = self._route
        self._errors = [
            readback
            for readback in self.all_parameters()
            if isinstance(readback, BoundReadback) and self.protocol.takes_from_queue(readback.ask)
        ]
        self.port.on_verdict = self._take_verdict

    @classmethod
    def is_addressed(cls) -> bool:
        """Whether an instrument of this kind has an address on its line."""
        blocks = [cls, *(channels.kind for channels in cls.channel_specs().values())]
        texts = [text for block in blocks for spec in block.specs.values() for text in spec.wire("")]
        return any("{addr}" in text for text in texts)

    def _check_address(self) -> None:
        needed = self.is_addressed()
        if needed and not self.address:
            raise AddressError(
                f"{self.name}: an instrument of this kind has an address: address=..., or --address"
            )
        if self.address and not needed:
            raise AddressError(
                f"{self.name}: an instrument of this kind has no address, not {self.address!r}"
            )

    @classmethod
    def channel_specs(cls) -> dict[str, Channels[Any, Any]]:
        """Return the channels of the class, by attribute name."""
        found: dict[str, Channels[Any, Any]] = {}
        for base in reversed(cls.__mro__):
            found.update({k: v for k, v in vars(base).items() if isinstance(v, Channels)})
        return found

    # Life

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str | Line, *, name: str | None = None, variant: str = "", address: str = ""
    ) -> AsyncIterator[Self]:
        """Connect, for ``async with``. For the arguments see the class.

        Raises LinkDown, ReplyTimeout or WrongInstrument if the first attempt fails.
        """
        driver = cls(url, name=name, variant=variant, address=address)
        await driver.start()
        try:
            await driver.connected()
            yield driver
        finally:
            await driver.close()

    @classmethod
    def connect(cls, url: str, *, name: str | None = None, variant: str = "", address: str = "") -> Self:
        """Connect, for a script: use `get`, `put` and `run` of the parameters, then `disconnect` (or ``with``).

        The instrument is talked to on a thread of its own. Raises what `open` raises.
        """
        driver = cls(url, name=name, variant=variant, address=address)
        driver._thread = _LoopThread()
        try:
            driver._thread.run(driver.start())
            driver._thread.run(driver.connected())
        except BaseException:
            driver.disconnect()
            raise
        return driver

    def disconnect(self) -> None:
        """Close the link that `connect` made, and end its thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.run(self.close())
            finally:
                thread.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    async def start(self) -> None:
        """Begin to connect, and go on trying for as long as it takes. Returns at once."""
        await self.port.start()

    async def connected(self) -> None:
        """Wait for the end of the first attempt to connect. Raises what it failed with."""
        await self.port.first_attempt()
        if self.port.state is LinkState.DOWN and self.port.error is not None:
            raise type(self.port.error)(f"{self.name}: {self.port.error}")

    async def close(self) -> None:
        """Close the link."""
        await self.port.close()

    async def read_together(self, readbacks: Iterable[BoundReadback[Any]]) -> None:
        """Read several readbacks in as few exchanges as the protocol allows.

        What goes wrong with one stays on its ``error``. One whose last exchange failed is asked alone, so that a
        question that this instrument does not answer can't spoil the others. Raises LinkError if the link failed;
        after a time-out not before the others were tried.
        """
        groups: list[dict[BoundReadback[Any], None]] = []
        room = False
        for readback in readbacks:
            asked = dict.fromkeys(readback.asked)
            apart = readback.alone or not self.port.joins or isinstance(readback, BoundReading)
            if room and not apart and len(groups[-1] | asked) <= self.protocol.max_joined:
                groups[-1] |= asked
            elif asked:
                groups.append(asked)
                room = not apart
        silence: ReplyTimeout | None = None
        for group in groups:
            try:
                await self._read_group(tuple(group))
            except ReplyTimeout as error:
                silence = silence or error
        if silence is not None:
            raise silence

    async def _read_group(self, asked: tuple[BoundReadback[Any], ...]) -> None:
        try:
            if isinstance(asked[0], BoundReading):
                await asked[0].read()
                return
            order, requests = self._laid_out(asked)
            await read_all(self.port, asked, requests, lambda: ", ".join(r.label for r in asked), order=order)
        except DeviceError:
            return  # it stands on the readbacks

    def _laid_out(self, asked: tuple[BoundReadback[Any], ...]) -> _Layout:
        """Return the readbacks of a group as they are asked for, and the requests; a poller asks for the same ones."""
        key = self.port.joins, asked
        layout = self._layouts.get(key)
        if layout is None:
            if len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.clear()
            rank = self.protocol.rank
            order = tuple(sorted(asked, key=lambda readback: rank(readback.ask)))
            parts = [readback.part for readback in order]
            layout = order, self.protocol.requests(*parts, joined=self.port.joins)
            self._layouts[key] = layout
        return layout

    # What parameters call

    def run_blocking(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the driver's own thread and return its result."""
        if self._thread is None:
            work.close()
            raise UserError(
                "get(), put() and run() need a driver from connect(); on an event loop use await read(), write(...)"
                " and execute()"
            )
        return self._thread.run(work)

    def all_parameters(self) -> Iterator[Bound]:
        """Go through the parameters of the instrument and of its channels."""
        yield from self.parameters.values()
        for channels in self.channels.values():
            for channel in channels.values():
                yield from channel.parameters.values()

    def readbacks(self) -> Iterator[BoundReadback[Any]]:
        """Go through what can be read, setpoints included."""
        return (p for p in self.all_parameters() if isinstance(p, BoundReadback) and p.asked)

    def check_ages(self, now: float) -> None:
        """Fail what should come unasked and has not come for too long; `now` in seconds of `time.monotonic`."""
        for readback in self._unasked:
            readback.check_age(now)

    def _route(self, message: bytes) -> bool:
        if not self.port.listens:
            return False
        try:
            text = self.protocol.unpacked(message)
        except ReplyError:
            return False
        join = self.protocol.join
        asking = self.port.asking.split(join) if join else [self.port.asking]
        # where the answer has the same form, what comes now is as good as the answer
        takers = [r for r in self._unasked if not (r.ask and r.ask in asking) and r.arrive(text)]
        taken = bool(takers)
        if self._tells_restart(text):
            self.port.lost_power("says that it has been switched on or reset")
            taken = True
        self.port.statistics.unasked += taken
        # a line that tells of a change may be the answer to what was asked as well
        return taken and not self._is_answer(text)

    def _tells_restart(self, text: str) -> bool:
        protocol, port = self.protocol, self.port
        asked_for = protocol.identify is not None and port.asking == protocol.identify[0]
        return bool(
            protocol.restarted and port.is_up and not asked_for and re.fullmatch(protocol.restarted, text)
        )

    def _is_answer(self, text: str) -> bool:
        if self.protocol.match is None or not self.port.asking:
            return False
        try:
            return self.protocol.match(self.port.asking, text) is not None
        except DeviceError:
            return True

    def _take_verdict(self, answer: str) -> None:
        """Show the errors that the question around a command has taken from the instrument's queue."""
        if self.protocol.tells_error(answer):
            for readback in self._errors:
                readback.take(answer)
            finish(self._errors, time.time())

    def _link_changed(self) -> None:
        error: LabiocError | None = self.port.error
        if self.port.state is LinkState.DOWN and error is not None:
            for parameter in self.all_parameters():
                if isinstance(parameter, BoundReadback):
                    parameter.fail(error, alone=parameter.alone)
        elif self.port.state is LinkState.UP:
            for parameter in self.all_parameters():
                if isinstance(parameter, BoundResult):
                    parameter.restore()


class _LoopThread:
    """An event loop on a thread of its own, for scripts."""

    def __init__(self) -> None:
        """Raises UserError on an event loop, which a blocking call would stop."""
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            raise UserError("connect() is for scripts; on an event loop use: async with open(...)")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="labioc", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop the loop and wait for the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there. It is bounded by the port's own time-outs."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


RESERVED = frozenset(
    name for base in (Driver, Channel, Block) for name in vars(base) if not name.startswith("__")
) | {
    *("name", "variant", "port", "channels", "parameters", "driver", "key", "path"),
}
