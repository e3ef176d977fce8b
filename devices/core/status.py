"""What each kind of failure looks like at a PV: one table."""

from labioc.drivers.core.errors import (
    LabiocError,
    LinkDown,
    PortBusy,
    ReadingInvalid,
    RefusedError,
    ReplyError,
    ReplyTimeout,
    TruncatedReply,
    WriteCut,
    WrongInstrument,
)

from .records import AlarmStatus

STATUS: dict[type[LabiocError], AlarmStatus] = {
    LinkDown: AlarmStatus.COMM,
    WrongInstrument: AlarmStatus.COMM,
    ReplyTimeout: AlarmStatus.TIMEOUT,
    PortBusy: AlarmStatus.TIMEOUT,
    TruncatedReply: AlarmStatus.READ,
    ReplyError: AlarmStatus.CALC,
    WriteCut: AlarmStatus.WRITE,
    RefusedError: AlarmStatus.WRITE,
    ReadingInvalid: AlarmStatus.HWLIMIT,
}


def status_of(error: LabiocError) -> AlarmStatus:
    """Return the alarm status of a failure; its severity is always INVALID."""
    return STATUS.get(type(error), AlarmStatus.SOFT)
