"""caproto's naming, nesting and macros, with types (caproto ships none)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    G = TypeVar("G", bound="PVGroup")

    class PVGroupMeta(type):
        """Collects the PVs and subgroups of a class body."""

    class PVGroup(metaclass=PVGroupMeta):
        """A named group of PVs."""

        _pvs_: dict[str, Any]
        _subgroups_: dict[str, SubGroup[Any]]
        attr_pvdb: dict[str, Any]
        groups: dict[str, Any]
        macros: dict[str, str]
        parent: object
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

        def __init__(self, group: type[G], *, prefix: str | None = None, **init_kwargs: Any) -> None: ...
        @overload
        def __get__(self, instance: None, owner: type) -> SubGroup[G]: ...
        @overload
        def __get__(self, instance: PVGroup, owner: type) -> G: ...
        def __get__(self, instance: PVGroup | None, owner: type) -> SubGroup[G] | G: ...

    class CaprotoRuntimeError(RuntimeError):
        """Raised when a group cannot be made."""

    def pvproperty(*, dtype: type, name: str, max_length: int, doc: str, info: object) -> Any:
        """Return what makes one PV of a group."""
else:
    from caproto import CaprotoRuntimeError
    from caproto.server import PVGroup, SubGroup, pvproperty
    from caproto.server.server import PVGroupMeta

__all__ = ["CaprotoRuntimeError", "PVGroup", "PVGroupMeta", "SubGroup", "pvproperty"]
