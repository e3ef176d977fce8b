"""A function as PVs: one for each argument, Process to call it, Status and Retval."""

from __future__ import annotations

import inspect
import time
import typing
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Any

from ._pvgroup import PVGroup, PVGroupMeta, SubGroup
from .conversion import PutRefused
from .records import AlarmStatus
from .soft import INPUTS, SoftProperty, labels_of, soft

TEXT_LENGTH = 256
STATUS = "Status"

_SETTINGS: dict[type, dict[str, Any]] = {
    bool: {"rtyp": "bo", "states": ("False", "True")},
    int: {"rtyp": "longout"},
    float: {"rtyp": "ao", "prec": 6},
    str: {"rtyp": "lso", "length": TEXT_LENGTH},
}


def soft_function(
    prefix: str | None = None,
) -> Callable[[Callable[..., Awaitable[Any]]], SubGroup[PVGroup]]:
    """Make PVs of a function of a group, from its type hints: bool, int, float, str, or an IntEnum.

        @soft_function("AREA:")
        async def area(self, width: float = 1.0, height: float = 1.0) -> float: ...

    Each argument is a PV that clients can put. A put of 1 to Process calls the function with what is put there, and is
    done when that is; Status tells how it ended, and Retval is the result. What the function raises refuses the put.

    Args:
        prefix: what stands before the names of the PVs; the function's name and a colon, if not given.

    Raises TypeError for a type hint that isn't there, or that no record is for.
    """

    def make(function: Callable[..., Awaitable[Any]]) -> SubGroup[PVGroup]:
        hints = typing.get_type_hints(function)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        arguments = {parameter.name: _kind(function, parameter.name, hints) for parameter in parameters}
        body: dict[str, Any] = {
            _attribute(parameter.name): _argument(arguments[parameter.name], parameter)
            for parameter in parameters
        }
        returned = _kind(function, "return", hints)
        if returned is not type(None):
            settings = _settings(returned)
            settings["rtyp"] = INPUTS[settings["rtyp"]]
            body["retval"] = soft(name="Retval", desc="What it has returned", **settings)
        body["status"] = soft("lsi", STATUS, "How it ended", value="Init", length=TEXT_LENGTH)
        body["process"] = soft(
            *("bo", "Process", "Call it"),
            states=("Done", "Process"),
            value=0,
            put=_process(function, arguments),
        )
        group = PVGroupMeta(function.__name__, (PVGroup,), body)
        return SubGroup(typing.cast(type[PVGroup], group), prefix=prefix)

    return make


def _kind(function: Callable[..., Any], name: str, hints: dict[str, Any]) -> type:
    kind = hints.get(name)
    if not (kind in _SETTINGS or _is_enum(kind) or (name == "return" and kind is type(None))):
        one_of = ", ".join(known.__name__ for known in _SETTINGS)
        said = "nothing" if kind is None else kind
        raise TypeError(
            f"{function.__qualname__}: the type of {name!r} is {said}; there are {one_of} and IntEnum"
        )
    return typing.cast(type, kind)


def _attribute(argument: str) -> str:
    return f"argument_{argument}"


def _is_enum(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, IntEnum)


def _settings(kind: type) -> dict[str, Any]:
    if _is_enum(kind):
        return {"rtyp": "mbbo", "states": labels_of(kind)}
    return dict(_SETTINGS[kind])


def _argument(kind: type, parameter: inspect.Parameter) -> SoftProperty:
    value = None if parameter.default is parameter.empty else parameter.default
    return soft(name=parameter.name, desc=f"Argument {parameter.name}", value=value, **_settings(kind))


def _process(
    function: Callable[..., Awaitable[Any]], arguments: dict[str, type]
) -> Callable[[Any, Any, int], Awaitable[int]]:
    async def process(group: Any, instance: Any, value: int) -> int:
        if not value:
            return 0
        given = {name: group.attr_pvdb[_attribute(name)] for name in arguments}
        missing = [pv.pvname for pv in given.values() if pv.udf]
        if missing:
            raise PutRefused(f"{instance.pvname}: {', '.join(missing)} has no value yet")
        instance.post(1, time.time())
        group.status.post("Running", time.time())
        try:
            result = await function(
                group.parent, **{name: kind(given[name].value) for name, kind in arguments.items()}
            )
            if result is not None:
                group.retval.post(result, time.time())
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            group.status.post(text, time.time())
            if "retval" in group.attr_pvdb:
                group.retval.fail(AlarmStatus.CALC, time.time(), message=text)
            raise
        else:
            group.status.post("Success", time.time())
            return 0
        finally:
            instance.post(0, time.time())

    return process
