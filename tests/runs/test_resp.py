"""Where commands and answers end, however the bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuesim.runs.live.proxy import Frames, ProtocolError, words

VALUES = [
    b"+OK\r\n",
    b"-NOSCRIPT No matching script.\r\n",
    b":-12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$7\r\na\r\nb\r\nc\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n*2\r\n:1\r\n$2\r\n*1\r\n$-1\r\n",
    b"%1\r\n+k\r\n*1\r\n,1.5\r\n",
    b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"_\r\n",
    b"#t\r\n",
]


@given(st.lists(st.sampled_from(VALUES), max_size=6), st.data())
def test_values_come_out_whole_however_they_are_cut(values: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(values)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames, found = Frames(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += frames.feed(stream[begin:end])
    assert found == values


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_a_command_is_its_words(said: list[bytes]) -> None:
    command = b"*%d\r\n" % len(said) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in said)
    assert Frames().feed(command) == [command]
    assert words(command) == said


@pytest.mark.parametrize("bytes_", [b"GET / HTTP/1.1\r\n", b"*x\r\n", b"$ \r\n"])
def test_what_is_no_redis_protocol_is_said(bytes_: bytes) -> None:
    with pytest.raises(ProtocolError):
        Frames().feed(bytes_)
