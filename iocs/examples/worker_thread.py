"""Blocking work in a thread: the put is done when the work is, and the server answers others meanwhile."""

import time

from labioc.devices.core import PV, PVGroup, soft
from labioc.iocs.core import in_thread, program_of


def blocking_move(position: float) -> float:
    """Move, and return where it ends: a function of a vendor's library, which takes its time."""
    if position == 13:
        raise OSError("the motor stalls")
    time.sleep(abs(position) / 10)
    return round(position, 1)


class WorkerThread(PVGroup):
    """Blocking work in a thread, with put completion."""

    position = soft("ao", "POS", "Done when it is there", egu="mm", prec=1, value=0.0, drvl=-50.0, drvh=50.0)
    moves = soft("longin", "MOVES", "Moves that were done", value=0)

    @position.putter
    async def _move(self, instance: PV, value: float) -> float:
        reached = await in_thread(blocking_move, value)
        await self.moves.write(self.moves.value + 1)
        return reached


program = program_of(WorkerThread, prefix="worker:")
