"""Records that belong to no instrument: a line of a group is a PV, and its functions are the group's.

class Cell(PVGroup):
    target = soft("ao", "TARGET", egu="K", drvh=400.0, value=300.0)
    temperature = soft("ai", "TEMP", egu="K", scan=0.5)

    @target.putter
    async def _heat(self, instance, value): ...

    @temperature.getter
    async def _measure(self, instance): ...
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self, overload

from ._pvgroup import TAKEN, PVGroup, PVProperty, PVSpec, check_signature
from .field import FieldSpec
from .hooks import Hooks
from .pv import PV
from .records import (
    Alarm,
    CharArrayPV,
    DoubleArrayPV,
    DoublePV,
    EnumPV,
    Integer64PV,
    IntegerPV,
    LongTextPV,
    RecordInfo,
    StringPV,
)

_RECORDS: dict[str, type[PV]] = {
    **dict.fromkeys(("ai", "ao"), DoublePV),
    **dict.fromkeys(("longin", "longout"), IntegerPV),
    **dict.fromkeys(("int64in", "int64out"), Integer64PV),
    **dict.fromkeys(("bi", "bo", "mbbi", "mbbo"), EnumPV),
    **dict.fromkeys(("stringin", "stringout"), StringPV),
    **dict.fromkeys(("lsi", "lso"), LongTextPV),
    **dict.fromkeys(("waveform", "aai", "aao"), DoubleArrayPV),
}
INPUTS = {
    "ao": "ai",
    "longout": "longin",
    "int64out": "int64in",
    "bo": "bi",
    "mbbo": "mbbi",
    "stringout": "stringin",
    "lso": "lsi",
    "aao": "waveform",
}
"""Of each record type that takes puts, the one that shows the same."""

Hook = Callable[..., Awaitable[Any]]


class SoftSpec(PVSpec):
    """What a line says of its PV."""

    __slots__ = ()

    def readback_name(self) -> str | None:
        """Return the attribute of its readback, if it is a setpoint with one."""
        return None

    def create(self, group: PVGroup) -> Any:
        """Make the PV, with the functions that the group has for it."""
        pv = super().create(group)
        Hooks(pv, group, self, self.readback_name())
        return pv


class SoftProperty(PVProperty):
    """One line of a group; its methods are decorators for the group's functions."""

    def __init__(self, info: RecordInfo, **spec: Any) -> None:
        super().__init__(doc=info.desc, info=info, **spec)
        self.pvspec = SoftSpec._make(self.pvspec)

    def __set_name__(self, owner: type, name: str) -> None:
        """Raises TypeError if the name is one of PVGroup's own."""
        if name in TAKEN:
            raise TypeError(f"{owner.__name__}.{name}: the name {name!r} is taken, choose another")
        super().__set_name__(owner, name)

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> Self: ...
        @overload
        def __get__(self, instance: PVGroup, owner: type) -> Any: ...
        def __get__(self, instance: PVGroup | None, owner: type) -> Any: ...

    def __call__(self, get: Hook) -> Self:
        """Do as `getter`; its docstring is DESC, if nothing else is."""
        if not self.pvspec.cls_kwargs["info"].desc and get.__doc__:
            self._configure(desc=get.__doc__.partition("\n")[0].rstrip("."))
        return self.getter(get)

    def getter(self, get: Hook) -> Self:
        """Let ``async def get(self, instance)`` return the value: at the start, as SCAN says, and at a put to PROC."""
        return super().getter(get)

    def scan(self, period: float) -> Callable[[Hook], SoftProperty]:
        """Call ``async def scan(self, instance, async_lib)``, which writes or returns the value, as `getter` does.

        Args:
            period: seconds; clients change it by SCAN.
        """

        def decorate(scan: Hook) -> SoftProperty:
            check_signature("scan", scan, expect_method=True)
            self._configure(scan=_scan(period))
            self.pvspec = self.pvspec._replace(scan=scan)
            return self

        return decorate

    def _configure(self, **changes: Any) -> None:
        info = replace(self.pvspec.cls_kwargs["info"], **changes)
        self.pvspec = self.pvspec._replace(cls_kwargs={**self.pvspec.cls_kwargs, "info": info})


