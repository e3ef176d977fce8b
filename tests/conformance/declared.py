"""The list of declared differences. docs/conformance.md is made from it: `python -m tests.conformance --write`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Where:
    """Where a difference shows: patterns as in a shell; an empty list is everywhere."""

    places: tuple[str, ...]
    """Fields, or names of stimuli."""
    aspects: tuple[str, ...] = ()
    """What is compared: "access", "value", "VAL events ALARM" ..."""
    rtyps: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    """Steps of a stimulus, or "bare" and "rich" of a field's record."""
    theirs: str | None = None
    """The C IOC's value."""
    ours: str | None = None
    is_of_field: bool = True


@dataclass(frozen=True)
class Difference:
    """One declared difference."""

    title: str
    c_ioc: str
    labioc: str
    reason: str
    wheres: tuple[Where, ...]


def fields(
    places: str,
    *aspects: str,
    rtyps: str = "",
    steps: str = "",
    theirs: str | None = None,
    ours: str | None = None,
) -> Where:
    """Of what can be read of these fields."""
    return Where(
        tuple(places.split()),
        aspects,
        tuple(rtyps.split()),
        tuple(steps.split()),
        theirs,
        ours,
        is_of_field=True,
    )


def stimulus(
    name: str,
    *steps: str,
    aspects: tuple[str, ...] = (),
    rtyps: str = "",
    theirs: str | None = None,
    ours: str | None = None,
) -> Where:
    """Of these steps of a stimulus."""
    return Where((name,), aspects, tuple(rtyps.split()), steps, theirs, ours, is_of_field=False)


READINGS = "ai bi mbbi longin int64in stringin lsi waveform aai"
ARRAYS = "waveform aai aao"
INTEGER_OUTPUTS = "longout int64out"

