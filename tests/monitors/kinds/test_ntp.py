"""NTP against chrony, and against servers that misbehave."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from monitors.kinds.ntp.probe import answer_to, request
from monitors.registry import KINDS
from monitors.spec import ProbeResult
from monitors.wire.stream import WrongAnswer
from tests.monitors.kinds.servers import HERE, Place, failed, passed, probe, process
from tests.monitors.kinds.udp import Peer, datagrams, mute, noise
from tests.ports import free_port

EPOCH = 2_208_988_800


@contextmanager
def chrony_at(at: Place, folder: Path, *, stratum: int = 3) -> Iterator[int]:
    """chrony, which believes its own clock and leaves it alone (-x). Without a stratum it is not synchronised."""
    if os.geteuid() != 0:
        pytest.skip("chronyd needs root")
    port = free_port()
    local = f"local stratum {stratum}\n" if stratum else ""
    (folder / "chrony.conf").write_text(
        f"{local}allow all\nport {port}\ncmdport 0\nbindcmdaddress /\npidfile {folder}/pid\nuser root\n"
        f"bindaddress {at.address}\nbindaddress {at.address6}\n"
    )
    with process(["/usr/sbin/chronyd", "-d", "-x", "-f", str(folder / "chrony.conf")], port, udp=True, at=at):
        yield port


@pytest.fixture(scope="module")
def chrony(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with chrony_at(HERE, tmp_path_factory.mktemp("chrony")) as port:
        yield port


def ask(port: int, timeout: float = 2, **given: Any) -> ProbeResult:
    return probe("NTP", port, timeout, **given)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_synchronised_server_passes(chrony: int, address: str) -> None:
    words = passed(ask(chrony, address=address, max_stratum=3, max_offset=1000))
    assert words.startswith("stratum 3, offset ")


def test_a_server_too_far_from_a_clock_fails(chrony: int) -> None:
    assert failed(ask(chrony, max_stratum=2)).endswith("; the largest stratum is 2")


def test_a_server_that_is_not_synchronised_fails(tmp_path: Path) -> None:
    with chrony_at(HERE, tmp_path, stratum=0) as port:
        assert failed(ask(port)) == "the server is not synchronised"


def answers(head: int = 0x24, stratum: int = 1, reference: bytes = b"GPS\0", ahead: float = 0.0, other: int = 0) -> Any:
    """A server with these values, whose clock is ``ahead`` seconds before ours."""

    def answer(server: socket.socket, data: bytes, peer: Peer) -> None:
        number = struct.unpack("!Q", data[40:48])[0] ^ other
        now = round((time.time() + ahead + EPOCH) * (1 << 32)) % (1 << 64)
        server.sendto(struct.pack("!BBbbII4sQQQQ", head, stratum, 0, 0, 0, 0, reference, 0, number, now, now), peer)

    return answer


@pytest.mark.parametrize("ahead", [3600.0, -3600.0, 2.0**31 - 3600, 3600.0 - 2**31])
def test_the_offset_is_the_servers_time_less_ours_also_across_eras(ahead: float) -> None:
    with datagrams(answers(ahead=ahead)) as port:
        assert passed(ask(port)) == f"stratum 1, offset {ahead:+.0f} s"
        assert failed(ask(port, max_offset=500)) == f"stratum 1, offset {ahead:+.0f} s; the largest offset is 500 ms"


def test_servers_that_say_they_are_of_no_use_fail() -> None:
    with datagrams(answers(stratum=0, reference=b"RATE")) as port:
        assert failed(ask(port)) == "the server refuses: RATE"
    with datagrams(answers(head=0xE4)) as port:
        assert failed(ask(port)) == "the server is not synchronised"
    with datagrams(answers(stratum=16)) as port:
        assert failed(ask(port)) == "the server is not synchronised"


def test_answers_to_other_requests_do_not_count() -> None:
    with datagrams(answers(other=1)) as port:
        assert failed(ask(port, 0.3)) == "no answer within 0.3 s"


def test_what_is_no_ntp_silence_and_a_refused_port_fail() -> None:
    for answer in (noise, answers(head=0x23)):
        with datagrams(answer) as port:
            assert failed(ask(port)) == "answered, but what came is no NTP message"
    with datagrams(mute) as port:
        assert failed(ask(port, 0.3)) == "no answer within 0.3 s"
    result = ask(free_port(), 5)
    assert failed(result) == "connection refused"
    assert result.duration < 4


@given_by(data=st.binary(max_size=80), flip=st.integers(0, 47))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_the_decoder_raise_anything_else(data: bytes, flip: int) -> None:
    real = bytearray(request(7))
    real[flip] ^= 0x15
    for wire in (data, bytes(real), bytes(real) + data):
        try:
            answer_to(7, wire, 0.0, 1e12)
        except WrongAnswer as error:
            assert str(error).startswith("answered")  # noqa: PT017 - not raising is fine too


def test_wrong_parameters_are_refused() -> None:
    assert KINDS["NTP"].clean({"max_stratum": 16, "max_offset": -1})[1].keys() == {"max_stratum", "max_offset"}
