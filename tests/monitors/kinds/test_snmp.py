"""SNMP against net-snmp's agent, and against servers that misbehave."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from monitors.kinds.snmp.kind import Parameters
from monitors.kinds.snmp.probe import answer_to, request
from monitors.registry import KINDS
from monitors.wire.stream import WrongAnswer
from tests.monitors.kinds.servers import HERE, Place, failed, passed, probe, process, spec, trace
from tests.monitors.kinds.tracing import steps, texts
from tests.monitors.kinds.udp import Peer, datagrams, mute, noise
from tests.ports import free_port

CONTACT, SERVICES, NOTHING = "1.3.6.1.2.1.1.4.0", "1.3.6.1.2.1.1.7.0", "1.3.6.1.2.1.1.4.7"
VERSIONS = pytest.mark.parametrize("version", ["V1", "V2"])


@contextmanager
def agent_at(at: Place, folder: Path) -> Iterator[int]:
    """net-snmp's agent."""
    port = free_port()
    (folder / "snmpd.conf").write_text(
        "rocommunity halfpipe\nrocommunity6 halfpipe\nsysContact somebody\nsysServices 72\n"
    )
    command = ["/usr/sbin/snmpd", "-f", "-Lo", "-C", "-c", str(folder / "snmpd.conf"), f"--persistentDir={folder}"]
    listens = [f"udp:{at.address}:{port}", f"udp6:[{at.address6}]:{port}"]
    with process([*command, *listens], port, udp=True, at=at):
        yield port


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with agent_at(HERE, tmp_path_factory.mktemp("snmpd")) as port:
        yield port


def ask(port: int, timeout: float = 2, **given: Any) -> Any:
    return probe("SNMP", port, timeout, **{"snmp_community": "halfpipe", **given})


@VERSIONS
def test_a_value_passes(agent: int, version: str) -> None:
    assert passed(ask(agent, snmp_version=version)).startswith("1.3.6.1.2.1.1.3.0 = ")
    assert passed(ask(agent, snmp_version=version, snmp_oid=CONTACT)) == f"{CONTACT} = somebody"
    assert passed(ask(agent, snmp_version=version, snmp_oid=f".{CONTACT}")) == f".{CONTACT} = somebody"


def test_the_threshold_is_the_largest_value_that_passes(agent: int) -> None:
    assert passed(ask(agent, snmp_oid=SERVICES, snmp_threshold="72")) == f"{SERVICES} = 72, at most 72"
    assert failed(ask(agent, snmp_oid=SERVICES, snmp_threshold="71")) == f"{SERVICES} = 72, more than 71"
    words = failed(ask(agent, snmp_oid=CONTACT, snmp_threshold="1"))
    assert words == f"{CONTACT} = somebody, which is no number to compare with 1"


def test_the_trace_hides_the_community(agent: int) -> None:
    found = trace("SNMP", agent, snmp_community="halfpipe", snmp_oid=SERVICES)
    assert steps(found) == ["query", "sent", "received", "answer", "verdict"]
    assert "\\x04\\x08•••\\xa0" in texts(found, "sent")
    assert "\\x04\\x08•••\\xa2" in texts(found, "received")
    assert "72" in texts(found, "answer")


def test_an_object_that_is_not_there_is_told_in_each_versions_way(agent: int) -> None:
    assert failed(ask(agent, snmp_oid=NOTHING)) == f"{NOTHING}: no such instance"
    assert failed(ask(agent, snmp_oid=NOTHING, snmp_version="V1")) == f"{NOTHING}: noSuchName"
    assert failed(ask(agent, snmp_oid="1.3.6.1.4.1.99999.1")) == "1.3.6.1.4.1.99999.1: no such object"


def test_a_wrong_community_gets_no_answer(agent: int) -> None:
    start = perf_counter()
    assert failed(ask(agent, 0.3, snmp_community="s3cret-wrong")) == "no answer within 0.3 s"
    assert perf_counter() - start < 4


def test_a_refused_port_fails_at_once() -> None:
    result = ask(free_port(), 5)
    assert failed(result) == "connection refused"
    assert result.duration < 4


def test_a_silent_server_fails_when_the_time_is_over() -> None:
    with datagrams(mute) as port:
        assert failed(ask(port, 0.3)) == "no answer within 0.3 s"


def test_answers_to_other_requests_do_not_count() -> None:
    one = Parameters(snmp_community="halfpipe")

    def other(server: socket.socket, _data: bytes, peer: Peer) -> None:
        server.sendto(request(one, 1).replace(b"\xa0", b"\xa2", 1), peer)

    with datagrams(other) as port:
        assert failed(ask(port, 0.3)) == "no answer within 0.3 s"


def test_what_is_no_snmp_or_too_long_fails() -> None:
    with datagrams(noise) as port:
        assert failed(ask(port)) == "answered, but what came is no SNMP message"
    with datagrams(lambda server, _data, peer: server.sendto(b"0" * 60_000, peer)) as port:
        assert failed(ask(port)) == "an answer of more than 2048 bytes"


@given_by(data=st.binary(max_size=200), cut=st.integers(0, 60), flip=st.integers(0, 59))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_the_decoder_raise_anything_else(data: bytes, cut: int, flip: int) -> None:
    one = Parameters()
    real = bytearray(request(one, 7))
    real[flip % len(real)] ^= 0x41
    for wire in (data, bytes(real), bytes(real[:cut]) + data, b"\x30\x80" * 400):
        try:
            answer_to(one, 7, wire)
        except WrongAnswer as error:
            assert str(error).startswith("answered")  # noqa: PT017 - not raising is fine too


def test_the_community_is_in_no_representation() -> None:
    assert "s3cret" not in repr(spec("SNMP", 161, snmp_community="s3cret"))
    assert "s3cret" not in repr(Parameters(snmp_community="s3cret"))


@pytest.mark.parametrize("oid", ["1.3.x", "sysUpTime", "1", "1.40.1", "3.1.1", "1.3.99999999999", "1.3.4294967296"])
def test_wrong_identifiers_are_refused(oid: str) -> None:
    assert "snmp_oid" in KINDS["SNMP"].clean({"snmp_oid": oid})[1]


def test_a_wrong_threshold_is_refused() -> None:
    assert KINDS["SNMP"].clean({"snmp_threshold": "few"})[1]["snmp_threshold"] == "“few” is not a whole number."
