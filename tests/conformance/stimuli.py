"""What is done to the records on both sides; the results are compared step by step."""

from __future__ import annotations

from typing import Any

from tests.conformance.records import ARRAYS, BARE, NUMBERS, RTYPS, Record
from tests.conformance.transcript import Step, Stimulus, apart, give, put, write
from tests.conformance.wire import CHAR, ENUM, FLOAT, PUT_ACKS, PUT_ACKT, SHORT

ALL = RTYPS
NUMERIC = tuple(rtyp for rtyp in RTYPS if rtyp in NUMBERS)
ANALOG = ("ai", "ao")
INTEGER = tuple(rtyp for rtyp in NUMERIC if rtyp not in ANALOG)
INTEGER_OUTPUTS = ("longout", "int64out")
BINARY, MULTI = ("bi", "bo"), ("mbbi", "mbbo")
ENUMS = BINARY + MULTI
TEXT = ("stringin", "stringout", "lsi", "lso")
TEXT_OUTPUTS = ("stringout", "lso")
ARRAY = tuple(rtyp for rtyp in RTYPS if rtyp in ARRAYS)

NAN, INF = float("nan"), float("inf")
ALARMS = {
    "HIHI": 40,
    "HIGH": 30,
    "LOW": -30,
    "LOLO": -40,
    "HHSV": "MAJOR",
    "HSV": "MINOR",
    "LSV": "MINOR",
    "LLSV": "MAJOR",
}
NO_LABELS = {
    "ZNAM": "",
    "ONAM": "",
    "ZRST": "",
    "ONST": "",
    "TWST": "",
    "OSV": "NO_ALARM",
    "ONSV": "NO_ALARM",
    "TWSV": "NO_ALARM",
}
STATES = {
    "ZRST": "Idle",
    "ONST": "Moving",
    "TWST": "Fault",
    "ONSV": "MINOR",
    "TWSV": "MAJOR",
}
BITS = {"ZNAM": "Off", "ONAM": "On", "OSV": "MINOR"}


def values(*given: Any, kind: int | None = None) -> tuple[Step, ...]:
    return tuple(give(value, kind=kind) for value in given)


def puts(*given: Any, kind: int | None = None) -> tuple[Step, ...]:
    return tuple(put(value, kind=kind) for value in given)


def fields(**given: Any) -> tuple[Step, ...]:
    return tuple(put(value, field=name) for name, value in given.items())


def long_string(text: bytes, field: str = "VAL$") -> Step:
    return put(*text, field=field, kind=CHAR, label=repr(text))


