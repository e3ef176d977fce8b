"""What a Rigol DS1000Z keeps and shows without a part in what is simulated: settings that read back, and no more.

Source: MSO1000Z/DS1000Z Programming Guide, chapter 2. Where the guide names no default, the first choice is one.
"""

from typing import Any

from .scpi import Parameter, Setting, boolean, choice, integer

SOURCES = ("CHANnel1", "CHANnel2", "CHANnel3", "CHANnel4")
WIDTHS = ("PGReater", "PLESs", "NGReater", "NLESs", "PGLess", "NGLess")
OPERATORS = ("ADD SUBTract MULTiply DIVision AND OR XOR NOT FFT INTG DIFF SQRT LOG LN EXP ABS FILTer").split()


def stored(real: Any) -> tuple[tuple[str, Parameter, Any], ...]:
    """Return the lines of the table: header, parameter, default. `real` makes a parameter for a number."""
    source, volts, seconds = choice(*SOURCES), real(unit="V"), real(8e-9, 10, unit="s")
    # fmt: off
    return (
        (":CURSor:MODE <mode>", choice("OFF", "MANual", "TRACk", "AUTO", "XY"), "OFF"),
        (":CURSor:MANual:TYPE <type>", choice("X", "Y"), "X"),
        (":CURSor:MANual:SOURce <source>", choice(*SOURCES, "MATH"), "CHAN1"),
        (":CURSor:MANual:TUNit <unit>", choice("S", "HZ", "DEGRee", "PERCent"), "S"),
        (":CURSor:MANual:VUNit <unit>", choice("PERCent", "SOURce"), "SOUR"),
        (":CURSor:MANual:AX <x>", integer(5, 594), 100),
        (":CURSor:MANual:BX <x>", integer(5, 594), 500),
        (":CURSor:MANual:AY <y>", integer(5, 394), 100),
        (":CURSor:MANual:BY <y>", integer(5, 394), 300),
        (":DECoder1:DISPlay <bool>", boolean(), False),
        (":DECoder2:DISPlay <bool>", boolean(), False),
        (":ETABle1:DISP <bool>", boolean(), False),
        (":ETABle2:DISP <bool>", boolean(), False),
        (":FUNCtion:WRECord:ENABle <bool>", boolean(), False),
        (":MASK:ENABle <bool>", boolean(), False),
        (":MATH:DISPlay <bool>", boolean(), False),
        (":MATH:OPERator <opt>", choice(*OPERATORS), "ADD"),
        (":MATH:SOURce1 <src>", source, "CHAN1"),
        (":MATH:SOURce2 <src>", source, "CHAN1"),
        (":MATH:SCALe <scale>", real(1e-12, 1e13), 1.0),
        (":MATH:OFFSet <offset>", real(), 0.0),
        (":MATH:INVert <bool>", boolean(), False),
        (":MEASure:ADISplay <bool>", boolean(), False),
        (":MEASure:SETup:MAX <value>", integer(7, 95), 90),
        (":MEASure:SETup:MID <value>", integer(6, 94), 50),
        (":MEASure:SETup:MIN <value>", integer(5, 93), 10),
        (":MEASure:SETup:PSA <source>", source, "CHAN1"),
        (":MEASure:SETup:PSB <source>", source, "CHAN2"),
        (":MEASure:SETup:DSA <source>", source, "CHAN1"),
        (":MEASure:SETup:DSB <source>", source, "CHAN2"),
        (":MEASure:STATistic:DISPlay <bool>", boolean(), False),
        (":MEASure:STATistic:MODE <mode>", choice("DIFFerence", "EXTRemum"), "EXTR"),
        (":SYSTem:AUToscale <bool>", boolean(), True),
        (":SYSTem:BEEPer <bool>", boolean(), False),
        (":SYSTem:LANGuage <lang>", choice("SCHinese", "TCHinese", "ENGLish"), "ENGL"),
        (":SYSTem:LOCKed <bool>", boolean(), False),
        (":SYSTem:PON <power_on>", choice("LATest", "DEFault"), "LAT"),
        (":TRIGger:PULSe:SOURce <source>", source, "CHAN1"),
        (":TRIGger:PULSe:WHEN <when>", choice(*WIDTHS), "PGR"),
        (":TRIGger:PULSe:WIDTh <width>", seconds, 1e-6),
        (":TRIGger:PULSe:UWIDth <width>", seconds, 2e-6),
        (":TRIGger:PULSe:LWIDth <width>", seconds, 1e-6),
        (":TRIGger:PULSe:LEVel <level>", volts, 0.0),
        (":TRIGger:SLOPe:SOURce <source>", source, "CHAN1"),
        (":TRIGger:SLOPe:WHEN <when>", choice(*WIDTHS), "PGR"),
        (":TRIGger:SLOPe:TIME <time>", seconds, 1e-6),
        (":TRIGger:SLOPe:TUPPer <time>", seconds, 2e-6),
        (":TRIGger:SLOPe:TLOWer <time>", seconds, 1e-6),
        (":TRIGger:SLOPe:WINDow <window>", choice("TA", "TB", "TAB"), "TA"),
        (":TRIGger:SLOPe:ALEVel <level>", volts, 0.0),
        (":TRIGger:SLOPe:BLEVel <level>", volts, 0.0),
        (":TRIGger:VIDeo:SOURce <source>", source, "CHAN1"),
        (":TRIGger:VIDeo:POLarity <polarity>", choice("POSitive", "NEGative"), "POS"),
        (":TRIGger:VIDeo:MODE <mode>", choice("ODDFRame", "EVENFRame", "LINE", "ALINe"), "ALIN"),
        (":TRIGger:VIDeo:LINE <line>", integer(1, 625), 1),
        (":TRIGger:VIDeo:STANdard <standard>", choice("PALSecam", "NTSC", "480P", "576P"), "NTSC"),
        (":TRIGger:VIDeo:LEVel <level>", volts, 0.0),
        (":TRIGger:TIMeout:SOURce <source>", source, "CHAN1"),
        (":TRIGger:TIMeout:SLOPe <slope>", choice("POSitive", "NEGative", "RFALl"), "POS"),
        (":TRIGger:TIMeout:TIMe <time>", real(1.6e-8, 10, unit="s"), 1e-6),
        (":DISPlay:WBRightness <time>", integer(0, 100), 50),
        (":DISPlay:GBRightness <brightness>", integer(0, 100), 50),
        (":DISPlay:TYPE <type>", choice("VECTors", "DOTS"), "VECT"),
        (":DISPlay:GRADing:TIME <time>", choice("MIN", "0.1", "0.2", "0.5", "1", "5", "10", "INFinite"), "MIN"),
        (":DISPlay:GRID <grid>", choice("FULL", "HALF", "NONE"), "FULL"),
    )
    # fmt: on


class Stored(dict[str, Any]):
    """What is set, by header; it begins with the defaults."""

    def __getattr__(self, name: str) -> Any:
        """Return what stands under a header, as an attribute."""
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it."""
        self[name] = value


def settings(lines: tuple[tuple[str, Parameter, Any], ...]) -> tuple[Setting, ...]:
    """Return the lines of the command table, over the simulator's attribute `stored`."""
    return tuple(Setting(header, header.split()[0], parameter, of="stored") for header, parameter, _ in lines)


def defaults(lines: tuple[tuple[str, Parameter, Any], ...]) -> Stored:
    """Return what is set after *RST."""
    return Stored((header.split()[0], default) for header, _, default in lines)
