"""What a client opens on a PV or field: channels and monitors, with their values as bytes."""

from typing import Any, Protocol

import numpy as np

from labioc.devices.core._caproto import ChannelType, SubscriptionSpec, dbr_sizes, join_dbr
from labioc.devices.core.served import EventSink, Served
from labioc.iocs.core._caproto import Found, encode_stock, stamped_now
from labioc.iocs.core._filters import NO_FILTER, DeadbandState
from labioc.iocs.core._messages import BIG, Command, Status, header, message

TYPES = [ChannelType(number) for number in range(39)]
"""The DBR types by number."""
_NAMES = [kind.name for kind in TYPES]
PLAIN_TYPES = 7
"""How many of them, the first ones, are values and nothing else."""
MAX_EXTRA_ELEMENTS = 400
"""A client may read more elements than there are; these many zeros it gets."""
_ACKNOWLEDGEMENTS = (ChannelType.PUT_ACKT, ChannelType.PUT_ACKS)
_SPECIAL = (ChannelType.STSACK_STRING, ChannelType.CLASS_NAME)
_SIZES = [(0, 2) if kind in _ACKNOWLEDGEMENTS else dbr_sizes(kind.name) for kind in TYPES]
_DTYPES = [None, *map(np.dtype, (">i2", ">f4", ">u2", "u1", ">i4", ">f8"))]
_TEXT = 40


class Channel:
    """A PV or field that the client has opened under some name.

    Attributes:
        rights: what the client was last told that it may do.
    """

    __slots__ = (
        "cid",
        "count",
        "entry",
        "filters",
        "is_long_string",
        "is_ours",
        "monitors",
        "name",
        "rights",
        "sid",
    )

    def __init__(self, found: Found, sid: int, cid: int, count: int) -> None:
        self.entry, self.name, self.filters, self.is_long_string = found
        self.is_ours = isinstance(self.entry, Served)
        self.rights = 0
        self.sid = sid
        self.cid = cid
        self.count = count
        self.monitors: dict[int, Monitor] = {}

    def type_name(self, kind: int) -> str:
        """caproto's name of a DBR type; in a channel `X.FIELD$`, CHAR means a long string."""
        name = _NAMES[kind] if kind < len(_NAMES) else ""
        return name.replace("CHAR", "LONG_STRING") if self.is_long_string else name

    def dbr(self, kind: int, wanted: int) -> tuple[bytes, int]:
        """The DBR that a client reads, of one of our own PVs, with all elements or those `wanted` at most.

        Raises ValueError if there is no conversion.
        """
        entry: Any = self.entry
        type_name = self.type_name(kind)
        filters = self.filters
        if filters is NO_FILTER:
            return entry.dbr(type_name, wanted)  # type: ignore[no-any-return]
        if filters.arr is None or kind in _SPECIAL:
            dbr, count = entry.dbr(type_name, wanted)
        elif self.is_long_string:
            metadata, text = entry.encode(type_name)
            text = text[filters.arr.slice(len(text), wanted)]
            dbr, count = join_dbr(metadata, text), len(text)
        else:
            value = entry.value
            # as in the C IOC a scalar has no parts
            part = filters.arr.slice(len(value), wanted) if isinstance(value, np.ndarray) else None
            metadata, values = entry.encode(type_name, part)
            dbr, count = join_dbr(metadata, values), len(values)
        return stamped_now(type_name, dbr) if filters.ts else dbr, count


def _resized(kind: int, dbr: bytes, count: int, wanted: int) -> bytes:
    """The DBR with as many elements as the client wants; the C IOC adds zeros, too."""
    size, item = _SIZES[kind]
    return dbr[: size + wanted * item].ljust(size + wanted * item, b"\0")


class EventTaker(Protocol):
    """A monitor's client."""

    def add_event(self, monitor: "Monitor", dbr: bytes, count: int) -> None:
        """Send an event soon."""

    def complain(self, about: str, text: str) -> None:
        """Log something now and then."""


