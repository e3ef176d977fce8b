"""Values that come by themselves: a thread waits for them, here for what is typed into the IOC's terminal."""

import threading
import time
from collections.abc import Callable
from typing import Any

from labioc.devices.core import PV, AlarmStatus, PVGroup, soft
from labioc.iocs.core import from_thread, program_of


def wait_for_lines(found: Callable[[str], None], ended: Callable[[], None]) -> None:
    """Block, as a vendor's library does, and call a function for each event."""
    with open(0, "rb", buffering=0, closefd=False) as terminal:
        while line := terminal.readline():
            found(line.decode(errors="replace").rstrip("\n"))
    ended()


class IOInterrupt(PVGroup):
    """Follows what a thread finds: lines typed into the terminal."""

    line = soft("lsi", "LINE", "The last line", length=256)
    count = soft("longin", "COUNT", "Lines so far", value=0)

    @line.startup
    async def _listen(self, instance: PV, async_lib: Any) -> None:
        callbacks = from_thread(self._found), from_thread(self._ended)
        threading.Thread(target=wait_for_lines, args=callbacks, daemon=True).start()

    def _found(self, text: str) -> None:
        self.line.post(text, time.time())
        self.count.post(self.count.value + 1, time.time())

    def _ended(self) -> None:
        self.line.fail(AlarmStatus.COMM, time.time(), message="the terminal is closed")


program = program_of(IOInterrupt, prefix="io:")
