"""What the server takes from caproto, with types (caproto ships none): names, filters and caproto's own channels."""

import time
from typing import Any, NamedTuple, Protocol

import caproto
from caproto._commands import data_payload
from caproto._data import parse_metadata
from caproto._dbr import DbrStringArray, _LongStringChannelType

from labioc.devices.core._caproto import (
    ChannelData,
    ChannelType,
    SubscriptionSpec,
    SubscriptionUpdate,
    dbr_sizes,
)
from labioc.devices.core.served import Served
from labioc.iocs.core._filters import NO_FILTER, Filters, parse_filters

LONGEST_NAME = 500
"""Bytes of a channel's name with field and filters; longer ones are not looked up."""
EPICS_EPOCH = 631152000


class Found(NamedTuple):
    """What a channel's name stands for."""

    entry: ChannelData
    name: str
    """The name without modifiers, the same for all ways to write it."""
    filters: Filters
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
        filters = parse_filters(modifiers.filter_) if modifiers.filter_ else NO_FILTER
    except ValueError as error:
        raise KeyError(f"{pvname}: {error}") from None
    long_strings = (
        (ChannelType.STRING,) if isinstance(entry, Served) else (ChannelType.STRING, ChannelType.CHAR)
    )
    is_text = entry.data_type in long_strings
    as_long_string = caproto.RecordModifiers.long_string in modifiers.modifiers
    if as_long_string and not is_text:
        raise KeyError(pvname)
    # the same object, by which the quick way is found
    return Found(entry, name, NO_FILTER if filters == NO_FILTER else filters, as_long_string)


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


def encode_stock(
    entry: ChannelData, type_name: str, filters: Filters, metadata: Any, values: Any
) -> tuple[bytes, int]:
    """The DBR that one of caproto's channels has read, filtered, and its number of elements."""
    dbr_type = _type_of(type_name)
    if type_name in ("STSACK_STRING", "CLASS_NAME"):
        return bytes(parse_metadata(metadata, dbr_type)), 1
    if filters.arr is not None and (entry.max_length > 1 or "LONG_STRING" in type_name):
        values = values[filters.arr.slice(len(values))]
    size, item = dbr_sizes(type_name)
    count = len(values) // item if isinstance(values, bytes) else len(values)
    _, *parts = data_payload(values, metadata, dbr_type, count)
    dbr = b"".join(parts)[: size + count * item]
    return stamped_now(type_name, dbr) if filters.ts else dbr, count


def _type_of(type_name: str) -> Any:
    if "LONG_STRING" in type_name:
        return _LongStringChannelType[type_name]
    return caproto.ChannelType[type_name]


async def read_stock(
    entry: Any, type_name: str, user: str | None, host: str | None, address: tuple[str, int], filters: Filters
) -> tuple[bytes, int]:
    """Read one of caproto's own channels; a getter may take its time."""
    metadata, values = await entry.auth_read(host, user, _type_of(type_name), user_address=address)
    return encode_stock(entry, type_name, filters, metadata, values)


class StockMonitor(Protocol):
    """A monitor of one of caproto's own channels."""

    @property
    def entry(self) -> Any:
        """The channel."""

    @property
    def type_name(self) -> str:
        """The DBR type of its events."""

    def take_stock(self, metadata: Any, values: Any, flags: int) -> None:
        """Take one event. Raises what the conversion raises."""

    def lost_event(self, failure: Exception) -> None:
        """Told that an event could not be made."""


class StockEvents:
    """The queue into which caproto's own channels put their events, and who monitors what.

    A channel converts its value within its `write`, and what fails there fails who writes and all other monitors.
    So it is asked for the one type that needs no conversion, and what the clients want is read from it here.
    """

    def __init__(self) -> None:
        self._monitors: dict[ChannelData, list[StockMonitor]] = {}

    async def add(self, monitor: StockMonitor) -> None:
        """Send the present value, and every event from now on. Raises what the conversion raises."""
        entry = monitor.entry
        metadata, values = await entry._read(_type_of(monitor.type_name))
        monitor.take_stock(metadata, values, 0)
        monitors = self._monitors.setdefault(entry, [])
        monitors.append(monitor)
        if len(monitors) == 1:
            await entry.subscribe(self, _signal_of(entry), monitor)

    async def remove(self, monitor: StockMonitor) -> None:
        """No more events."""
        monitors = self._monitors.get(monitor.entry, [])
        if monitor in monitors:
            monitors.remove(monitor)
            if not monitors:
                del self._monitors[monitor.entry]
                await monitor.entry.unsubscribe(self, _signal_of(monitor.entry))

    async def put(self, update: SubscriptionUpdate) -> None:
        """Send one event to all that monitor a channel."""
        if update.sub is not None:
            return  # who subscribes has had its first event
        entry: Any = update.sub_specs[0].db_entry
        read: dict[str, tuple[Any, Any]] = {}
        for monitor in tuple(self._monitors.get(entry, ())):
            name = monitor.type_name
            try:
                if name not in read:
                    read[name] = await entry._read(_type_of(name))
                monitor.take_stock(*read[name], int(update.flags))
            except Exception as failure:
                monitor.lost_event(failure)


def _signal_of(entry: ChannelData) -> SubscriptionSpec:
    return SubscriptionSpec(entry, "CLASS_NAME", 0, NO_FILTER)