class Monitor(EventSink):
    """A monitor of one channel."""

    __slots__ = (
        *("_deadband", "_header", "_header_count", "channel", "circuit", "count", "is_on", "kind", "mask"),
        *("spec", "subid"),
    )

    def __init__(
        self, circuit: "EventTaker", channel: Channel, kind: int, count: int, mask: int, subid: int
    ) -> None:
        self.circuit = circuit
        self.channel = channel
        self.kind = kind
        self.count = count
        self.mask = mask
        self.subid = subid
        self.is_on = True
        self.spec = SubscriptionSpec(channel.entry, channel.type_name(kind), mask, channel.filters)
        if channel.filters is not NO_FILTER:
            self.wanted = None
        else:
            # who wants as many as there can be shares its events with those that want all
            self.wanted = count if count < channel.count else 0
        self._deadband = DeadbandState(channel.filters.dbnd) if channel.filters.dbnd else None
        self._header = b""
        self._header_count = -1

    @property
    def entry(self) -> Any:
        """The channel's PV or field."""
        return self.channel.entry

    @property
    def type_name(self) -> str:
        """caproto's name of the DBR type of its events."""
        return self.spec.data_type_name

    def take(self, dbr: bytes, count: int, mask: int) -> None:
        """Send an event of one of our own PVs."""
        if self.wanted is None:
            if not self._is_news(mask):
                return
            try:
                dbr, count = self.channel.dbr(self.kind, self.count)
            except ValueError:
                if mask:
                    return  # who wants numbers hears nothing of a text that isn't one
                raise
        self.circuit.add_event(self, dbr, count)

    def take_stock(self, metadata: Any, values: Any, flags: int) -> None:
        """Send an event of one of caproto's own channels. Raises what the conversion raises."""
        if self.is_on and self._is_news(flags):
            made = encode_stock(self.entry, self.type_name, self.channel.filters, metadata, values)
            self.circuit.add_event(self, *made)

    def lost_event(self, failure: Exception) -> None:
        """Told that an event could not be made."""
        self.circuit.complain("event", f"{self.channel.name}: no event for {self.circuit}: {failure!r}")

    def _is_news(self, mask: int) -> bool:
        reasons = mask & self.mask if mask else self.mask
        return self._deadband is None or self._deadband.passes(self.entry.value, reasons)

    def message(self, dbr: bytes, count: int) -> tuple[bytes, bytes]:
        """The event as it goes over the wire: a header, and the DBR."""
        if self.count and self.count != count:
            dbr, count = _resized(self.kind, dbr, count, self.count), self.count
        if size := len(dbr) & 7:
            dbr += bytes(8 - size)
        if count != self._header_count:
            self._header = header(Command.EVENT_ADD, len(dbr), self.kind, count, Status.NORMAL, self.subid)
            self._header_count = count
        return self._header, dbr


def refusal_to_read(channel: Channel, kind: int, count: int, may_read: int) -> Status:
    """NORMAL if these elements can be read as this type, else why not."""
    if kind >= len(TYPES):
        return Status.BADTYPE
    if not may_read:
        return Status.NORDACCESS
    if kind in _ACKNOWLEDGEMENTS:
        return Status.GETFAIL
    # More than there can be is filled with zeros, as in the C IOC, but not without bounds.
    return Status.BADCOUNT if count > max(channel.count, MAX_EXTRA_ELEMENTS) else Status.NORMAL


def read_answer(
    command: int, first: int, kind: int, wanted: int, ioid: int, dbr: bytes, count: int
) -> tuple[bytes, ...]:
    """The answer to a get: with as many elements as there are if `wanted` is 0."""
    if wanted and wanted != count:
        dbr, count = _resized(kind, dbr, count, wanted), wanted
    if len(dbr) < BIG:
        return (message(command, kind, count, first, ioid, dbr),)
    padding = -len(dbr) & 7
    return header(command, len(dbr) + padding, kind, count, first, ioid), dbr, bytes(padding)


def failed_dbr(command: int, kind: int, status: Status, ident: int) -> bytes:
    """An event or the answer to a get that tells a status; libca wants a payload, the C IOC sends zeros."""
    size = sum(_SIZES[kind]) if kind < len(TYPES) else 8
    return message(command, kind, 1, status, ident, bytes(size))


def payload_limit(channel: Channel, kind: int) -> int:
    """The bytes that a put to a channel may have."""
    return _SIZES[kind][1] * channel.count + 8 if kind < len(TYPES) else 0


class Refused(Exception):
    """Raised for a put that can't be understood."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


def decode_put(kind: int, count: int, payload: bytes) -> Any:
    """What a client puts: an array, or a list of byte strings. Raises Refused."""
    if kind in _ACKNOWLEDGEMENTS:
        kind, count = ChannelType.ENUM, 1
    if kind >= len(TYPES):
        raise Refused(Status.BADTYPE, f"there is no DBR type {kind}")
    if kind >= PLAIN_TYPES:
        raise Refused(Status.PUTFAIL, "alarm, time and limits can't be put")
    if len(payload) < count * _SIZES[kind][1] and not (kind == ChannelType.STRING and count == 1):
        raise Refused(Status.BADCOUNT, f"{len(payload)} bytes are too few for {count} elements")
    if kind == ChannelType.STRING:
        # A single string comes without the bytes behind its NUL.
        return [payload[_TEXT * n : _TEXT * n + _TEXT].partition(b"\0")[0] for n in range(count)]
    return np.frombuffer(payload, _DTYPES[kind], count)
