"""What the server takes from caproto, with types (caproto ships none): names, filters and caproto's own channels."""

import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import caproto
from caproto._commands import data_payload
from caproto._data import parse_metadata
from caproto._dbr import DbrStringArray, _LongStringChannelType
from caproto._utils import apply_arr_filter, apply_deadband_filter, parse_channel_filter

from labioc.devices.core._caproto import (
    ChannelData,
    ChannelType,
    SubscriptionSpec,
    SubscriptionUpdate,
    dbr_sizes,
)
from labioc.devices.core.served import Served

if TYPE_CHECKING:

    class ChannelFilter(NamedTuple):
        """The filters at the end of a channel's name, such as `[0:9]`."""

        ts: Any
        dbnd: Any
        arr: Any
        sync: Any
else:
    from caproto._utils import ChannelFilter

NO_FILTER = ChannelFilter(ts=None, dbnd=None, arr=None, sync=None)
LONGEST_NAME = 500
"""Bytes of a channel's name with field and filters; longer ones are not looked up."""
EPICS_EPOCH = 631152000
_HOST_ENDIAN = ">" if sys.byteorder == "big" else "<"


class Found(NamedTuple):
    """What a channel's name stands for."""

    entry: ChannelData
    name: str
    """The name without modifiers, the same for all ways to write it."""
    channel_filter: Any
    is_long_string: bool


def find(pvdb: Any, pvname: str) -> Found:
    """The PV or field of this name. Raises KeyError if there is none, or not with these modifiers."""
    if len(pvname) > LONGEST_NAME:
        raise KeyError("a name too long")
    try:
        return Found(pvdb[pvname], pvname, NO_FILTER, False)
    except KeyError:
        _, record, field, modifiers = caproto.parse_record_field(pvname)
    entry = pvdb[record]
    if field:
        try:
            entry = entry.get_field(field)
        except AttributeError:
            raise KeyError(pvname) from None
    name = f"{record}.{field}" if field and field != "VAL" else record
    if modifiers is None:
        return Found(entry, name, NO_FILTER, False)
    try:
        wanted = parse_channel_filter(modifiers.filter_)
    except (ValueError, RecursionError) as error:
        raise KeyError(f"{pvname}: {error}") from None
    long_strings = (
        (ChannelType.STRING,) if isinstance(entry, Served) else (ChannelType.STRING, ChannelType.CHAR)
    )
    is_text = entry.data_type in long_strings
    as_long_string = caproto.RecordModifiers.long_string in modifiers.modifiers
    if wanted.sync or (as_long_string and not is_text):
        raise KeyError(pvname)
    return Found(entry, name, NO_FILTER if wanted == NO_FILTER else wanted, as_long_string)


def is_expected(failure: Exception) -> bool:
    """Whether a put failed by what the client wanted, not by a fault of the IOC."""
    return isinstance(failure, caproto.CaprotoError) or getattr(failure, "expected", False)


async def write(
    entry: ChannelData,
    data: Any,
    data_type: ChannelType,
    user: str | None,
    host: str | None,
    address: tuple[str, int],
) -> None:
    """Put what a client sent; acknowledgements of alarms come as the number that they are."""
    metadata = None
    if data_type in (ChannelType.PUT_ACKT, ChannelType.PUT_ACKS):
        metadata = caproto.DBR_TYPES[data_type]()
        metadata.value = int(data[0])
    if isinstance(entry, Served):
        await entry.write_from_dbr(data, data_type, metadata)
    else:
        if data_type == ChannelType.STRING:
            data = DbrStringArray(data)
        await entry.auth_write(host, user, data, data_type, metadata, user_address=address)


def stamped_now(type_name: str, dbr: bytes) -> bytes:
    """The DBR with the time of now, if it has a time."""
    if not type_name.startswith("TIME_"):
        return dbr
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return dbr[:4] + (seconds - EPICS_EPOCH).to_bytes(4, "big") + nanoseconds.to_bytes(4, "big") + dbr[12:]


class FilteredMonitor(Protocol):
    """What the filters must know of a monitor."""

    mask: int
    last_value: Any

    @property
    def channel_filter(self) -> Any:
        """The filters of the channel's name."""

    @property
    def db_entry(self) -> ChannelData:
        """The channel's PV or field."""


def filtered(channel_filter: Any, values: Any, monitor: FilteredMonitor | None, flags: int) -> Any | None:
    """The values after a channel's filters, or None if they say that this event isn't for the client."""
    values = apply_arr_filter(channel_filter.arr, values)
    if channel_filter.dbnd is None or monitor is None:
        return values
    try:
        reference = apply_deadband_filter(monitor.last_value, values, monitor, flags, _HOST_ENDIAN)
    except TypeError:
        return values  # text has no dead band
    if reference is None:
        return None
    monitor.last_value = reference
    return values


def encode_stock(type_name: str, metadata: Any, values: Any) -> tuple[bytes, int]:
    """The DBR that one of caproto's channels has read, and its number of elements."""
    dbr_type = _type_of(type_name)
    if type_name in ("STSACK_STRING", "CLASS_NAME"):
        return bytes(parse_metadata(metadata, dbr_type)), 1
    size, item = dbr_sizes(type_name)
    count = len(values) // item if isinstance(values, bytes) else len(values)
    _, *parts = data_payload(values, metadata, dbr_type, count)
    return b"".join(parts)[: size + count * item], count


def _type_of(type_name: str) -> Any:
    if "LONG_STRING" in type_name:
        return _LongStringChannelType[type_name]
    return caproto.ChannelType[type_name]


async def read_stock(
    entry: Any,
    type_name: str,
    user: str | None,
    host: str | None,
    address: tuple[str, int],
    channel_filter: Any,
) -> tuple[bytes, int]:
    """Read one of caproto's own channels; a getter may take its time."""
    metadata, values = await entry.auth_read(host, user, _type_of(type_name), user_address=address)
    return encode_stock(type_name, metadata, filtered(channel_filter, values, None, 0))


class StockMonitor(FilteredMonitor, Protocol):
    """A monitor of one of caproto's own channels."""

    def take_stock(self, metadata: Any, values: Any, flags: int) -> None:
        """Take one event."""


class StockEvents:
    """The queue into which caproto's own channels put their events, and who monitors what."""

    def __init__(self) -> None:
        self._monitors: defaultdict[SubscriptionSpec, list[StockMonitor]] = defaultdict(list)

    async def add(self, monitor: StockMonitor, spec: SubscriptionSpec) -> None:
        """Send the present value, and every event from now on."""
        self._monitors[spec].append(monitor)
        await monitor.db_entry.subscribe(self, spec, monitor)

    async def remove(self, monitor: StockMonitor, spec: SubscriptionSpec) -> None:
        """No more events."""
        monitors = self._monitors.get(spec, [])
        if monitor in monitors:
            monitors.remove(monitor)
            if not monitors:
                del self._monitors[spec]
                await monitor.db_entry.unsubscribe(self, spec)

    async def put(self, update: SubscriptionUpdate) -> None:
        """Send one event to all that subscribed to it, or to the one that has just subscribed."""
        specs, metadata, values, flags, new = update
        for spec in specs:
            for monitor in (new,) if new is not None else tuple(self._monitors.get(spec, ())):
                monitor.take_stock(metadata, values, int(flags))