DECLARED: tuple[Difference, ...] = (
    # What there is
    Difference(
        "Fields of device support, simulation records and conversion aren't there",
        "serves them",
        "doesn't find them",
        "They show the inside of the C record: raw values before conversion, the state of device support, what a"
        " simulated record reads. In labioc the driver does that work; alarm handlers and screens don't need them.",
        (
            fields("DTYP OLDSIMM SSCN SDLY VERS", "served"),
            fields("INIT LBRK", "served", rtyps="ai ao"),
            fields("RVAL ORAW", "served", rtyps="ai ao bi bo mbbi mbbo"),
            fields("RBV ORBV", "served", rtyps="ao bo mbbo"),
            fields("IVOA IVOV", "served", rtyps="ao bo mbbo longout int64out stringout lso"),
            fields("PVAL", "served", rtyps="ao longout"),
            fields("OMOD", "served", rtyps="ao"),
            fields("HIGH", "served", rtyps="bo"),
            fields("OOCH OOPT", "served", rtyps="longout"),
            fields("OVAL OLEN", "served", rtyps="lsi lso"),
            fields("RARM BUSY", "served", rtyps="waveform"),
            fields("HASH", "served", rtyps=ARRAYS),
            fields("AFTC AFVL", "served", rtyps="mbbi longin int64in"),
        ),
    ),
    Difference(
        "Fields without a function in labioc can't be written",
        "takes the put",
        "read-only, with the C record's default",
        "A put that has no effect is refused rather than taken in silence: nothing behind labioc's records follows"
        " links, converts, simulates or processes in another order.",
        (
            fields("ASG PINI PHAS EVNT TSE TSEL SDIS PRIO TPRO FLNK SIOL SIML SIMM SIMS RTYP", "access"),
            fields("INP", "access", rtyps=READINGS),
            fields("OUT DOL OMSL", "access", rtyps="ao bo mbbo longout int64out stringout lso aao"),
            fields("LINR EGUF EGUL AOFF ASLO ESLO EOFF ROFF", "access", rtyps="ai ao"),
            fields("SMOO", "access", rtyps="ai"),
            fields("AFTC", "access", rtyps="ai"),
            fields("SVAL", "access", rtyps="ai bi mbbi longin int64in stringin"),
            fields("OVAL OROC OIF", "access", rtyps="ao"),
            fields(
                "ZRVL ONVL TWVL THVL FRVL FVVL SXVL SVVL EIVL NIVL TEVL ELVL TVVL TTVL FTVL FFVL SHFT",
                "access",
                rtyps="mbbi mbbo",
            ),
            fields("MPST APST", "access", rtyps="stringin stringout lsi lso waveform aai aao"),
            stimulus("puts to what is read-only", "put .RTYP 'x'", "write .RTYP 'x'", aspects=("answer",)),
            stimulus("link fields", "put .*", aspects=("answer",), rtyps="ai ao"),
        ),
    ),
    # Values
    Difference(
        "A reading can't be put",
        "a client can put to VAL of an input record",
        "VAL of a readback is read-only",
        "A readback shows what the instrument said, never what a client wrote.",
        (
            fields("VAL", "access", rtyps=READINGS),
            fields("VAL[[]* VAL{*", "access", rtyps="waveform aai"),
            stimulus("DISP", "put 1", "write 1", aspects=("answer",), rtyps=READINGS),
        ),
    ),
    Difference(
        "Never processed: time stamp",
        "1990-01-01 00:00:00",
        "the start of the IOC",
        "Archivers drop 1990, and so the alarm that says that the PV was never read.",
        (
            fields("VAL", "stamp", theirs="1990"),
            Where(("VAL as DBR_TIME_*",), ("stamp",), theirs="1990"),
        ),
    ),
    Difference(
        "States that don't exist",
        "any number up to 65535 can be put or read; it is shown as 'Illegal Value', in a bi without an alarm",
        "puts: only the states of the instrument, whatever labels clients add, else PUTFAIL; a bi has 2 states, an mbbi"
        " 16, and 65535 is no state",
        "A value that the instrument doesn't know must not be shown as done. When the instrument says what no state"
        " stands for, the reply can't be read: the last state stays, with the alarm CALC/INVALID and the text in AMSG.",
        (
            stimulus("unknown states of a bit", "give 2", "give 15", "give 16", rtyps="bi bo"),
            stimulus("unknown states of a bit", "give 65535", rtyps="bo"),
            stimulus("unknown states of a selector", "give 16", rtyps="mbbi"),
            stimulus("unknown states of a selector", "give *", rtyps="mbbo"),
            stimulus("states without a label but with a severity", "give 3", rtyps="mbbo"),
            stimulus("a state without a label gets one", "give 3", rtyps="mbbo"),
            stimulus("without any labels", "give 2", rtyps="bi bo"),
        ),
    ),
    Difference(
        "A put that is no number, or isn't one to its end",
        "'12abc' is 12, '' is 0, '1_0' is 1",
        "PUTFAIL",
        "Taking half of what was typed sets an instrument to something that nobody meant.",
        (
            stimulus(
                "numbers with something behind put as text",
                "put '12abc'",
                "put '1_0'",
                "put '1e'",
                "put ''",
                rtyps="ao longout int64out",
            ),
            stimulus("text put to a selector", "put '1.0'", "put ''", rtyps="mbbo"),
        ),
    ),
    Difference(
        "Texts put to integers",
        "'010' is 8, '1e3' and '1e2' are 1, '.5' is refused",
        "decimal numbers: 10, 1000, 100, 0",
        "The C IOC stops at what strtol doesn't know; nobody means 1 who types 1e3, nor 8 who types 010.",
        (
            stimulus("octal numbers put as text", "put '010'", rtyps=INTEGER_OUTPUTS),
            stimulus("fractions put as text", "put '1e3'", "put '.5'", "put '1e400'", rtyps=INTEGER_OUTPUTS),
            stimulus("numbers put as text", "put '1e2'", rtyps=INTEGER_OUTPUTS),
        ),
    ),
    Difference(
        "Numbers that don't fit, or mean nothing",
        "an undefined conversion, mostly -2147483648; HHSV = 9 is an alarm of severity 9; PREC = -1 is 17 digits",
        "PUTFAIL",
        "The C language leaves open what comes out of the conversion; an instrument must not be set to it. There is no"
        " severity 9, and no negative number of digits.",
        (
            stimulus("numbers too large for integers", "put *", rtyps=INTEGER_OUTPUTS),
            stimulus("numbers of more than 32 bits", "put *", rtyps="longout"),
            stimulus("large numbers put to an array of integers", "put *", rtyps="aao"),
            stimulus("fields beyond their types", "put .DISV 70000", rtyps="ai longout"),
            stimulus("fields beyond their types", "put .HIHI 2500000000.0", rtyps="longout"),
            stimulus("menus of unknown items", "put *", rtyps="ai"),
            stimulus("a negative PREC", "put .PREC -1", rtyps="ai ao"),
        ),
    ),
    Difference(
        "Puts beyond DRVL and DRVH",
        "clamps the value and says NORMAL",
        "PUTFAIL; with `clamp=True` of the setpoint it clamps",
        "Who puts 400 K must not believe that it was done. A station that wants the C IOC's way declares it.",
        (stimulus("beyond the drive limits", "give 15", "give -15", rtyps="ao longout int64out"),),
    ),
    Difference(
        "Too many elements, too long texts",
        "cut off without a word",
        "PUTFAIL",
        "Half of a table or of a file name is another one.",
        (
            stimulus("too many elements", "put *", rtyps="aao"),
            stimulus(
                "long strings that are too long, or without NUL, or not of CHAR",
                "put .VAL$ b'xxx*",
                rtyps="stringout lso",
            ),
            stimulus("too long strings put to a long record", "put *", rtyps="lso"),
        ),
    ),
    Difference(
        "Refused arrays",
        "writes the elements before the one that is no number, and processes the record",
        "leaves the value alone",
        "A put that failed is never shown as done.",
        (stimulus("a text that is no number among elements", "put *", rtyps="aao"),),
    ),
    # Processing
    Difference(
        "TIME of a put that processes the record",
        "a put to a field such as HIHI, DRVH or ZNAM, even a refused one, processes the record and stamps it anew",
        "TIME changes with a value or an alarm only",
        "A reading is stamped when the instrument gave it; changing a limit is no reading.",
        (Where((), ("stamp",), theirs="risen", ours="the same", is_of_field=False),),
    ),
    Difference(
        "Alarm limits that are put before the first reading",
        "processes the record: 0 becomes a good value",
        "stays UDF",
        "Nothing was read; a change of HIHI doesn't make 0 a reading.",
        (stimulus("alarm limits before the first value", "put *", rtyps="ai ao longin int64in"),),
    ),
    Difference(
        "UDF",
        "writable; the next processing overwrites it in some record types",
        "read-only",
        "Whether there was a good reading is for the IOC to know.",
        (
            fields("UDF", "access"),
            stimulus("UDF put by a client", "put .UDF *"),
            # The alarm UDF that only the C IOC had is still to be acknowledged there.
            stimulus(
                "UDF put by a client",
                "give 0",
                aspects=("acknowledge", ".ACKS"),
                rtyps="bo mbbo longout int64out stringout lso",
            ),
        ),
    ),
    Difference(
        "PROC of a setpoint that was never put or read",
        "writes 0 to the output: UDF is cleared",
        "does nothing",
        "A restart, or a click on PROC, must not move anything.",
        (stimulus("PROC", rtyps="ao aao", aspects=("alarm", ".*", "VAL events *")),),
    ),
    Difference(
        "stringin, lsi: PROC",
        "clears the alarm, but not UDF",
        "clears both",
        "The instrument was read: the text is known.",
        (stimulus("PROC", "put .PROC 1", rtyps="stringin lsi", aspects=(".UDF", "VAL events ALARM")),),
    ),
    Difference(
        "Disabled records",
        "shows DISABLE at the next processing, and until the next one after; a put changes VAL, though nothing is sent",
        "shows DISABLE as soon as DISA is DISV, and the alarm of before as soon as it isn't; a put is PUTFAIL",
        "What a disabled PV shows isn't live, and what didn't reach the instrument isn't shown as done.",
        (
            stimulus("disabled", rtyps="ai ao bo stringout longin"),
            stimulus("disabled from the start", rtyps="ai bo"),
        ),
    ),
    Difference(
        "Acknowledging the alarms of a readback",
        "DBR_PUT_ACKS and DBR_PUT_ACKT to any record",
        "to setpoints only (NOWTACCESS else)",
        "Channel Access knows one write access for value and acknowledgement: libca itself refuses to send it. A C IOC"
        " with access security that makes VAL read-only does the same.",
        (stimulus("alarms acknowledged", rtyps="ai longin"),),
    ),
    Difference(
        "mbbo without any label",
        "is served as LONG, and takes any number",
        "is served as ENUM, as an mbbi is, and has no state that could be put",
        "labioc's enums come from the driver, with labels.",
        (
            fields("VAL", rtyps="mbbo", steps="bare"),
            stimulus("without any labels", rtyps="mbbo"),
            Where(("VAL as DBR_*STRING",), ("value",), ("mbbo",), ("bare",), theirs="('0',)"),
        ),
    ),
    Difference(
        "lsi, lso: before the first text",
        "no element at all, of any type",
        "an empty text, 0 as a number, GETFAIL as an enum",
        "Clients that expect one string trip over none.",
        (
            Where(("VAL", "VAL as DBR_*"), (), ("lsi", "lso"), theirs="()"),
            Where(("VAL as DBR_*ENUM",), (), ("lsi", "lso")),
            Where(
                (),
                ("value", "as text", "VAL events *"),
                ("lsi", "lso"),
                theirs="()",
                is_of_field=False,
            ),
            Where(
                (),
                ("VAL events *", "VAL$ events *"),
                ("lsi", "lso"),
                ("at boot",),
                theirs="(('UDF/INVALID',),)",
                is_of_field=False,
            ),
        ),
    ),
    Difference(
        "Limits beyond the type that is asked for",
        "overflow: -90 becomes 166 in DBR_CTRL_CHAR, a bo's 65535 becomes -1 in DBR_CTRL_SHORT",
        "stop at the end of the type: 0, 32767",
        "A limit that doesn't fit is better a limit than a random number.",
        (
            Where(
                ("VAL as DBR_GR_CHAR", "VAL as DBR_CTRL_CHAR"),
                ("limit *",),
                tuple("ai ao longin longout int64in int64out waveform aai aao".split()),
                ours="0",
            ),
            Where(("VAL as DBR_CTRL_SHORT",), ("limit DRVH",), ("bo",), theirs="-1"),
        ),
    ),
    Difference(
        "Events of LEN and NORD",
        "LEN: one by the put and one by the processing; both carry the alarm from before the first value",
        "one, with the alarm of the value",
        "The fields follow from the value.",
        (
            stimulus("long strings put to a long record", aspects=("LEN events *",), rtyps="lso"),
            stimulus("arrays", aspects=("NORD events *",), rtyps=ARRAYS),
            stimulus("texts and numbers put to an array", aspects=("NORD events *",), rtyps="aao"),
        ),
    ),
    Difference(
        "SCAN by event",
        "SCAN can be 'Event' and 'I/O Intr'",
        "PUTFAIL: 'Passive' or a period",
        "There are no soft events and no interrupts; what comes unasked is posted whatever SCAN says.",
        (stimulus("SCAN", "put .SCAN 'Event'", "put .SCAN 'I/O Intr'", rtyps="ai ao bi"),),
    ),
    Difference(
        "Text and bytes",
        "bytes (DBR_CHAR) put to VAL are a number, to VAL$ overwrite as many as there are; VAL$ takes no string",
        "bytes are text to both, a string is taken by both",
        "That is what clients mean by it; '104' for 'hi' is of no use.",
        (
            stimulus("numbers put into text", "put 104, 105", rtyps="stringout lso"),
            stimulus("puts of narrow types", "put 200", rtyps="stringout"),
            stimulus(
                "long strings that are too long, or without NUL, or not of CHAR",
                "put .VAL$ b'yy'",
                rtyps="stringout",
            ),
            stimulus(
                "long strings that are too long, or without NUL, or not of CHAR",
                "put .VAL$ 'plain'",
                rtyps="stringout lso",
            ),
        ),
    ),
    # Small ones, which could be otherwise
    Difference(
        "Events of ACKS and ACKT",
        "ACKS with every alarm; two for DBE_ALARM when something is acknowledged",
        "one event when it changes",
        "One event for one change.",
        (stimulus("alarms acknowledged", aspects=("ACKS events *", "ACKT events *"), rtyps="ao"),),
    ),
    Difference(
        "Element count of a channel with an array filter",
        "of the filtered array: X.VAL[0:1] has 2",
        "of the whole array; what is read has the filtered one",
        "The filter works on what is sent; clients take the count from there.",
        (fields("VAL[[]* VAL{*", "count", rtyps=ARRAYS),),
    ),
)