_NUMERIC_STIMULI = (
    Stimulus("first values", NUMERIC, values(0, 0, 1, 1, 0)),
    Stimulus(
        "alarm limits with hysteresis",
        NUMERIC,
        values(0, 30, 40, 39, 37, 28, 27, -30, -40, -39, -37, -28, -27, 41, -41, 0),
        {**ALARMS, "HYST": 2},
        watch=("STAT", "SEVR"),
    ),
    Stimulus("a limit that is off", NUMERIC, values(35, 45, -35), {**ALARMS, "HSV": "NO_ALARM"}),
    Stimulus("only one limit", NUMERIC, values(0, 9, 10, 9), {"HIHI": 10, "HHSV": "MAJOR"}),
    Stimulus("limits in disorder", NUMERIC, values(0, 35, 45), {**ALARMS, "HIGH": 50, "LOW": -50}),
    Stimulus("limits without severities", NUMERIC, values(35, 45), {"HIHI": 40, "HIGH": 30}),
    Stimulus("MDEL and ADEL", NUMERIC, values(1, 2, 3, 4, 5, 6, 7, 0, 1, 2), {"MDEL": 1, "ADEL": 3}),
    Stimulus("MDEL of -1", NUMERIC, values(1, 1, 2, 2), {"MDEL": -1}),
    Stimulus("small steps", ANALOG, values(0.1, 0.2, 0.1, 1e-300, 0.0), {"PREC": 1}),
    Stimulus(
        "a step across a limit within MDEL", NUMERIC, values(29, 30, 29), {**ALARMS, "MDEL": 5, "ADEL": 5}
    ),
    Stimulus("not a number, infinity", ANALOG, values(1.5, NAN, NAN, INF, INF, -INF, NAN, 2.5), ALARMS),
    Stimulus("large numbers as text", ANALOG, values(12345678.5, 1e16, 1.5e17, -1e-9), {"PREC": 5}),
    Stimulus("text with PREC 0", ANALOG, values(0.5, 1.5, 12345678.5, 1e17, INF, NAN, -0.0)),
    Stimulus(
        "halves as text",
        ANALOG,
        values(1.005, 1.115, 0.285, 2.675, -2.675, 8.345, 1.255, 0.145, 9999999.995, 10000000.005, 99999.995),
        {"PREC": 2},
    ),
    Stimulus("text with PREC 12", ANALOG, values(1 / 3, 1e17, 0.0), {"PREC": 12}),
    Stimulus(
        "beyond the drive limits",
        ("ao", *INTEGER_OUTPUTS),
        (give(10), give(-10), *apart(give(15), give(-15))),
        {"DRVH": 10, "DRVL": -10},
    ),
    Stimulus("DRVH below DRVL", ("ao", *INTEGER_OUTPUTS), values(5, 15), {"DRVH": -10, "DRVL": 10}),
    Stimulus(
        "describing fields change",
        NUMERIC,
        (
            give(5),
            *fields(EGU="K"),
            *fields(EGU="K"),
            *fields(EGU="a unit of more than fifteen bytes", HOPR=50, LOPR=-50, DESC="d" * 39),
            *fields(MDEL=2, ADEL=3, HYST=1),
            give(7),
            give(8),
        ),
        watch=("EGU", "HOPR", "DESC", "MDEL"),
    ),
    Stimulus(
        "PREC changes",
        ANALOG,
        (give(1.23456), *fields(PREC=3), *fields(PREC=9), *fields(PREC=20)),
        watch=("PREC",),
    ),
    Stimulus("a negative PREC", ANALOG, (give(1.23456), *fields(PREC=-1))),
    Stimulus(
        "drive limits change",
        ("ao", *INTEGER_OUTPUTS),
        (give(5), *fields(DRVH=10, DRVL=-10), give(7)),
        watch=("DRVH",),
    ),
    Stimulus(
        "alarm limits change",
        NUMERIC,
        (
            give(35),
            *fields(HIGH=40),
            *fields(HIGH=34, LOW=-2),
            *fields(HSV="MAJOR"),
            *fields(HHSV="NO_ALARM", HIHI=20, HYST=3),
            *fields(HHSV="INVALID"),
            give(18),
            give(16),
        ),
        ALARMS,
        watch=("HIGH", "HSV", "SEVR"),
    ),
    Stimulus("alarm limits before the first value", NUMERIC, fields(HIHI=5, HHSV="MAJOR", HOPR=5)),
    Stimulus(
        "wrong texts into fields",
        ("ai", "longout"),
        (give(1), *fields(HIHI="warm", PREC="many", HHSV="SEVERE")),
    ),
    Stimulus("numbers into text fields", ("ai", "longout"), (give(1), *fields(EGU=5, DESC=5.5))),
    Stimulus(
        "severities as numbers", NUMERIC, (give(45), *fields(HHSV=1), *fields(HHSV="3"), give(35)), ALARMS
    ),
    Stimulus(
        "numbers put as text",
        ("ao", *INTEGER_OUTPUTS),
        apart(*puts("0x10", " 5 ", "-3", "+4", "5.7", "-0x10", "warm", "99999999999", "1e2")),
    ),
    Stimulus(
        "numbers with something behind put as text",
        ("ao", *INTEGER_OUTPUTS),
        apart(*puts("12abc", "1_0", "1e", "")),
    ),
    Stimulus("octal numbers put as text", ("ao", *INTEGER_OUTPUTS), apart(put("010"))),
    Stimulus("fractions put as text", ("ao", *INTEGER_OUTPUTS), apart(*puts("1e3", ".5", "1e400"))),
    Stimulus("nan and inf put as text", ("ao", *INTEGER_OUTPUTS), apart(*puts("nan", "inf"))),
    Stimulus("fractions put to integers", INTEGER_OUTPUTS, apart(*puts(2.7, -2.7, 1e9))),
    Stimulus("numbers too large for integers", INTEGER_OUTPUTS, apart(*puts(1e19, -1e19, NAN, INF))),
    Stimulus("numbers of more than 32 bits", ("longout",), apart(*puts(2.5e9, -2.5e9))),
    Stimulus("numbers of more than 32 bits into 64", ("int64in", "int64out"), values(2.5e9, -2.5e9, 2.0**53)),
    Stimulus(
        "puts of narrow types",
        ("ao", *INTEGER_OUTPUTS, "stringout"),
        apart(put(7, kind=ENUM), put(200, kind=CHAR), put(-7, kind=SHORT), put(2.5, kind=FLOAT)),
    ),
    Stimulus("a put of two elements into one", ("ao", "longout", "stringout"), (put(1, 2), put("3", "4"))),
)

