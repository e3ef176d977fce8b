"""Framing: the same messages wherever the bytes are cut, and a bounded buffer."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labioc.drivers.core.errors import ReplyError
from labioc.drivers.core.framing import MAX_MESSAGE, LineFramer

TERMINATORS = [b"\n", b"\r\n", b"\r", b";\r\n", b"abab"]


def feed_cut(framer: LineFramer, data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [message for a, b in itertools.pairwise(edges) for message in framer.feed(data[a:b])]


@given(data=st.data(), terminator=st.sampled_from(TERMINATORS))
def test_the_cuts_do_not_matter(data: st.DataObject, terminator: bytes) -> None:
    # what is made of the terminators' own bytes finds half ones
    alphabet = st.sampled_from([*{bytes([b]) for b in terminator}, b"x", b"\x00", b"\xff"])
    stream = b"".join(data.draw(st.lists(st.one_of(alphabet, st.just(terminator)), max_size=60)))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    whole = LineFramer(terminator)
    expected = whole.feed(stream)
    framer = LineFramer(terminator)
    assert feed_cut(framer, stream, cuts) == expected
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
