"""UDP-ECV against BIND, and against servers by hand."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest

from monitors.registry import KINDS
from tests.monitors.kinds.servers import failed, passed, probe, process, trace
from tests.monitors.kinds.tracing import steps, texts
from tests.monitors.kinds.udp import Peer, datagrams, echo, mute, noise
from tests.ports import free_port


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """BIND as a real UDP service: its answer to a raw query is known."""
    folder, port = tmp_path_factory.mktemp("bind"), free_port()
    Path(folder / "named.conf").write_text(
        f'options {{ directory "{folder}"; pid-file none; session-keyfile none; recursion no; version "halfpipe test";'
        f" listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; }}; controls {{ }};"
    )
    with process(["/usr/sbin/named", "-g", "-n", "1", "-c", str(folder / "named.conf")], port):
        yield port


QUERY = r"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03"


def test_a_real_service_answers_the_bytes_that_were_sent(bind: int) -> None:
    assert passed(probe("UDP-ECV", bind, send=QUERY, recv="halfpipe test")) == "“halfpipe test” found in the answer"
    assert passed(probe("UDP-ECV", bind, send=QUERY, recv="/halfpipe t.st/"))
    assert failed(probe("UDP-ECV", bind, 0.4, send=QUERY, recv="other")).startswith("“other” not in the answer “")


def test_without_an_expected_text_silence_passes_and_says_so() -> None:
    with datagrams(mute) as port:
        start = perf_counter()
        words = passed(probe("UDP-ECV", port, 0.4, send="hello"))
        assert words == "no ICMP error within 0.36 s (no answer is expected)"
        assert 0.3 < perf_counter() - start < 4


def test_the_trace_shows_what_came_escaped() -> None:
    def answer(server: socket.socket, _data: bytes, peer: Peer) -> None:
        server.sendto(b"\xff\x00 \xc3\xa4\x1b[31m\\", peer)

    with datagrams(answer) as port:
        found = trace("UDP-ECV", port, send="ping", recv="/./")
    assert steps(found) == ["sent", "received", "verdict"]
    assert texts(found, "received") == "\\xff\\x00 ä\\x1b[31m" + "\\" * 2


def test_without_an_expected_text_an_answer_ends_the_check_early() -> None:
    with datagrams(echo) as port:
        result = probe("UDP-ECV", port, 5, send="hello")
        assert passed(result) == "answered “hello”"
        assert result.duration < 0.5
        assert passed(probe("UDP-ECV", port, 5)) == "answered with an empty datagram"


@pytest.mark.parametrize("recv", ["", "hello"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_unreachable_fails_at_once(recv: str, address: str) -> None:
    result = probe("UDP-ECV", free_port(), 5, address=address, send="hello", recv=recv)
    assert failed(result) == "connection refused"
    assert result.duration < 0.5


def test_a_silent_server_fails_when_an_answer_is_expected() -> None:
    with datagrams(mute) as port:
        assert failed(probe("UDP-ECV", port, 0.3, send="hello", recv="hello")) == "no answer within 0.3 s"


def test_the_expected_text_may_come_in_a_later_datagram() -> None:
    def twice(server: socket.socket, data: bytes, peer: Peer) -> None:
        server.sendto(b"wait", peer)
        server.sendto(data, peer)

    with datagrams(twice) as port:
        assert passed(probe("UDP-ECV", port, send="hello", recv="hello"))


def test_many_wrong_datagrams_end_the_check() -> None:
    def many(server: socket.socket, _data: bytes, peer: Peer) -> None:
        for _ in range(20):
            server.sendto(b"x" * 60_000, peer)

    with datagrams(many) as port:
        result = probe("UDP-ECV", port, 5, send="hello", recv="hello")
    assert failed(result).startswith("“hello” not in the answer “xxx")
    assert len(result.message) < 255


def test_bytes_outside_of_text_are_shown_as_dots() -> None:
    with datagrams(noise) as port:
        assert failed(probe("UDP-ECV", port, 0.3, recv="x")).isprintable()


def test_wrong_parameters_are_refused() -> None:
    problems = KINDS["UDP-ECV"].clean({"send": "\\xZZ", "recv": "/(/"})[1]
    assert problems.keys() == {"send", "recv"}