def soft(
    rtyp: str,
    name: str,
    desc: str = "",
    *,
    value: Any = None,
    get: Hook | None = None,
    put: Hook | None = None,
    alarm: Alarm | None = None,
    states: tuple[str, ...] | type[IntEnum] = (),
    scan: str | float = "Passive",
    fields: Mapping[str, FieldSpec] | None = None,
    length: int = 1,
    chars: bool = False,
    **settings: Any,
) -> SoftProperty:
    """Make a PV of a group: ``target = soft("ao", "TARGET", egu="K", prec=3)``.

    Args:
        rtyp: its record type. Clients can put to those for outputs, and to what has a putter.
        name: what stands behind the prefix of its group; ``{macro}`` is replaced.
        desc: what it is, DESC.
        value: the first one; without it the PV is UDF until somebody gives it one. What has a getter or scan is UDF
            until it is read.
        get: ``async def get(self, instance)``, as its decorator `getter`.
        put: ``async def put(self, instance, value)``, as its decorator `putter`. What it returns is shown; if that is
            None, what was put. Its ValueError refuses the put.
        alarm: its alarm limits.
        states: labels of an enum, or the class of its members.
        scan: how often the getter is called, seconds, or a text of SCAN.
        fields: fields of its own, by name.
        length: elements of an array, or bytes of a long text with its NUL.
        chars: whether an array is one of characters, which holds a text; the others hold floats.
        settings: those of `RecordInfo`, such as egu, prec or drvh.

    Raises KeyError if labioc has no such record type, TypeError or ValueError for a wrong setting.
    """
    record = CharArrayPV if chars else _RECORDS[rtyp]
    if fields is not None:
        record = type(record.__name__, (record,), {"own_fields": dict(fields)})
    if isinstance(states, type):
        states = labels_of(states)
    if alarm is not None:
        settings.update(alarm.fields)
    info = RecordInfo(rtyp, desc=desc, states=states, scan=_scan(scan), **settings)
    return SoftProperty(info, dtype=record, name=name, max_length=length, value=value, get=get, put=put)


def soft_pair(
    rtyp: str,
    name: str,
    desc: str = "",
    *,
    value: Any = None,
    get: Hook | None = None,
    put: Hook | None = None,
    alarm: Alarm | None = None,
    scan: str | float = "Passive",
    fields: Mapping[str, FieldSpec] | None = None,
    drvl: float = 0.0,
    drvh: float = 0.0,
    **settings: Any,
) -> tuple[SoftProperty, SoftProperty]:
    """Make a setpoint and its readback NAME_RBV: ``target, target_rbv = soft_pair("ao", "TARGET", egu="K")``.

    After each put the readback is read. Without getter and scan it shows what was put, or what the putter writes to it.

    Args:
        rtyp: the setpoint's record type, one for outputs.
        get, alarm, scan: the readback's.
        put, fields, drvl, drvh: the setpoint's.
        value, settings: of both, as for `soft`.

    Raises KeyError if there is no such record type for outputs, TypeError or ValueError for a wrong setting.
    """
    readback = soft(
        *(INPUTS[rtyp], f"{name}_RBV", desc), value=value, get=get, alarm=alarm, scan=scan, **settings
    )
    setpoint = soft(
        *(rtyp, name, desc), value=value, put=put, fields=fields, drvl=drvl, drvh=drvh, **settings
    )

    class PairSpec(SoftSpec):
        __slots__ = ()

        def readback_name(self) -> str | None:
            return readback.attr_name

    setpoint.pvspec = PairSpec._make(setpoint.pvspec)
    return setpoint, readback


def labels_of(kind: type[IntEnum]) -> tuple[str, ...]:
    """Return the labels of an enum's states, by index; what has no member has none."""
    names = {int(member): member.name for member in kind}
    return tuple(names.get(index, "") for index in range(max(names) + 1))


def _scan(scan: str | float) -> str:
    if isinstance(scan, str):
        return scan
    if not 0 < scan < math.inf:
        raise ValueError(f"a scan period is more than 0 seconds, not {scan}")
    return f"{scan:g}"
