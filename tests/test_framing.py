"""Framing: the same messages wherever the bytes are cut, and a bounded buffer."""

import itertools
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labioc.drivers.core.errors import DefinitionError, ReplyError, TruncatedReply
from labioc.drivers.core.framing import (
    MAX_MESSAGE,
    BlockFramer,
    DelimitedFramer,
    FixedFramer,
    Framer,
    LengthFramer,
    LineFramer,
    SilenceFramer,
    counted,
)

TERMINATORS = [b"\n", b"\r\n", b"\r", b";\r\n", b"abab"]
# one may be the end of another, or its beginning but for the last byte
CHOICES = [
    (b"\r\n", b"\n"),
    (b"\r\n", b"\r"),
    (b"\r\n", b"\n", b"\r"),
    (b"abc", b"ab", b"a"),
    (b"ab", b"b"),
    (b"aba", b"bb"),
]


def feed_cut(framer: Framer, data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [message for a, b in itertools.pairwise(edges) for message in framer.feed(data[a:b])]


def cuts_of(data: st.DataObject, stream: bytes) -> list[int]:
    return data.draw(st.lists(st.integers(0, len(stream)), max_size=20))


# Lines


@given(data=st.data(), terminator=st.sampled_from(TERMINATORS))
def test_the_cuts_do_not_matter(data: st.DataObject, terminator: bytes) -> None:
    # what is made of the terminators' own bytes finds half ones
    alphabet = st.sampled_from([*{bytes([b]) for b in terminator}, b"x", b"\x00", b"\xff"])
    stream = b"".join(data.draw(st.lists(st.one_of(alphabet, st.just(terminator)), max_size=60)))
    whole = LineFramer(terminator)
    expected = whole.feed(stream)
    framer = LineFramer(terminator)
    assert feed_cut(framer, stream, cuts_of(data, stream)) == expected
    assert framer.pending == whole.pending
    assert terminator.join([*expected, whole.pending]) == stream


@pytest.mark.parametrize("terminator", TERMINATORS)
def test_each_position_of_one_cut(terminator: bytes) -> None:
    stream = b"+77.350" + terminator + terminator + b"000;+4.2" + terminator + b"half"
    for cut in range(len(stream) + 1):
        framer = LineFramer(terminator)
        assert feed_cut(framer, stream, [cut]) == [b"+77.350", b"", b"000;+4.2"]
        assert framer.pending == b"half"


@pytest.mark.parametrize("terminator", TERMINATORS)
def test_byte_by_byte(terminator: bytes) -> None:
    stream = b"one" + terminator + b"two" + terminator
    assert feed_cut(LineFramer(terminator), stream, list(range(len(stream)))) == [b"one", b"two"]


def test_clear_forgets_a_beginning() -> None:
    framer = LineFramer(b"\r\n")
    framer.feed(b"stale\r")
    framer.clear()
    assert framer.pending == b""
    assert framer.feed(b"\nfresh\r\n") == [b"\nfresh"]


@given(cuts=st.lists(st.integers(0, 12), max_size=6), length=st.integers(0, 10))
def test_the_bound_is_exact_whatever_the_cuts(cuts: list[int], length: int) -> None:
    stream = b"x" * length + b"\r\n"
    framer = LineFramer(b"\r\n", max_message=5)
    cuts = [min(cut, len(stream)) for cut in cuts]
    if length <= 5:
        assert feed_cut(framer, stream, cuts) == [b"x" * length]
    else:
        with pytest.raises(ReplyError, match=r"without the terminator b'\\r\\n'; expected at most 5"):
            feed_cut(framer, stream, cuts)


def test_a_megabyte_without_a_terminator() -> None:
    framer = LineFramer(b"\n")
    refused = 0
    for _ in range(1024):
        try:
            framer.feed(b"\xa5" * 1024)
        except ReplyError:
            refused += 1
            assert framer.pending == b""
        assert len(framer.pending) <= MAX_MESSAGE
    assert refused == 1024 * 1024 // (MAX_MESSAGE + 1024)
    framer.clear()
    assert framer.feed(b"next\n") == [b"next"]


def test_a_megabyte_in_one_piece() -> None:
    framer = LineFramer(b"\n")
    with pytest.raises(ReplyError, match="1048576 bytes without the terminator"):
        framer.feed(b"x" * 1048576)
    assert framer.feed(b"next\n") == [b"next"]


# Several possible terminators


@given(data=st.data(), choice=st.sampled_from(CHOICES), blocks=st.booleans())
def test_of_several_terminators_the_longest_counts(
    data: st.DataObject, choice: tuple[bytes, ...], blocks: bool
) -> None:
    alphabet = st.sampled_from([*{bytes([b]) for end in choice for b in end}, b"x"])
    stream = b"".join(data.draw(st.lists(alphabet, max_size=40)))
    *expected, rest = re.split(b"|".join(map(re.escape, choice)), stream)
    framer = BlockFramer(choice) if blocks else LineFramer(choice)
    assert feed_cut(framer, stream, cuts_of(data, stream)) == expected
    assert framer.pending == rest


def test_a_reply_does_not_wait_for_the_rest_of_its_terminator() -> None:
    framer = LineFramer((b"\r", b"\r\n"))
    assert framer.feed(b"20.00\r") == [b"20.00"]
    assert framer.pending == b""
    framer.clear()  # what is still to come belongs to a message that is out
    assert framer.feed(b"\n21.50\r\n") == [b"21.50"]
    assert framer.feed(b"22.00\r") == [b"22.00"]
    assert framer.feed(b"23.00\r") == [b"23.00"]


def test_both_reply_terminators_of_a_julabo() -> None:
    framer = LineFramer((b"\r\n", b"\n"))
    assert framer.feed(b"15.5\n02 REMOTE STOP\r\n") == [b"15.5", b"02 REMOTE STOP"]


# Blocks in lines


@pytest.mark.parametrize("cut", range(12))
def test_empty_lines_are_dropped_where_none_is_an_answer(cut: int) -> None:
    stream = b"\r\n1.5\r\n\n\r\n2\n"
    framer = LineFramer((b"\r\n", b"\n"), skip_empty=True)
    assert feed_cut(framer, stream, [cut]) == [b"1.5", b"2"]


BLOCK = b"#210\n\r\n#15,;\x00\xff#\n"[: 4 + 10]


@pytest.mark.parametrize(
    "message",
    [
        BLOCK,
        b"CURVE " + BLOCK,
        b"1.5," + BLOCK + b";" + BLOCK,
        b"#10",
        b"LSCI,MODEL336,LSA23AB/#######,2.9",  # an identity that is none
        b"#H1F,#B01,#Q17,#",
        b"channel#12",
        b"#2x1,#3",
        b"",
    ],
)
def test_a_block_may_hold_its_terminator(message: bytes) -> None:
    stream = message + b"\n" + b"next\n"
    for cut in range(len(stream) + 1):
        framer = BlockFramer(b"\n")
        assert feed_cut(framer, stream, [cut]) == [message, b"next"]
    assert feed_cut(BlockFramer(b"\n"), stream, list(range(len(stream)))) == [message, b"next"]


@given(data=st.data(), contents=st.lists(st.binary(max_size=30), max_size=4))
def test_any_bytes_in_blocks(data: st.DataObject, contents: list[bytes]) -> None:
    blocks = [b"#%d%d" % (len(str(len(block))), len(block)) + block for block in contents]
    stream = b"".join(block + b"\r\n" for block in blocks)
    assert feed_cut(BlockFramer(b"\r\n"), stream, cuts_of(data, stream)) == blocks


def test_an_indefinite_block_ends_with_the_line_or_with_silence() -> None:
    assert BlockFramer(b"\n").feed(b"#0\x01\x02\n\x03\n") == [b"#0\x01\x02", b"\x03"]
    framer = BlockFramer(b"\n", quiet=0.1)
    assert framer.feed(b"#0\x01\x02\n\x03\n") == []
    assert framer.silent() == [b"#0\x01\x02\n\x03"]
    assert framer.feed(b"1.5\n") == [b"1.5"]
    framer.feed(b"#0\x01\x02\n\x03")
    with pytest.raises(TruncatedReply, match="stopped after"):
        framer.silent()
    assert framer.feed(b"1.5\n") == [b"1.5"]


def test_a_block_beyond_the_bound_is_refused_by_its_header() -> None:
    framer = BlockFramer(b"\n", max_message=1000)
    with pytest.raises(ReplyError, match="a block of 1000 bytes; expected messages of at most 1000"):
        framer.feed(b"#41000")
    message = b"#3994" + b"\n" * 994
    assert framer.feed(message + b"\n") == [message]


def test_a_block_of_a_megabyte_in_small_pieces_is_cheap() -> None:
    message = b"#71000000" + bytes(range(250)) * 4000
    for size in (100, 200):
        framer = BlockFramer(b"\n", max_message=2_000_000)
        began = time.process_time()
        pieces = [message[at : at + size] for at in range(0, len(message), size)]
        assert [got for piece in (*pieces, b"\n") for got in framer.feed(piece)] == [message]
        # copied anew for each piece it takes 5 GB through memory, seconds
        assert time.process_time() - began < 1.0


# Frames


def modbus_reply(header: bytes) -> int:
    """A Modbus RTU reply: an exception, registers or coils with their count, or the echo of a write."""
    if header[1] & 0x80:
        return 5
    return 5 + header[2] if header[1] in (1, 2, 3, 4) else 8


FRAMERS: list[tuple[Callable[[], Framer], list[bytes]]] = [
    # TMCL
    (lambda: FixedFramer(9), [bytes.fromhex("02016413ffffec78dc"), bytes(9), b"\xff" * 9]),
    # Modbus TCP: transaction, protocol, the number of bytes that follow, unit, PDU
    (
        lambda: LengthFramer(6, counted(4, 2, uncounted=6)),
        [bytes.fromhex("000100000005010302002a"), bytes.fromhex("000200000003018302")],
    ),
    (
        lambda: LengthFramer(3, modbus_reply, 256),
        [
            bytes.fromhex("110306ae415652434049ad"),
            bytes.fromhex("118302c134"),
            bytes.fromhex("110600010003 9a9b"),
        ],
    ),
    (lambda: LengthFramer(3, counted(1, 2, "little")), [b"\x01\x05\x00ab", b"\x02\x03\x00"]),
    # Pfeiffer: the length of the data in two digits, a checksum and CR
    (
        lambda: LengthFramer(10, lambda header: 10 + int(header[8:]) + 4),
        [b"0011074006100023025\r", b"1231030906000633037\r"],
    ),
    (lambda: DelimitedFramer(b"\x02", b"\x03"), [b"\x02abc\x03", b"\x02\x03", b"\x02a\x02b\x03"]),
    (lambda: DelimitedFramer(b"\x02", b"\x03", 1), [b"\x02abc\x03\x03", b"\x02\x03\x02"]),
    (lambda: DelimitedFramer(b"<<", b">>", 2), [b"<<a>b>>xx", b"<<>>>>"]),
    (lambda: DelimitedFramer(b"", b"\r", 1), [b"\x02abc\r\r", b"\r\n"]),
    (lambda: DelimitedFramer(b"\x02", b"\x03", alone=b"\x06\x15"), [b"\x06", b"\x02\x06\x03", b"\x15"]),
]


@pytest.mark.parametrize(("make", "messages"), FRAMERS)
def test_frames_cut_anywhere(make: Callable[[], Framer], messages: list[bytes]) -> None:
    stream = b"".join(messages)
    for a, b in itertools.combinations_with_replacement(range(len(stream) + 1), 2):
        framer = make()
        assert feed_cut(framer, stream, [a, b]) == messages
        assert framer.pending == b""
    assert feed_cut(make(), stream, list(range(len(stream)))) == messages


@pytest.mark.parametrize(("make", "messages"), FRAMERS)
def test_half_a_frame_is_pending_and_can_be_forgotten(
    make: Callable[[], Framer], messages: list[bytes]
) -> None:
    longest = max(messages, key=len)
    framer = make()
    assert framer.feed(longest[:-1]) == []
    assert framer.pending == longest[:-1]
    framer.clear()
    assert framer.pending == b""
    assert framer.feed(b"".join(messages)) == messages


def test_what_comes_between_delimited_frames_is_dropped() -> None:
    framer = DelimitedFramer(b"<<", b">>", 1)
    stream = b"\r\n<<one>>1\r\nnoise<two<<two>>2\n<"
    for cut in range(len(stream) + 1):
        framer = DelimitedFramer(b"<<", b">>", 1)
        assert feed_cut(framer, stream, [cut]) == [b"<<one>>1", b"<<two>>2"]
        assert framer.pending == b"<"


def test_frames_that_cannot_be_are_refused_and_forgotten() -> None:
    framer = LengthFramer(10, lambda header: 10 + int(header[8:]) + 4, 100)
    with pytest.raises(ReplyError, match="b'00110740xx' is no header of a message: invalid literal"):
        framer.feed(b"00110740xx")
    with pytest.raises(ReplyError, match="b'0011074099' tells a message of 113 bytes; expected 10 to 100"):
        framer.feed(b"0011074099")
    assert framer.pending == b""
    framer = LengthFramer(6, counted(4, 2))
    with pytest.raises(ReplyError, match="tells a message of 0 bytes"):
        framer.feed(bytes(6))
    delimited = DelimitedFramer(b"\x02", b"\x03", max_message=10)
    with pytest.raises(ReplyError, match=r"11 bytes without the end b'\\x03'; expected at most 10"):
        delimited.feed(b"\x02" + b"x" * 10)
    assert delimited.feed(b"\x02" + b"x" * 8 + b"\x03") == [b"\x02" + b"x" * 8 + b"\x03"]
    for _ in range(1000):
        assert delimited.feed(b"noise" * 100) == []
    assert delimited.pending == b""


# Silence


@pytest.mark.parametrize(
    "framer",
    [
        LineFramer(b"\r\n", quiet=0.1),
        BlockFramer(b"\r\n", quiet=0.1),
        FixedFramer(9, quiet=0.1),
        LengthFramer(9, counted(0, 1), quiet=0.1),
        DelimitedFramer(b"+", b"\r", quiet=0.1),
    ],
)
def test_a_message_that_stopped_is_cut(framer: Framer) -> None:
    assert framer.quiet == 0.1
    assert framer.silent() == []
    framer.feed(b"+77.3")
    with pytest.raises(TruncatedReply, match=r"^the reply stopped after b'\+77.3'$"):
        framer.silent()
    assert framer.pending == b""


def test_messages_that_silence_ends() -> None:
    framer = SilenceFramer(0.05, max_message=8)
    assert (framer.feed(b"\x11\x03"), framer.feed(b"\x02")) == ([], [])
    assert framer.pending == b"\x11\x03\x02"
    assert framer.silent() == [b"\x11\x03\x02"]
    assert framer.silent() == []
    assert framer.feed(bytes(8)) == []
    with pytest.raises(ReplyError, match="9 bytes without a pause; expected at most 8"):
        framer.feed(b"x")
    assert framer.pending == b""


def test_silence_means_nothing_unless_it_is_told_to() -> None:
    assert LineFramer(b"\n").quiet == 0.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: LineFramer(b""),
        lambda: LineFramer(()),
        lambda: LineFramer((b"\r", b"")),
        lambda: LineFramer((b"abc", b"a")),
        lambda: LineFramer((b"abc", b"b")),
        lambda: LineFramer(b"\n", quiet=-1),
        lambda: LineFramer(b"\n", max_message=0),
        lambda: LengthFramer(0, len),
        lambda: FixedFramer(0),
        lambda: DelimitedFramer(b"\x02", b""),
        lambda: SilenceFramer(0.0),
    ],
)
def test_framers_that_cannot_be(make: Callable[[], Framer]) -> None:
    with pytest.raises(DefinitionError):
        make()


# Large blocks


@pytest.mark.parametrize("chunk", [1460, 65536])
def test_a_megabyte_of_terminators_is_one_message(chunk: int) -> None:
    block = b"#9001000000" + 500_000 * b"\r\n"
    framer = BlockFramer((b"\n", b"\r\n"), max_message=1_000_011)
    stream = block + b"\n" + b"next\n"
    messages = [
        message for at in range(0, len(stream), chunk) for message in framer.feed(stream[at : at + chunk])
    ]
    assert messages == [block, b"next"]
