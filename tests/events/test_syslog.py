"""Messages by RFC 5424, and their way over UDP, TCP and TLS."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.events.samples import event
from tests.monitors.kinds.servers import LOOPBACK, Authority, by_hand
from tests.ports import free_port
from webui.events.kind import DeliveryError
from webui.events.syslog import BOM, KIND, LONGEST, Parameters, framed, message, send

# RFC 5424, section 6, as far as these messages use it.
HEADER = re.compile(
    rb"<(\d{1,3})>1 (\S+) ([!-~]{1,255}) halfpipe (\d{1,128}) ([!-~]{1,32}) "
    rb'(\[[!#-<>-\\^-~]{1,32}(?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\]) (\xef\xbb\xbf.*)'
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def frames(data: bytes) -> list[bytes]:
    """Messages of a stream with octet counting."""
    found = []
    while data:
        length, _space, rest = data.partition(b" ")
        found.append(rest[: int(length)])
        assert len(found[-1]) == int(length)
        data = rest[int(length) :]
    return found


def test_a_message_has_priority_time_host_and_data() -> None:
    made = message(event(7, service='a"b]c\\d'), "LOCAL0", "director1")
    found = HEADER.fullmatch(made)
    assert found is not None
    assert (found[1], found[2], found[3], found[5]) == (
        b"131",  # local0 (16) * 8 + error (3)
        b"2026-11-23T12:00:01.234567Z",
        b"director1",
        b"TRANSITION",
    )
    assert found[6] == b'[event@32473 id="transition-7" service="a\\"b\\]c\\\\d"]'
    assert found[7].startswith(BOM + b"service web1 at 10.77.0.10")


@settings(deadline=None)
@given(st.text(max_size=3000), st.text(max_size=400), st.text(max_size=300))
def test_whatever_a_server_says_a_message_is_one_line_of_bounded_length(text: str, value: str, host: str) -> None:
    made = message(event(1, text, reason=value), "LOCAL7", host)
    assert len(made) <= LONGEST
    assert HEADER.fullmatch(made), made
    assert b"\n" not in made
    made.decode()  # not cut within a character
    assert frames(framed(made) * 3) == [made] * 3


def test_udp_sends_a_datagram_for_each_event() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind((LOOPBACK, 0))
        collector.settimeout(30)
        given = Parameters(host=LOOPBACK, port=collector.getsockname()[1])
        events = [event(1), event(2)]
        assert list(send(given, events)) == [events]
        assert b'id="transition-1"' in collector.recv(4096)
        assert b'id="transition-2"' in collector.recv(4096)


def test_tcp_counts_octets_and_sees_the_end() -> None:
    got: list[bytes] = []

    def collect(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            got.append(data)

    with by_hand(collect) as port:
        events = [event(1, "line\nbreak"), event(2)]
        assert list(send(Parameters(host=LOOPBACK, transport="TCP", port=port), events)) == [events]
    first, second = frames(b"".join(got))
    assert first.endswith(b"line break")
    assert b"transition-2" in second


def test_a_collector_that_resets_has_not_taken_them() -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with by_hand(reset) as port, pytest.raises(DeliveryError, match=r"TCP to 127.0.0.1 port .*(reset|not connected)"):
        list(send(Parameters(host=LOOPBACK, transport="TCP", port=port), [event()]))


def test_nobody_there_is_said_in_words() -> None:
    port = free_port()
    with pytest.raises(DeliveryError, match=f"TCP to 127.0.0.1 port {port}: Connection refused"):
        list(send(Parameters(host=LOOPBACK, transport="TCP", port=port), [event()]))


@pytest.fixture
def tls_collector(authority: Authority) -> Iterator[tuple[int, list[bytes]]]:
    crt, key = authority.issue("localhost", end=timedelta(days=9))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    got: list[bytes] = []

    def collect(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            while data := secured.recv(65536):
                got.append(data)
            secured.unwrap()

    with by_hand(collect) as port:
        yield port, got


def test_tls_reaches_a_collector_that_the_authority_vouches_for(
    tls_collector: tuple[int, list[bytes]], authority: Authority
) -> None:
    port, got = tls_collector
    given = Parameters(host="localhost", transport="TLS", port=port, ca_certificates=authority.pem)
    list(send(given, [event()]))
    assert len(frames(b"".join(got))) == 1


@pytest.mark.parametrize("host", ["localhost", LOOPBACK])
def test_tls_sends_nothing_to_a_collector_that_is_not_trusted(
    host: str, tls_collector: tuple[int, list[bytes]], authority: Authority, tmp_path: Path
) -> None:
    port, got = tls_collector
    other = Authority(tmp_path, "Other CA")  # for the address, the right one: then the name does not fit
    pem = other.pem if host == "localhost" else authority.pem
    with pytest.raises(DeliveryError, match="certificate is not trusted"):
        list(send(Parameters(host=host, transport="TLS", port=port, ca_certificates=pem), [event()]))
    assert got == []


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"host": ""}, "host"),
        ({"host": "a b"}, "host"),
        ({"host": "x", "transport": "SCTP"}, "transport"),
        ({"host": "x", "port": 70000}, "port"),
        ({"host": "x", "ca_certificates": "no PEM"}, "ca_certificates"),
        ({"host": "x", "ca_certificates": "é"}, "ca_certificates"),
    ],
)
def test_parameters_that_cannot_work_are_refused_by_name(wrong: dict[str, Any], name: str) -> None:
    assert set(KIND.clean(wrong)[1]) == {name}
