"""Three plain PVs that clients can read and write."""

from labioc.devices.core import PVGroup, soft
from labioc.iocs.core import program_of


class Simple(PVGroup):
    """Three plain PVs."""

    a = soft("longout", "A", "An integer", value=1)
    b = soft("ao", "B", "A float", value=2.0, prec=3)
    c = soft("aao", "C", "Up to three floats", value=[1, 2, 3], length=3)


program = program_of(Simple, prefix="simple:")
