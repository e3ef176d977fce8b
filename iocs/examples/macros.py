"""Macros in PV names: ``labioc run examples.macros --macro beamline=X12``."""

from labioc.devices.core import PVGroup, soft_pair
from labioc.iocs.core import program_of


class Macros(PVGroup):
    """Macros in PV names, set by --macro beamline=X12."""

    target, target_rbv = soft_pair("ao", "{beamline}:{thing}", "Where it should be", value=0.0)


program = program_of(Macros, prefix="macros:", macros={"beamline": "BL1", "thing": "MOTOR"})
