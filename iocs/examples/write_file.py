"""A put is written to a file, and is done when the file has it."""

from pathlib import Path

from labioc.devices.core import PV, PVGroup, soft
from labioc.iocs.core import in_thread, program_of


class WriteFile(PVGroup):
    """Writes what is put to a file of the PV's name."""

    async def _write(self, instance: PV, value: int) -> None:
        path = Path(self.folder.text) / instance.pvname.rpartition(":")[2]
        await in_thread(path.write_text, f"{value}\n")

    folder = soft("aao", "FOLDER", "Where the files are", value=".", length=1000, chars=True)
    a = soft("longout", "A", "Written to FOLDER/A", put=_write)
    b = soft("longout", "B", "Written to FOLDER/B", put=_write)

    @folder.putter
    async def _check(self, instance: PV, value: str) -> None:
        if not await in_thread(Path(value).is_dir):
            raise ValueError(f"there is no folder {value!r}")


program = program_of(WriteFile, prefix="write_file:")
