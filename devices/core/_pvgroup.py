"""caproto's naming, nesting and macros, with types (caproto ships none)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    G = TypeVar("G", bound="PVGroup")
    H = TypeVar("H", bound="PVGroup")

    class PVGroupMeta(type):
        """Collects the PVs and subgroups of a class body."""

    class PVGroup(metaclass=PVGroupMeta):
        """A named group of PVs."""

        _pvs_: dict[str, Any]
        _subgroups_: dict[str, SubGroup[Any]]
        attr_pvdb: dict[str, Any]
        groups: dict[str, Any]
        log: logging.Logger
        macros: dict[str, str]
        parent: Any
        prefix: str
        pvdb: dict[str, Any]

        def __init__(
            self,
            prefix: str,
            *,
            macros: dict[str, str] | None = None,
            parent: object = None,
            name: str | None = None,
        ) -> None: ...

    class SubGroup(Generic[G]):
        """A group within a group."""

        group_cls: type[G]
        init_kwargs: dict[str, Any]

        def __init__(
            self, group: type[G] | None = None, *, prefix: str | None = None, **init_kwargs: Any
        ) -> None: ...
        def __call__(self, group: type[H]) -> SubGroup[H]: ...
        @overload
        def __get__(self, instance: None, owner: type) -> SubGroup[G]: ...
        @overload
        def __get__(self, instance: PVGroup, owner: type) -> G: ...
        def __get__(self, instance: PVGroup | None, owner: type) -> SubGroup[G] | G: ...

    class CaprotoRuntimeError(RuntimeError):
        """Raised when a group cannot be made."""

    class SkipWrite(Exception):
        """Raised by a putter that has shown the value itself."""

    class PVSpec:
        """What a line of a group says of its PV."""

        __slots__ = ()
        get: Any
        put: Any
        startup: Any
        shutdown: Any
        scan: Any
        attr: str
        value: Any
        cls_kwargs: dict[str, Any]

        @classmethod
        def _make(cls, values: PVSpec) -> Self: ...
        def _replace(self, **changes: Any) -> Self: ...
        def create(self, group: PVGroup) -> Any: ...

    class PVProperty:
        """Makes one PV of a group."""

        attr_name: str | None
        pvspec: PVSpec

        def __init__(self, **spec: Any) -> None: ...
        def __set_name__(self, owner: type, name: str) -> None: ...
        def getter(self, get: Any) -> Self: ...
        def putter(self, put: Any) -> Self: ...
        def startup(self, startup: Any) -> Self: ...
        def shutdown(self, shutdown: Any) -> Self: ...

    def check_signature(type_: str, func: Any, expect_method: bool) -> None:
        """Raises CaprotoRuntimeError if a function can't be such a hook."""

    def pvproperty(*, dtype: type, name: str, max_length: int, doc: str, info: object) -> Any:
        """Return what makes one PV of a group."""
else:
    from caproto import CaprotoRuntimeError, SkipWrite
    from caproto.server import PVGroup, PVSpec, SubGroup, pvproperty
    from caproto.server.server import PVGroupMeta, check_signature

    PVProperty = pvproperty

TAKEN = frozenset(dir(PVGroup)) | {
    *("alarms", "attr_pvdb", "attr_to_pvname", "groups", "log", "macros", "name", "parent", "prefix", "pvdb"),
    *("states", "update_state"),
}
"""caproto's own attributes of a group, on the class and on the instance."""

__all__ = [
    "TAKEN",
    "CaprotoRuntimeError",
    "PVGroup",
    "PVGroupMeta",
    "PVProperty",
    "PVSpec",
    "SkipWrite",
    "SubGroup",
    "check_signature",
    "pvproperty",
]
