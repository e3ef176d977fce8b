"""What the helpers of an IOC have in common: they are about all of its PVs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labioc.devices.core._caproto import ChannelData
from labioc.devices.core._pvgroup import PVGroup


class IocGroup(PVGroup):
    """A group of PVs about the PVs of an IOC: those that it is given, or all of the outermost group around it."""

    def __init__(self, prefix: str, *, pvs: Mapping[str, ChannelData] | None = None, **rest: Any) -> None:
        super().__init__(prefix, **rest)
        self._given = pvs

    @property
    def pvs(self) -> Mapping[str, ChannelData]:
        """The PVs of the IOC, by name."""
        if self._given is None:
            outermost: Any = self
            while outermost.parent is not None:
                outermost = outermost.parent
            self._given = outermost.pvdb
        return self._given
