"""What a user of aioca does. `python -m tests.clients.with_aioca ACTION`."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aioca import DBE_ALARM, CANothing, caget, cainfo, camonitor, caput
from epicscorelibs.ca import cadef, dbr
from tests.clients.common import CONTROL, PATIENCE, main, say


async def reads() -> None:
    info = await cainfo("T:SETP")
    say(type=info.datatype_strings[info.datatype], count=info.count, read=info.read, write=info.write)
    control = await caget("T:SETP", format=dbr.FORMAT_CTRL)
    say(**{name: getattr(control, name) for name in CONTROL})
    timed = await caget("T:SETP", format=dbr.FORMAT_TIME)
    say(value=timed, status=timed.status, severity=timed.severity, stamp=timed.timestamp)
    mode = await caget("T:MODE", format=dbr.FORMAT_CTRL)
    say(mode=mode, enums=mode.enums, label=await caget("T:MODE", datatype=dbr.DBR_ENUM_STR))
    say(curve=await caget("T:CURVE"), record=await caget("T:MODE", datatype=dbr.DBR_CLASS_NAME))
    say(fields=await caget(["T:SETP.EGU", "T:SETP.PREC", "T:SETP.DESC"]))


async def puts() -> None:
    for name, value in {
        "T:SETP": 77.25,
        "T:MODE": "ON",
        "T:COUNT": -3,
        "T:CURVE": [1.5, 2.5],
    }.items():
        await caput(name, value, wait=True, timeout=PATIENCE)
    await caput("T:LABEL.VAL$", "x" * 120, datatype=dbr.DBR_CHAR_STR, wait=True, timeout=PATIENCE)
    await caput("T:SETP", "80.5", datatype=dbr.DBR_STRING, wait=True, timeout=PATIENCE)
    say(setpoint=await caget("T:SETP"), mode=await caget("T:MODE"), count=await caget("T:COUNT"))
    label = await caget("T:LABEL.VAL$", datatype=dbr.DBR_CHAR_STR)
    say(curve=await caget("T:CURVE"), label=label)


async def put_completion() -> None:
    busy: asyncio.Queue[int] = asyncio.Queue()
    camonitor("T:BUSY", busy.put)
    putting = asyncio.create_task(caput("T:SLOW", 5.0, wait=True, timeout=PATIENCE))
    async with asyncio.timeout(PATIENCE):
        while await busy.get() != 1:
            pass
    say(value=await caget("T:SLOW"), done=putting.done())
    await caput("T:RELEASE", 1)
    await putting
    say(value=await caget("T:SLOW"))


async def refusals() -> None:
    for name, value in {"T:SETP": 400.0, "T:MODE": "HALF", "T:TEMP": 5.0}.items():
        before = await caget(name)
        try:
            await caput(name, value, wait=True, timeout=PATIENCE)
        except (CANothing, cadef.CAException) as error:
            say(pv=name, error=str(error), unchanged=bool(await caget(name) == before))


async def alarm_monitors() -> None:
    events: asyncio.Queue[Any] = asyncio.Queue()
    camonitor("T:TEMP", events.put, format=dbr.FORMAT_TIME, events=DBE_ALARM, all_updates=True)
    seen = []
    async with asyncio.timeout(PATIENCE):
        seen.append(await events.get())
        for value in (100.0, 150.0, 315.0, 316.0, 322.0, 323.0, 200.0):
            await caput("T:SETP", value, wait=True)
        while seen[-1].severity or len(seen) < 2:
            seen.append(await events.get())
    say(events=[(event, event.status, event.severity) for event in seen])


async def acknowledges() -> None:
    async def tell() -> None:
        answer = await caget("T:MODE", datatype=dbr.DBR_STSACK_STRING)
        say(value=answer, severity=answer.severity, unacknowledged=answer.acks)

    await caput("T:MODE", 3, datatype=dbr.DBR_PUT_ACKS, wait=True)
    await tell()
    for mode in ("FAULT", "OFF"):
        await caput("T:MODE", mode, wait=True)
        await tell()
    await caput("T:MODE", 2, datatype=dbr.DBR_PUT_ACKS, wait=True)
    await tell()


def asynchronous(action: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def running() -> None:
        asyncio.run(action())

    running.__name__ = action.__name__
    return running


if __name__ == "__main__":
    main(*map(asynchronous, (reads, puts, put_completion, refusals, alarm_monitors, acknowledges)))