_ENUM_STIMULI = (
    Stimulus("states of a bit", BINARY, values(0, 0, 1, 1, 0, "On", "Off"), BITS, watch=("SEVR",)),
    Stimulus(
        "states of a selector", MULTI, values(0, 0, 1, 2, 2, 0, "Moving", "Idle"), STATES, watch=("SEVR",)
    ),
    Stimulus("change of state, a bit", BINARY, values(0, 0, 1, 1, 0), {**BITS, "COSV": "MAJOR"}),
    Stimulus("change of state, a selector", MULTI, values(0, 0, 1, 1, 2, 2, 0), {**STATES, "COSV": "MINOR"}),
    Stimulus("unknown states of a bit", BINARY, apart(*values(2, 15, 16, 65535), rest=(0, 1))),
    Stimulus(
        "unknown states of a selector",
        MULTI,
        apart(*values(3, 15, 16, 65535), rest=(0, 1)),
        {"UNSV": "MAJOR"},
    ),
    Stimulus(
        "states without a label but with a severity", MULTI, apart(give(3), rest=(0, 1)), {"THSV": "MAJOR"}
    ),
    Stimulus("without any labels", ENUMS, apart(*values(0, 1, 2), rest=(0,)), NO_LABELS),
    Stimulus(
        "text put to a bit",
        ("bo",),
        apart(*puts("1", "0", "On", "Off", "on", "2", "7", "", " 1", "1.0", "x"), rest=(0, 1)),
    ),
    Stimulus(
        "text put to a selector",
        ("mbbo",),
        apart(*puts("1", "0", "Moving", "moving", "2", "3", "16", " 1", "1.0", "x", ""), rest=(0, 2)),
    ),
    Stimulus(
        "labels and severities of a bit change",
        BINARY,
        (
            give(1),
            *fields(
                ZNAM="zero",
                ONAM="a label of more than twenty-five bytes",
                ZSV="MAJOR",
                OSV="MAJOR",
                COSV="MINOR",
            ),
        ),
        BITS,
        watch=("ZNAM", "OSV"),
    ),
    Stimulus(
        "labels and severities of a selector change",
        MULTI,
        (
            give(1),
            *fields(
                ZRST="zero", ONST="one", THST="three", ONSV="MAJOR", TWSV="MINOR", UNSV="MINOR", COSV="MINOR"
            ),
            give(2),
            *fields(ZRST="zero"),
        ),
        STATES,
        watch=("ZRST", "ONSV"),
    ),
    Stimulus("a state without a label gets one", MULTI, (give(1), *fields(THST="three"), give(3)), STATES),
)

