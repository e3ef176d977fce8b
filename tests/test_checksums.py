"""Checksums, against published check values and telegrams that manuals print."""

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labioc.drivers.core import checksums
from labioc.drivers.core.checksums import (
    BROOKS_CRYO,
    CRC32R,
    HEXLRC,
    HEXSUM8,
    LEYBOLD,
    LRC,
    MODBUS,
    NEGSUM16,
    SUM8,
    SUM16,
    XOR8,
    Checksum,
    crc,
)
from labioc.drivers.core.errors import DefinitionError, ReplyError

CHECK = b"123456789"

# of the CRCs these are the check values of the RevEng catalogue, of the others those of StreamDevice's source
VALUES = {
    "SUM8": 0xDD,
    "SUM16": 0x01DD,
    "SUM32": 0x000001DD,
    "NEGSUM8": 0x23,
    "NEGSUM16": 0xFE23,
    "NEGSUM32": 0xFFFFFE23,
    "NOTSUM8": 0x22,
    "LRC": 0x23,
    "XOR8": 0x31,
    "XOR7": 0x31,
    "XOR8FF": 0xCE,
    "HEXSUM8": 0x2D,
    "HEXLRC": 0xA7,
    "BITSUM8": 0x21,
    "BITSUM16": 0x0021,
    "BITSUM32": 0x00000021,
    "CRC8": 0xF4,
    "CCITT8": 0xA1,
    "CRC16": 0xFEE8,
    "CRC16R": 0xBB3D,
    "MODBUS": 0x4B37,
    "CCITT16": 0x29B1,
    "CCITT16A": 0xE5CC,
    "XMODEM": 0x31C3,
    "CRC32": 0xFC891918,
    "CRC32R": 0xCBF43926,
    "JAMCRC": 0x340BC6D9,
    "ADLER32": 0x091E01DE,
    "LEYBOLD": 0x22,
    "BROOKS_CRYO": 0x4A,
    "CPI": 0x7E,
    "HV_MPS": 0x63,
}
ALL = {name: value for name, value in vars(checksums).items() if isinstance(value, Checksum)}


def test_all_have_a_check_value() -> None:
    assert ALL.keys() == VALUES.keys()
    assert len({checksum.name for checksum in ALL.values()}) == len(ALL)


@pytest.mark.parametrize("name", VALUES)
def test_check_values(name: str) -> None:
    width = ALL[name].width
    assert replace(ALL[name], byteorder="big").append(CHECK) == CHECK + VALUES[name].to_bytes(width, "big")


