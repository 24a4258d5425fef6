"""DNS and DNS-TCP against BIND, and against servers that misbehave."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import dns.flags
import dns.message
import dns.rrset
import pytest

from monitors.registry import KINDS
from tests.monitors.kinds.servers import (
    HERE,
    Place,
    by_hand,
    drip,
    failed,
    flood,
    hang_up,
    passed,
    probe,
    process,
    trace,
)
from tests.monitors.kinds.tracing import steps, texts
from tests.monitors.kinds.udp import Peer, datagrams, mute, noise
from tests.ports import free_port

BOTH = pytest.mark.parametrize("kind", ["DNS", "DNS-TCP"])
ZONE = """$TTL 60
@ IN SOA ns hostmaster 7 60 60 60 60
@ IN NS ns
ns IN A 192.0.2.53
www IN A 192.0.2.1
www IN A 192.0.2.2
www IN AAAA 2001:db8::1
alias IN CNAME www
"""


@contextmanager
def bind_at(at: Place, folder: Path) -> Iterator[int]:
    """BIND with the zone example.test; its port, over UDP and TCP."""
    port = free_port()
    (folder / "zone").write_text(ZONE)
    (folder / "named.conf").write_text(
        f"""options {{ directory "{folder}"; pid-file none; session-keyfile none; recursion no;
            listen-on port {port} {{ {at.address}; }}; listen-on-v6 port {port} {{ {at.address6}; }};
            dnssec-validation no; }};
        controls {{ }};
        zone "example.test" {{ type primary; file "{folder / "zone"}"; }};"""
    )
    with process(["/usr/sbin/named", "-g", "-n", "1", "-c", str(folder / "named.conf")], port, at=at):
        yield port


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with bind_at(HERE, tmp_path_factory.mktemp("bind")) as port:
        yield port


@BOTH
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_name_with_its_address_passes(bind: int, kind: str, address: str) -> None:
    words = passed(probe(kind, bind, address=address, query="www.example.test", ip_address="192.0.2.9, 192.0.2.2"))
    assert words in {f"www.example.test A: 192.0.2.{a}, 192.0.2.{b}" for a, b in ((1, 2), (2, 1))}


@BOTH
def test_all_query_types_find_their_records(bind: int, kind: str) -> None:
    assert passed(probe(kind, bind, query="www.example.test", query_type="AAAA", ip_address="2001:DB8:0::1"))
    assert "hostmaster" in passed(probe(kind, bind, query="example.test", query_type="Zone"))
    assert "192.0.2.1" in passed(probe(kind, bind, query="alias.example.test"))


@BOTH
def test_the_trace_shows_question_and_answer_in_dns_words(bind: int, kind: str) -> None:
    found = trace(kind, bind, query="ns.example.test")
    connect = ["connect"] if kind == "DNS-TCP" else []
    assert steps(found) == [*connect, "query", "sent", "received", "answer", "verdict"]
    assert texts(found, "query").startswith("ns.example.test, Address, identifier ")
    assert "ns.example.test. 60 IN A 192.0.2.53" in texts(found, "answer")


@BOTH
def test_wrong_answers_are_told(bind: int, kind: str) -> None:
    words = failed(probe(kind, bind, query="ns.example.test", ip_address="192.0.2.1"))
    assert words == "ns.example.test A: 192.0.2.53; wanted 192.0.2.1"
    assert failed(probe(kind, bind, query="nobody.example.test")) == "nobody.example.test: NXDOMAIN"
    assert failed(probe(kind, bind, query="example.org")) == "example.org: REFUSED"
    words = failed(probe(kind, bind, query="ns.example.test", query_type="AAAA"))
    assert words == "ns.example.test AAAA: no such record in the answer"


@BOTH
def test_a_refused_port_fails_at_once(kind: str) -> None:
    port = free_port()
    result = probe(kind, port, 5, query="a.test")
    assert failed(result) == "connection refused"
    assert result.duration < 4


def test_a_silent_server_fails_when_the_time_is_over() -> None:
    with datagrams(mute) as port:
        start = perf_counter()
        assert failed(probe("DNS", port, 0.3, query="a.test")) == "no answer within 0.3 s"
        assert 0.3 <= perf_counter() - start < 4


def test_answers_to_other_questions_do_not_count() -> None:
    def other(server: socket.socket, data: bytes, peer: Peer) -> None:
        message = dns.message.make_response(dns.message.from_wire(data))
        message.answer.append(dns.rrset.from_text("a.test.", 60, "IN", "A", "192.0.2.1"))
        wire = message.to_wire()
        server.sendto(struct.pack("!H", message.id ^ 1) + wire[2:], peer)  # the identifier of another
        server.sendto(dns.message.make_response(dns.message.make_query("b.test", "A", id=message.id)).to_wire(), peer)

    with datagrams(other) as port:
        assert failed(probe("DNS", port, 0.3, query="a.test")) == "no answer within 0.3 s"


def test_what_is_no_dns_fails() -> None:
    with datagrams(noise) as port:
        assert failed(probe("DNS", port, query="a.test")) == "answered, but what came is no DNS message"


def test_a_truncated_answer_says_so() -> None:
    def truncated(server: socket.socket, data: bytes, peer: Peer) -> None:
        message = dns.message.make_response(dns.message.from_wire(data))
        message.flags |= dns.flags.TC
        server.sendto(message.to_wire(), peer)

    with datagrams(truncated) as port:
        assert failed(probe("DNS", port, query="a.test")).endswith("it is truncated (DNS-TCP gets all of it)")


def test_a_flood_of_datagrams_ends_the_check() -> None:
    def flood_with_others(server: socket.socket, data: bytes, peer: Peer) -> None:
        wire = dns.message.make_response(dns.message.from_wire(data)).to_wire()
        for number in range(1100):
            server.sendto(struct.pack("!H", (wire[0] * 256 + wire[1] + 1 + number) % 65536) + wire[2:], peer)

    with datagrams(flood_with_others) as port:
        start = perf_counter()
        words = failed(probe("DNS", port, 1, query="a.test"))
        assert words in {"more than 1000 datagrams of answer", "no answer within 1 s"}
        assert perf_counter() - start < 2


@pytest.mark.parametrize("handler", [drip, flood, hang_up])
def test_misbehaving_tcp_servers_fail_in_time(handler: Callable[[socket.socket], None]) -> None:
    with by_hand(handler) as port:
        start = perf_counter()
        assert failed(probe("DNS-TCP", port, 0.4, query="a.test"))
        assert perf_counter() - start < 4


def test_parameters_that_cannot_work_are_refused() -> None:
    clean = KINDS["DNS"].clean
    assert "query" in clean({"query": ""})[1]
    assert "not a domain name" in clean({"query": "a..b"})[1]["query"]
    assert clean({"query": "a.test", "ip_address": "1.2.3"})[1]["ip_address"] == "“1.2.3” is not an IP address."
    assert "IPv6" in clean({"query": "a.test", "ip_address": "2001:db8::1"})[1]["ip_address"]
    assert "ip_address" in clean({"query": "a.test", "query_type": "zone", "ip_address": "192.0.2.1"})[1]