_TEXT_STIMULI = (
    Stimulus("texts", TEXT, values("a", "a", "b", "", "", "x" * 39, "5 µm")),
    Stimulus("texts of 60 bytes", ("lsi", "lso"), values("t" * 39), {"SIZV": 100}),
    Stimulus(
        "numbers put into text",
        TEXT_OUTPUTS,
        (put(7), put(7.25), put(1e20), put(104, 105, kind=CHAR), put(NAN), put(-1)),
    ),
    Stimulus(
        "long strings put",
        TEXT_OUTPUTS,
        (long_string(b"hello\0"), long_string(b"x" * 38 + b"\0"), long_string(b"\0")),
        watch=("VAL$",),
    ),
    Stimulus(
        "long strings that are too long, or without NUL, or not of CHAR",
        TEXT_OUTPUTS,
        apart(
            long_string(b"x" * 60 + b"\0"),
            long_string(b"yy"),
            put("plain", field="VAL$"),
            rest=("abc", "def"),
        ),
    ),
    Stimulus(
        "long strings put to a long record",
        ("lso",),
        (long_string(b"x" * 60 + b"\0"), long_string(b"y" * 99 + b"\0"), put("short")),
        {"SIZV": 100},
        watch=("VAL$", "LEN"),
    ),
    Stimulus(
        "too long strings put to a long record",
        ("lso",),
        apart(long_string(b"y" * 120 + b"\0"), long_string(b"z" * 100), rest=("abc", "def")),
        {"SIZV": 100},
    ),
    Stimulus(
        "long strings put to fields",
        ("ai",),
        (
            long_string(b"d" * 38 + b"\0", "DESC$"),
            long_string(b"mbar*l/s\0", "EGU$"),
            long_string(b"\0", "DESC$"),
        ),
    ),
    Stimulus(
        "too long strings put to fields",
        ("ai",),
        (long_string(b"u" * 30 + b"\0", "EGU$"), long_string(b"e" * 45 + b"\0", "DESC$")),
    ),
)

_ARRAY_STIMULI = (
    Stimulus(
        "arrays",
        ARRAY,
        (give(1.0, 2.0, 3.0), give(1.0, 2.0, 3.0), give(5.0), give(1.5, NAN), give(*map(float, range(5)))),
        watch=("NORD",),
    ),
    Stimulus("arrays of integers", ARRAY, (give(1, 2, 3), give(1, 2, 3), give(7)), {"FTVL": "LONG"}),
    Stimulus(
        "arrays of four-byte floats", ARRAY, (give(1.1, -2.0), give(1e30, NAN), give(0.1)), {"FTVL": "FLOAT"}
    ),
    Stimulus(
        "numbers put to four-byte floats", ("aao",), (put("1", "2.5"), put(0.1, 7.0)), {"FTVL": "FLOAT"}
    ),
    Stimulus(
        "array fields change",
        ARRAY,
        (give(1.0, 2.0), *fields(EGU="K", PREC=2, HOPR=7, LOPR=-7)),
        watch=("EGU",),
    ),
    Stimulus(
        "texts and numbers put to an array",
        ("aao",),
        (put("1", "2.5"), put("0x10"), put(4, 5), put(1)),
        watch=("NORD",),
    ),
    Stimulus("too many elements", ("aao",), apart(put(*map(float, range(7))), rest=(3.0, 4.0))),
    Stimulus(
        "a text that is no number among elements",
        ("aao",),
        apart(put("1", "x"), put("x", "1"), rest=(3.0, 4.0)),
    ),
    Stimulus(
        "fractions put to an array of integers",
        ("aao",),
        apart(put(1.6, -2.7), put("1", "0x10", "5.5")),
        {"FTVL": "LONG"},
    ),
    Stimulus("large numbers put to an array of integers", ("aao",), apart(put(2.5e9, 1.0)), {"FTVL": "LONG"}),
)

