"""The channel to the agent: whole lines, halves, garbage and the end."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from vm.channel import Channel
from vm.errors import AgentDiedError, ChannelError

Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def test_a_request_is_one_json_line(pair: Pair) -> None:
    channel, theirs = pair
    channel.send({"id": 1, "cmd": "run", "mount": "a\nb"})
    sent = theirs.recv(1000)
    assert sent.count(b"\n") == 1
    assert json.loads(sent) == {"id": 1, "cmd": "run", "mount": "a\nb"}


def test_answers_arrive_in_order_and_in_pieces(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(b'{"id":1,"start":{}}\n{"id":1,"st')
    assert channel.receive()
    assert channel.next(1) == {"id": 1, "start": {}}
    assert channel.next(1) is None
    assert channel.pending == b'{"id":1,"st'
    theirs.sendall(b'ep":0}\n')
    assert channel.receive()
    assert channel.next(1) == {"id": 1, "step": 0}


def test_a_long_line_arrives_whole(pair: Pair) -> None:
    channel, theirs = pair
    line = json.dumps({"id": 1, "step": ["x" * 1000] * 1000}).encode() + b"\n"
    theirs.setblocking(False)
    sent = 0
    while sent < len(line):
        try:
            sent += theirs.send(line[sent:])
        except BlockingIOError:
            assert channel.receive()
    assert channel.receive()
    row = channel.next(1)
    assert row is not None
    assert len(row["step"]) == 1000


def test_bytes_follow_their_line(pair: Pair) -> None:
    """However they are cut, and whatever they are."""
    channel, theirs = pair
    data = b'{"id":1,"raw":4}\n\n{\n}{"id":1,"step":0}\n{"id":1,"raw":0}\n{"id":1,"raw":1}\n\n'
    for at in range(len(data)):
        theirs.sendall(data[at : at + 1])
        assert channel.receive()
        assert bool(channel.pending) == (at not in (20, 38, 55, 73)), at
    assert channel.next(1) == {"id": 1, "raw": b"\n{\n}"}
    assert channel.next(1) == {"id": 1, "step": 0}
    assert channel.next(1) == {"id": 1, "raw": b""}
    assert channel.next(1) == {"id": 1, "raw": b"\n"}
    assert channel.next(1) is None


@pytest.mark.parametrize("number", [b"-1", b'"4"', b"null", b"99999999999"])
def test_bytes_that_nobody_could_send_are_garbage(pair: Pair, number: bytes) -> None:
    channel, theirs = pair
    theirs.sendall(b'{"id":1,"raw":' + number + b"}\n")
    with pytest.raises(ChannelError, match="no number of bytes"):
        channel.receive()


@pytest.mark.parametrize("garbage", [b"\x00\xff\xfe\n", b"[1]\n", b"panic!\n", b"\n", b'{"id":\n'])
def test_garbage_is_told_as_such(pair: Pair, garbage: bytes) -> None:
    channel, theirs = pair
    theirs.sendall(garbage)
    with pytest.raises(ChannelError):
        channel.receive()


def test_an_answer_to_another_request_is_an_error(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(b'{"id":1,"done":true}\n')
    channel.receive()
    with pytest.raises(ChannelError, match="request 1, not to 2"):
        channel.next(2)


def test_the_agents_own_error_is_not_an_answer(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(b'{"id":1,"error":"KeyError: 7","traceback":"..."}\n')
    channel.receive()
    with pytest.raises(AgentDiedError, match="KeyError: 7"):
        channel.next(1)


def test_a_refused_mount_is_an_answer(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(b'{"id":1,"error":"mount: EINVAL","phase":"mount"}\n')
    channel.receive()
    row = channel.next(1)
    assert row is not None
    assert row["phase"] == "mount"


def test_the_end_of_the_connection_is_seen_after_what_came_before(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(b'{"id":1,"done":1}\n{"id"')
    theirs.close()
    assert not channel.receive()
    assert channel.next(1) == {"id": 1, "done": 1}
    assert channel.pending == b'{"id"'


def test_sending_to_a_dead_agent_is_an_error(pair: Pair) -> None:
    channel, theirs = pair
    theirs.close()
    with pytest.raises(ChannelError):
        for _ in range(3):
            channel.send({"id": 1})


def test_answers_without_end_are_refused_and_each_request_has_its_own_bound(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vm.channel._MOST", 100)
    channel, theirs = pair
    line = b'{"id":1,"step":0}\n'
    for _request in range(3):
        channel.send({"id": 1})
        theirs.sendall(5 * line)
        assert channel.receive()
    theirs.sendall(line)
    with pytest.raises(ChannelError, match="more than 100 bytes"):
        channel.receive()