# width, polynomial, init, reflected, xorout, check: from the RevEng catalogue
CATALOGUE = {
    "CRC-8/ROHC": (8, 0x07, 0xFF, True, 0x00, 0xD0),
    "CRC-8/SAE-J1850": (8, 0x1D, 0xFF, False, 0xFF, 0x4B),
    "CRC-10/ATM": (10, 0x233, 0x000, False, 0x000, 0x199),
    "CRC-16/MCRF4XX": (16, 0x1021, 0xFFFF, True, 0x0000, 0x6F91),
    "CRC-16/USB": (16, 0x8005, 0xFFFF, True, 0xFFFF, 0xB4C8),
    "CRC-16/KERMIT": (16, 0x1021, 0x0000, True, 0x0000, 0x2189),
    "CRC-24/OPENPGP": (24, 0x864CFB, 0xB704CE, False, 0x000000, 0x21CF02),
    "CRC-32/ISCSI": (32, 0x1EDC6F41, 0xFFFFFFFF, True, 0xFFFFFFFF, 0xE3069283),
    "CRC-32/ISO-HDLC": (32, 0x04C11DB7, 0xFFFFFFFF, True, 0xFFFFFFFF, 0xCBF43926),
    "CRC-64/XZ": (64, 0x42F0E1EBA9EA3693, 2**64 - 1, True, 2**64 - 1, 0x995DC9BBDF1939FA),
    "CRC-16/RIELLO": (16, 0x1021, 0xB2AA, True, 0x0000, 0x63D0),
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_any_published_crc_is_a_line(name: str) -> None:
    width, polynomial, init, reflected, xorout, check = CATALOGUE[name]
    assert crc(width, polynomial, init=init, reflected=reflected, xorout=xorout)(CHECK) == check


@given(st.binary(max_size=200))
def test_the_generic_crc_does_as_the_standard_library(data: bytes) -> None:
    generic = crc(32, 0x04C11DB7, init=0xFFFFFFFF, reflected=True, xorout=0xFFFFFFFF)
    assert generic(data) == CRC32R.compute(data)


# Telegrams

PFEIFFER = replace(SUM8, name="Pfeiffer", form="decimal")
MODBUS_ASCII = replace(HEXLRC, name="Modbus ASCII", form="HEX", start=1)
NMEA = replace(XOR8, name="NMEA", form="HEX", start=1, end=1, after=b"*")


@pytest.mark.parametrize(
    ("checksum", "payload", "message"),
    [
        # Pfeiffer Vacuum TC 400 and PPT 100, operating instructions
        (PFEIFFER, b"1230030902=?", b"1230030902=?112"),
        (PFEIFFER, b"1231030906000633", b"1231030906000633037"),
        (PFEIFFER, b"0421001006111111", b"0421001006111111020"),
        (PFEIFFER, b"0010074002=?", b"0010074002=?106"),
        (PFEIFFER, b"0011074006100023", b"0011074006100023025"),
        (PFEIFFER, b"0011074103001", b"0011074103001130"),
        # Modbus, reading three registers: RTU, ASCII, and their answer
        (MODBUS, b"\x11\x03\x00\x6b\x00\x03", bytes.fromhex("1103006b00037687")),
        (MODBUS, bytes.fromhex("110306ae4156524340"), bytes.fromhex("110306ae415652434049ad")),
        (MODBUS, bytes.fromhex("118302"), bytes.fromhex("118302c134")),
        (MODBUS, bytes.fromhex("110600010003"), bytes.fromhex("1106000100039a9b")),
        (MODBUS_ASCII, b":1103006B0003", b":1103006B00037E"),
        (LRC, bytes.fromhex("1103006b0003"), bytes.fromhex("1103006b00037e")),
        # Trinamic, TMCL firmware manual: CALC MUL, -5000, and its reply
        (SUM8, bytes.fromhex("01130200ffffec78"), bytes.fromhex("01130200ffffec7878")),
        (SUM8, bytes.fromhex("02016413ffffec78"), bytes.fromhex("02016413ffffec78dc")),
        # StreamDevice: its documentation's byte range, its tests' negated sum of hexadecimal digits
        (XOR8, b"abcdefg", b"abcdefg`"),
        (replace(XOR8, start=2, end=1), b"abcdefg", b"abcdefg" + bytes([0x63 ^ 0x64 ^ 0x65 ^ 0x66])),
        (
            Checksum("neghexsum8", lambda data: -HEXSUM8.compute(data), form="HEX", start=1),
            b":010304010001",
            b":010304010001F6",
        ),
        # NMEA 0183
        (
            NMEA,
            b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,",
            b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47",
        ),
    ],
)
def test_telegrams_from_manuals(checksum: Checksum, payload: bytes, message: bytes) -> None:
    assert checksum.append(payload) == message
    assert checksum.strip(message) == payload


@pytest.mark.parametrize(
    ("form", "byteorder", "written"),
    [
        ("binary", "big", b"\xfe\x23"),
        ("binary", "little", b"\x23\xfe"),
        ("HEX", "big", b"FE23"),
        ("HEX", "little", b"23FE"),
        ("hex", "big", b"fe23"),
        ("nibbles", "big", b"\x3f\x3e\x32\x33"),
        ("nibbles", "little", b"\x32\x33\x3f\x3e"),
        ("decimal", "big", b"65059"),
    ],
)
def test_forms(
    form: Literal["binary", "HEX", "hex", "nibbles", "decimal"],
    byteorder: Literal["big", "little"],
    written: bytes,
) -> None:
    checksum = replace(NEGSUM16, form=form, byteorder=byteorder)
    assert checksum.append(CHECK) == CHECK + written
    assert checksum.strip(CHECK + written) == CHECK


def test_decimal_digits_are_as_many_as_the_largest_number_has() -> None:
    assert replace(SUM8, form="decimal").append(b"\x07") == b"\x07007"
    assert replace(SUM16, form="decimal").append(b"\x07") == b"\x0700007"


def test_either_case_of_hexadecimal_digits_is_taken() -> None:
    assert replace(NEGSUM16, form="HEX").strip(CHECK + b"fe23") == CHECK
    assert replace(NEGSUM16, form="hex").strip(CHECK + b"FE23") == CHECK


def test_what_stands_beside_it() -> None:
    behind_etx = replace(XOR8, start=1, after=b"\x03")  # over the data and ETX, without STX
    assert behind_etx.append(b"\x02PV1") == b"\x02PV1\x03" + bytes([ord("P") ^ ord("V") ^ ord("1") ^ 3])
    assert behind_etx.strip(behind_etx.append(b"\x02PV1")) == b"\x02PV1"
    before_etx = replace(SUM8, form="HEX", start=1, before=b"\x03")
    assert before_etx.append(b"\x02PV1") == b"\x02PV1D7\x03"
    assert before_etx.strip(b"\x02PV1D7\x03") == b"\x02PV1"
    with pytest.raises(ReplyError, match=r"expected b'D7\\x03' behind b'\\x02PV1', got b'D7\\x04'"):
        before_etx.strip(b"\x02PV1D7\x04")
    with pytest.raises(ReplyError, match=r"checksum NMEA: expected b'\*47' behind b'\$A', got b'!47'"):
        replace(NMEA, compute=lambda data: 0x47).strip(b"$A!47")


def test_a_wrong_one_says_what_was_expected_and_what_came() -> None:
    with pytest.raises(ReplyError) as caught:
        PFEIFFER.strip(b"0011074006100023026")
    assert str(caught.value) == "checksum Pfeiffer: expected b'025' behind b'0011074006100023', got b'026'"
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("message", [b"", b"1", b"12", b"ab", b"xyz"])
def test_messages_too_short_for_it_are_refused(message: bytes) -> None:
    with pytest.raises(ReplyError, match="checksum Pfeiffer: expected"):
        PFEIFFER.strip(message)


@given(
    payload=st.binary(max_size=40),
    name=st.sampled_from(sorted(ALL)),
    form=st.sampled_from(("binary", "HEX", "hex", "nibbles", "decimal")),
    start=st.integers(0, 3),
    end=st.integers(0, 3),
    after=st.sampled_from((b"", b"\x03", b"*")),
    before=st.sampled_from((b"", b"\x03", b"\r\n")),
)
def test_what_is_appended_is_stripped(
    payload: bytes,
    name: str,
    form: Literal["binary", "HEX", "hex", "nibbles", "decimal"],
    start: int,
    end: int,
    after: bytes,
    before: bytes,
) -> None:
    checksum = replace(ALL[name], form=form, start=start, end=end, after=after, before=before)
    message = checksum.append(payload)
    assert checksum.strip(message) == payload


@given(payload=st.binary(min_size=1, max_size=20), bit=st.integers(0, 10_000))
def test_no_flipped_bit_passes_a_crc(payload: bytes, bit: int) -> None:
    message = bytearray(MODBUS.append(payload))
    bit %= 8 * len(message)
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ReplyError):
        MODBUS.strip(bytes(message))


@given(st.binary(max_size=40))
def test_the_makers_own_are_no_control_characters(payload: bytes) -> None:
    for checksum in (LEYBOLD, BROOKS_CRYO, checksums.CPI, checksums.HV_MPS):
        assert checksum.append(payload)[-1] >= 0x20


def test_one_of_your_own_is_a_line() -> None:
    acme = Checksum("acme", lambda data: 0x55 ^ sum(data))
    assert acme.append(b"\x01\x02") == b"\x01\x02\x56"


def test_what_cannot_be() -> None:
    for change in ({"width": 0}, {"start": -1}, {"end": -1}, {"form": "octal"}):
        with pytest.raises(DefinitionError, match="checksum sum8: .* that can't be"):
            replace(SUM8, **change)
    with pytest.raises(DefinitionError, match="a CRC of 5 bits"):
        crc(5, 0x15)