_COMMON_STIMULI = (
    Stimulus(
        "DISP",
        ALL,
        (*fields(DISP=1), put(1), write(1), *fields(DESC="no", DISP=0), *fields(DESC="yes")),
        watch=("DISP",),
    ),
    Stimulus(
        "disabled",
        ("ai", "ao", "bo", "stringout", "longin"),
        (
            give(1),
            *fields(DISS="MAJOR", DISA=1),
            give(0),
            give(1),
            *fields(DISV=2),
            give(1),
            *fields(DISV=0, DISA=0),
            give(0),
        ),
        watch=("SEVR", "DISA"),
    ),
    Stimulus(
        "disabled from the start",
        ("ai", "bo"),
        (give(1), *fields(DISA=0), give(1)),
        {"DISA": 1, "DISS": "INVALID"},
    ),
    Stimulus(
        "UDF put by a client",
        ALL,
        (give(1), *fields(UDF=1), *fields(UDF=0), give(0), *fields(UDF=1)),
        watch=("UDF",),
    ),
    Stimulus(
        "UDFS",
        ("ai", "bo", "stringin", "longout"),
        (*fields(UDFS="MINOR"), give(1)),
        {"UDFS": "MAJOR"},
    ),
    Stimulus("PROC", ALL, (put(1, field="PROC"), give(1), put(1, field="PROC"), put(0, field="PROC"))),
    Stimulus(
        "SCAN",
        ("ai", "ao", "bi"),
        (
            put("Event", field="SCAN"),
            put("bogus", field="SCAN"),
            put("I/O Intr", field="SCAN"),
            put(0, field="SCAN"),
            put("0", field="SCAN"),
        ),
    ),
    Stimulus(
        "puts to what is read-only",
        ALL,
        (
            *(put("x", field=name) for name in ("NAME", "RTYP", "AMSG", "NAMSG")),
            *(
                put(0, field=name)
                for name in (
                    "STAT",
                    "SEVR",
                    "LCNT",
                    "PACT",
                    "ACKS",
                    "ACKT",
                    "NSTA",
                    "UTAG",
                    "NELM",
                    "NORD",
                    "SIZV",
                    "LEN",
                )
            ),
            write(0, field="STAT"),
            write("x", field="RTYP"),
        ),
    ),
    Stimulus(
        "alarms acknowledged",
        ("ai", "ao", "longin"),
        (
            give(45),
            put(1, kind=PUT_ACKS, label="DBR_PUT_ACKS 1"),
            put(2, kind=PUT_ACKS, label="DBR_PUT_ACKS 2"),
            give(0),
            give(45),
            give(0),
            put(0, kind=PUT_ACKT, label="DBR_PUT_ACKT 0"),
            give(45),
            give(35),
            give(0),
            put(1, kind=PUT_ACKT, label="DBR_PUT_ACKT 1"),
            give(35),
            give(45),
            give(0),
            put(3, kind=PUT_ACKS, label="DBR_PUT_ACKS 3"),
        ),
        ALARMS,
        watch=("ACKS", "ACKT"),
    ),
    Stimulus(
        "link fields", ("ai", "ao"), tuple(put("", field=name) for name in ("INP", "OUT", "FLNK", "SDIS"))
    ),
    Stimulus(
        "menus of unknown items",
        ("ai",),
        (give(1), put(9, field="HHSV"), put(0, field="HHSV"), put(99, field="DISS")),
    ),
    Stimulus(
        "fields beyond their types",
        ("ai", "longout"),
        (give(1), put(70000, field="DISV"), put(2.5e9, field="HIHI")),
    ),
    Stimulus(
        "fractions into fields", ("longout",), (give(1), put(1.7, field="HOPR"), put(-1.7, field="HIHI"))
    ),
)

STIMULI: tuple[Stimulus, ...] = (
    *_NUMERIC_STIMULI,
    *_ENUM_STIMULI,
    *_TEXT_STIMULI,
    *_ARRAY_STIMULI,
    *_COMMON_STIMULI,
)


def record_of(stimulus: Stimulus, rtyp: str) -> Record:
    """The record that a stimulus uses."""
    base = {**BARE.get(rtyp, {}), **(BITS if rtyp in BINARY else STATES if rtyp in MULTI else {})}
    return stimulus.record(rtyp, base)
