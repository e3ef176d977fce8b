"""What the server sees of a record or a field: something with a value that clients can read and monitor."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from labioc.devices.core._caproto import (
    READ,
    SCALAR_FORMS,
    AccessRights,
    AlarmTime,
    ChannelData,
    ChannelType,
    EventQueue,
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
    """

    __slots__ = ()

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

    # What caproto's own server wants of a channel; its constructor makes much more of it, for every record.
    max_subscription_backlog = MONITOR_BACKLOG
    string_encoding = "latin-1"

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        # By the name of the DBR type, so that each type is encoded once per event.
        self._monitors: dict[str, dict[object, tuple[int, EventSink]]] = {}

    @property
    def states(self) -> Sequence[str] | None:
        """The labels of an enum, else None."""
        return None

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

    @property
    def value_atol(self) -> float:
        """MDEL, under the name by which caproto's dbnd filter asks for it."""
        return self.info.mdel

    @property
    def log_atol(self) -> float:
        """ADEL, under the name by which caproto's dbnd filter asks for it."""
        return self.info.adel

    def check_access(self, hostname: str | None, username: str | None) -> AccessRights:
        """What this client may do."""
        return READ

    def encode(self, type_name: str) -> tuple[bytes, Any]:
        """Metadata and values as the DBR type of this name. Raises ValueError if there is no conversion."""
        info = self.info
        return (
            encode_metadata(type_name, self.alarm_time, info),
            encode_values(type_name, self.value, info.prec, self.states),
        )

    def dbr(self, type_name: str) -> tuple[bytes, int]:
        """The whole DBR of this name as it goes over the wire, and its number of elements.

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
        metadata, values = self.encode(type_name)
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
        texts = encode_values("STRING", self.value, self.info.prec, self.states)
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
        dbr, count = self.dbr(type_name)
        self._monitors.setdefault(type_name, {})[key] = mask, sink
        sink.take(dbr, count, 0)

    async def unsubscribe(self, queue: EventQueue, sub_spec: SubscriptionSpec) -> None:
        """No more events for this kind of subscription; never suspends."""
        # caproto asks once more for what is cancelled already, and for what could not be subscribed to.
        key: object = queue if isinstance(queue, EventSink) else (queue, sub_spec)
        monitors = self._monitors.get(sub_spec.data_type_name, {})
        monitors.pop(key, None)
        if not monitors:
            self._monitors.pop(sub_spec.data_type_name, None)

    def send_event(self, mask: int) -> None:
        """Send one event to every monitor that asked for one of these DBE_ bits."""
        for type_name, monitors in self._monitors.items():
            hit = [sink for wanted, sink in monitors.values() if wanted & mask]
            if hit:
                try:
                    dbr, count = self.dbr(type_name)
                except ValueError:
                    continue  # who wants numbers hears nothing of a text that isn't one
                for sink in hit:
                    sink.take(dbr, count, mask)

    async def publish(self, flags: int) -> None:
        """caproto's name for `send_event`; its alarm acknowledgement calls it."""
        self.send_event(int(flags))
