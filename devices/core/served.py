"""What the server sees of a record or a field: something with a value that clients can read and monitor."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from labioc.devices.core._caproto import (
    READ,
    SCALAR_FORMS,
    AccessRights,
    AlarmTime,
    ChannelData,
    ChannelType,
    EventQueue,
    Metadata,
    SubscriptionSpec,
    SubscriptionUpdate,
    decode_metadata,
    encode_metadata,
    encode_values,
    join_dbr,
    special_type,
)

if TYPE_CHECKING:
    from labioc.devices.core.info import RecordInfo

MONITOR_BACKLOG = 8


class EventSink(EventQueue):
    """Where the events of one monitor go: the DBR as it goes over the wire, and its number of elements.

    It is given to `subscribe` in place of a queue.

    Attributes:
        wanted: how many of the first elements it takes, 0: all; None: it encodes what it takes, and is given nothing.
    """

    __slots__ = ("wanted",)
    wanted: int | None

    def put_nowait(self, item: SubscriptionUpdate, /) -> None:
        """Not for sinks: they are given events as bytes."""
        raise NotImplementedError

    def take(self, dbr: bytes, count: int, mask: int) -> None:
        """Take one event; `mask` says why, 0 that the monitor is new."""
        raise NotImplementedError


class _QueueSink(EventSink):
    """Feeds the queue of caproto's own server."""

    def __init__(self, served: Served, queue: EventQueue, spec: SubscriptionSpec, new: object) -> None:
        self._served = served
        self._queue = queue
        self._spec = spec
        self._new = new
        self.wanted = 0

    def take(self, dbr: bytes, count: int, mask: int) -> None:
        metadata, values = self._served.encode(self._spec.data_type_name)
        self._queue.put_nowait(SubscriptionUpdate((self._spec,), metadata, values, mask, self._new))
        self._new = None


class Served(ChannelData):
    """Something that clients can read and monitor; PVs and their fields are."""

    info: RecordInfo
    pvname: str
    long_string_max_length = 40
    """Bytes of the text when it is asked for as `X.FIELD$`."""
    announced: int | None = None
    """How many elements a channel by its plain name says that it has; None: as many as there can be."""

    # What caproto's own server wants of a channel; its constructor makes much more of it, for every record.
    max_subscription_backlog = MONITOR_BACKLOG
    string_encoding = "latin-1"

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        # By the name of the DBR type and what is wanted of it, so that each is encoded once per event.
        self._monitors: dict[tuple[str, int | None], dict[object, tuple[int, EventSink]]] = {}

    @property
    def states(self) -> Sequence[str] | None:
        """The labels of an enum, else None."""
        return None

    @property
    def metadata(self) -> Metadata:
        """What the DBRs tell beside value, alarm and time."""
        return self.info

    @property
    def alarm_time(self) -> AlarmTime:
        """What goes into the DBRs about alarm and time."""
        raise NotImplementedError

    @property
    def acknowledgement(self) -> tuple[int, int]:
        """ACKT and ACKS."""
        raise NotImplementedError

    @property
    def reported_record_type(self) -> str:
        """caproto's name for RTYP."""
        return self.info.rtyp

    def check_access(self, hostname: str | None, username: str | None) -> AccessRights:
        """What this client may do."""
        return READ

    def encode(self, type_name: str, part: slice | None = None) -> tuple[bytes, Any]:
        """Metadata and values as the DBR type of this name, of an array perhaps only a part.

        Raises ValueError if there is no conversion.
        """
        metadata, value = self.metadata, self.value
        if part is not None and isinstance(value, np.ndarray):
            # before the conversion, which costs by the element
            value = value[part]
        return (
            encode_metadata(type_name, self.alarm_time, metadata),
            encode_values(type_name, value, metadata.prec, self.states),
        )

    def dbr(self, type_name: str, wanted: int = 0) -> tuple[bytes, int]:
        """The DBR of this name as it goes over the wire, and its number of elements: all, or those `wanted` at most.

        Raises ValueError if there is no conversion.
        """
        form = SCALAR_FORMS.get(type_name)
        if form is not None:
            value = self.value
            if type(value) is form.python_type:
                try:
                    return form.encode(value, self.alarm_time if form.has_time else None), 1
                except struct.error:
                    pass  # too big for its type: the long way says what becomes of it
        special = self._special(type_name)
        if special is not None:
            return bytes(special), 1
        metadata, values = self.encode(type_name, slice(wanted) if wanted else None)
        return join_dbr(metadata, values), len(values)

    def _special(self, type_name: str) -> Any | None:
        return special_type(type_name, self.alarm_time, self.acknowledgement, self.info.rtyp, self._as_text)

    async def _read(self, data_type: ChannelType) -> tuple[Any, Any]:
        special = self._special(data_type.name)
        if special is not None:
            return special, b""
        metadata, values = self.encode(data_type.name)
        return decode_metadata(data_type.name, metadata), values

    def _as_text(self) -> bytes:
        _, texts = self.encode("STRING", slice(1))
        return cast(bytes, texts[0]) if len(texts) else b""

    async def subscribe(self, queue: EventQueue, sub_spec: SubscriptionSpec, sub: object) -> None:
        """Send the present value to one new subscription, and every event from now on to its kind.

        It never suspends. Raises ValueError if there is no conversion.
        """
        type_name, mask = sub_spec.data_type_name, int(sub_spec.mask)
        key: object = queue
        sink: EventSink
        if isinstance(queue, EventSink):
            sink = queue
        else:
            # caproto's server subscribes once more for each client that wants the same.
            key = queue, sub_spec
            sink = _QueueSink(self, queue, sub_spec, sub)
        dbr, count = self._dbr_for(type_name, sink.wanted)
        sink.take(dbr, count, 0)
        self._monitors.setdefault((type_name, sink.wanted), {})[key] = mask, sink

    async def unsubscribe(self, queue: EventQueue, sub_spec: SubscriptionSpec) -> None:
        """No more events for this kind of subscription; never suspends."""
        # caproto asks once more for what is cancelled already, and for what could not be subscribed to.
        key: object = queue if isinstance(queue, EventSink) else (queue, sub_spec)
        kind = sub_spec.data_type_name, queue.wanted if isinstance(queue, EventSink) else 0
        monitors = self._monitors.get(kind, {})
        monitors.pop(key, None)
        if not monitors:
            self._monitors.pop(kind, None)

    def send_event(self, mask: int) -> None:
        """Send one event to every monitor that asked for one of these DBE_ bits."""
        for (type_name, wanted), monitors in self._monitors.items():
            hit = [sink for events, sink in monitors.values() if events & mask]
            if hit:
                try:
                    dbr, count = self._dbr_for(type_name, wanted)
                except ValueError:
                    continue  # who wants numbers hears nothing of a text that isn't one
                for sink in hit:
                    sink.take(dbr, count, mask)

    def _dbr_for(self, type_name: str, wanted: int | None) -> tuple[bytes, int]:
        return (b"", 0) if wanted is None else self.dbr(type_name, wanted)

    async def publish(self, flags: int) -> None:
        """caproto's name for `send_event`; its alarm acknowledgement calls it."""
        self.send_event(int(flags))
