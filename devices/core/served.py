"""What the server sees of a record or a field: something with a value that clients can read and monitor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from labioc.devices.core._caproto import (
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
    special_type,
)

if TYPE_CHECKING:
    from labioc.devices.core.fields import RecordInfo

MONITOR_BACKLOG = 8


class Served(ChannelData):
    """Something that clients can read and monitor; PVs and their fields are."""

    info: RecordInfo
    pvname: str
    long_string_max_length = 40
    """Bytes of the text when it is asked for as `X.FIELD$`."""

    def __init__(self, max_length: int, rtyp: str) -> None:
        super().__init__(
            value=None,
            max_length=max_length,
            reported_record_type=rtyp,
            max_subscription_backlog=MONITOR_BACKLOG,
        )
        self._monitors: dict[tuple[EventQueue, str], list[tuple[int, SubscriptionSpec]]] = {}

    @property
    def states(self) -> Sequence[str] | None:
        """The labels of an enum, else None."""
        return None

    @property
    def alarm_time(self) -> AlarmTime:
        """What goes into the DBRs about alarm and time."""
        raise NotImplementedError

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
        return AccessRights.READ

    def encode(self, type_name: str) -> tuple[bytes, Any]:
        """Metadata and values as the DBR type of this name. Raises ValueError if there is no conversion."""
        info = self.info
        return (
            encode_metadata(type_name, self.alarm_time, info),
            encode_values(type_name, self.value, info.prec, self.states),
        )

    async def _read(self, data_type: ChannelType) -> tuple[Any, Any]:
        special = special_type(data_type, self.alarm, self.info.rtyp, self._as_text)
        if special is not None:
            return special, b""
        metadata, values = self.encode(data_type.name)
        return decode_metadata(data_type.name, metadata), values

    def _as_text(self) -> bytes:
        texts = encode_values("STRING", self.value, self.info.prec, self.states)
        return cast(bytes, texts[0]) if len(texts) else b""

    async def subscribe(self, queue: EventQueue, sub_spec: SubscriptionSpec, sub: object) -> None:
        """Send the present value to one new subscription, and every event from now on to its kind."""
        metadata, values = self.encode(sub_spec.data_type_name)
        specs = self._monitors.setdefault((queue, sub_spec.data_type_name), [])
        wanted = (int(sub_spec.mask), sub_spec)
        if wanted not in specs:
            specs.append(wanted)
        queue.put_nowait(SubscriptionUpdate((sub_spec,), metadata, values, 0, sub))

    async def unsubscribe(self, queue: EventQueue, sub_spec: SubscriptionSpec) -> None:
        """No more events for this kind of subscription."""
        # caproto asks once more for what is cancelled already, and for what could not be subscribed to.
        key = (queue, sub_spec.data_type_name)
        wanted = (int(sub_spec.mask), sub_spec)
        specs = [spec for spec in self._monitors.pop(key, ()) if spec != wanted]
        if specs:
            self._monitors[key] = specs

    def send_event(self, mask: int) -> None:
        """Queue one event for every subscription that asked for one of these DBE_ bits."""
        for (queue, type_name), specs in self._monitors.items():
            hit = tuple([spec for wanted, spec in specs if wanted & mask])
            if hit:
                metadata, values = self.encode(type_name)
                queue.put_nowait(SubscriptionUpdate(hit, metadata, values, mask, None))

    async def publish(self, flags: int) -> None:
        """caproto's name for `send_event`; its alarm acknowledgement calls it."""
        self.send_event(int(flags))
