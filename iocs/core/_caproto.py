"""What the server takes from caproto, with types (caproto ships none), and the encoding of events."""

import asyncio
import struct
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from caproto._commands import data_payload

if TYPE_CHECKING:
    from labioc.devices.core._caproto import ChannelData, SubscriptionSpec

    class CAStatus(Enum):
        """The error codes that the server sends."""

        ECA_NORMAL = 1
        ECA_INTERNAL = 142
        ECA_PUTFAIL = 160
        ECA_NORDACCESS = 368
        ECA_NOWTACCESS = 376

    class Subscription(NamedTuple):
        """One monitor of one client."""

        mask: int
        channel_filter: "ChannelFilter"
        circuit: Any
        channel: Any
        data_type: int
        data_count: int
        subscriptionid: int
        db_entry: ChannelData

    class ChannelFilter(NamedTuple):
        """The filters at the end of a channel's name, such as `[0:9]`."""

        ts: Any
        dbnd: Any
        arr: Any
        sync: Any

    class TaskHandler:
        """A set of tasks."""

        tasks: list[asyncio.Task[object]]

        def create(self, coro: Coroutine[Any, Any, object]) -> asyncio.Task[object]: ...

    class Transport:
        """caproto's wrapper of a connection's two streams."""

        reader: asyncio.StreamReader
        writer: asyncio.StreamWriter

        def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...
        async def send(self, bytes_to_send: bytes) -> None: ...

    class VirtualCircuit:
        """One client's connection."""

        circuit: Any
        client: Transport
        connected: bool
        client_hostname: str | None
        client_username: str | None
        subscriptions: dict[SubscriptionSpec, deque[Subscription]]
        tasks: TaskHandler
        events_on: asyncio.Event
        write_event: asyncio.Event

        def __init__(self, circuit: Any, client: Transport, context: "Context") -> None: ...
        def _get_db_entry_from_command(self, command: Any) -> tuple[Any, ChannelData]: ...
        async def _process_command(self, command: Any) -> Iterable[Any] | None: ...
        async def _cull_subscriptions(
            self, db_entry: object, func: Any
        ) -> tuple[tuple[SubscriptionSpec, Subscription], ...]: ...
        async def _on_disconnect(self) -> None: ...
        async def send(self, *commands: Any) -> None: ...

    class Context:
        """What all connections of a server share."""

        pvdb: Mapping[str, ChannelData]
        circuits: set[VirtualCircuit]
        subscriptions: dict[SubscriptionSpec, deque[Subscription]]
        last_dead_band: dict[Subscription, Any]
        port: int
        environ: dict[str, Any]
        interfaces: Sequence[str]
        ignore_addresses: list[str]

        def __init__(self, pvdb: Mapping[str, ChannelData], interfaces: Iterable[str]) -> None: ...
        def __getitem__(self, pvname: str) -> ChannelData: ...
else:
    from caproto import CAStatus as CAStatus
    from caproto.asyncio.server import Context as Context
    from caproto.asyncio.server import VirtualCircuit as VirtualCircuit
    from caproto.asyncio.server import _TransportWrapper as Transport
    from caproto.server.common import Subscription as Subscription

HEADER = struct.Struct(">HHHHII")
"""Command, payload size, two numbers of 16 bits and two of 32 bits, as each command uses them."""
_LONG_HEADER = struct.Struct(">HHHHIIII")
_EVENT_ADD = 1
_NORMAL = 1


def encode_event(sub: Subscription, metadata: Any, values: Any) -> bytes:
    """An event as it goes over the wire: `metadata` of our PVs is bytes, of caproto's own channels a struct."""
    count = sub.data_count or len(values)
    if len(values) > count:
        values = values[:count]
    if type(metadata) is bytes:
        raw: bytes = values.tobytes()
        if 0 < len(values) < count:
            # Who asks for a fixed number of elements gets that number, as from the C IOC.
            raw = raw.ljust(count * (len(raw) // len(values)), b"\0")
        payload: bytes = metadata + raw
    else:
        _, *parts = data_payload(values, metadata, sub.data_type, count)
        payload = b"".join(parts)
    size = len(payload) + 7 & ~7
    payload = payload.ljust(size, b"\0")
    if size < 0xFFFF and count < 0xFFFF:
        return HEADER.pack(_EVENT_ADD, size, sub.data_type, count, _NORMAL, sub.subscriptionid) + payload
    return (
        _LONG_HEADER.pack(_EVENT_ADD, 0xFFFF, sub.data_type, 0, _NORMAL, sub.subscriptionid, size, count)
        + payload
    )
