from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from time import perf_counter

import pytest

from monitors import registry, words
from monitors.kinds.ping import probe as icmp
from monitors.kinds.tcp import probe as tcp
from monitors.spec import ProbeResult, ProbeSpec


def spec(kind: str = "TCP", address: str = "127.0.0.1", port: int = 0, timeout: float = 1.0) -> ProbeSpec:
    return ProbeSpec(kind, address, "10.0.0.10", port, timeout)


def run(wanted: ProbeSpec) -> ProbeResult:
    return asyncio.run(registry.run(wanted))


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        server.settimeout(30)
        yield server


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel drops further SYNs, as a black hole would."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            assert client.connect_ex(("127.0.0.1", port)) == errno.EINPROGRESS
        yield port


def test_tcp_connects_and_says_how_long_it_took(listener: socket.socket) -> None:
    address, port = listener.getsockname()[:2]
    result = run(spec(address=address, port=port))
    assert result.success
    assert result.message == f"connected in {words.milliseconds(result.duration)}"
    assert 0 < result.duration < 4


def test_tcp_closes_with_fin_not_with_a_reset(listener: socket.socket) -> None:
    address, port = listener.getsockname()[:2]
    assert run(spec(address=address, port=port)).success
    connection, _peer = listener.accept()
    with closing(connection):
        connection.settimeout(30)
        assert connection.recv(1) == b""  # a reset would raise ConnectionResetError


def test_tcp_refused_fails_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = run(spec(port=port, timeout=5))
    assert (result.success, result.message, result.sent) == (False, "connection refused", True)
    assert result.duration < 4


def test_tcp_without_answer_fails_after_its_time_out(silent_port: int) -> None:
    start = perf_counter()
    result = run(spec(port=silent_port, timeout=0.3))
    assert 0.3 <= perf_counter() - start < 4
    assert (result.success, result.message, result.sent) == (False, "no answer within 0.3 s", True)
    assert 0.3 <= result.duration < 4


def test_tcp_to_any_port_is_a_failure_that_says_what_is_missing() -> None:
    result = run(spec(port=0))
    assert (result.success, result.sent) == (False, False)
    assert "the monitor has no destination port" in result.message


def test_an_address_that_is_none_is_a_bug_and_surfaces() -> None:
    for probe in (tcp.probe, icmp.probe):
        with pytest.raises(ValueError, match="web1"):
            asyncio.run(probe(spec(address="web1", port=80)))


def test_a_kind_without_probe_is_a_bug_and_surfaces() -> None:
    with pytest.raises(KeyError, match="HTTP-INLINE"):
        run(spec(kind="HTTP-INLINE"))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_ping_answers_or_names_the_sysctl(address: str) -> None:
    """Where the sysctl forbids it, the words are tested here, and the echo in tests/monitors/test_in_namespace.py."""
    result = run(spec("PING", address))
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
    except PermissionError:
        assert not result.success
        assert not result.sent
        assert "net.ipv4.ping_group_range" in result.message
    else:
        assert result.success, result.message
        assert result.message == f"echo reply in {words.milliseconds(result.duration)}"


def test_only_the_reply_with_our_payload_counts() -> None:
    def packet(kind: int = 0, code: int = 0, sequence: int = 1, payload: bytes = b"x" * 32) -> bytes:
        return struct.pack("!BBHHH", kind, code, 0xBEEF, 0xCAFE, sequence) + payload

    assert icmp.is_reply(packet(), 0, b"x" * 32)
    assert icmp.is_reply(packet(kind=129), 129, b"x" * 32)
    assert not icmp.is_reply(packet(kind=8), 0, b"x" * 32)
    assert not icmp.is_reply(packet(code=1), 0, b"x" * 32)
    assert not icmp.is_reply(packet(sequence=2), 0, b"x" * 32)
    assert not icmp.is_reply(packet(payload=b"x" * 31 + b"y"), 0, b"x" * 32)
    assert not icmp.is_reply(packet(payload=b"x" * 31), 0, b"x" * 32)
    assert not icmp.is_reply(packet()[:7], 0, b"x" * 32)


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_every_error_of_a_socket_becomes_words(code: int) -> None:
    result = words.failure(spec(address="198.18.0.1"), OSError(code, "x"), 0.1)
    assert not result.success
    assert result.message
    assert "{" not in result.message
    assert "198.18.0.1" not in result.message or "10.0.0.10 by way of 198.18.0.1" in result.message


def test_no_route_names_the_vip_and_the_data_plane() -> None:
    result = words.failure(spec(address="198.18.0.1"), OSError(errno.ENETUNREACH, "x"), 0.1)
    assert result.message == "no route to 10.0.0.10 by way of 198.18.0.1 (is the data plane running?)"
    assert not result.sent


def test_durations_have_a_decimal_only_while_it_matters() -> None:
    assert [words.milliseconds(s) for s in (0.00041, 0.0099, 0.0123, 1.5)] == ["0.4 ms", "9.9 ms", "12 ms", "1500 ms"]
