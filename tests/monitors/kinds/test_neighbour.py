"""ARP and ND6 against a server in a network namespace of its own; the director's side is another."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter

import pytest

from monitors.registry import KINDS, run
from monitors.spec import ProbeResult
from monitors.trace import Trace
from tests.monitors.kinds.servers import failed, passed, spec
from tests.monitors.kinds.tracing import texts, traced_run
from tests.monitors.test_in_namespace import in_namespace, ip

SERVERS = {"ARP": "10.77.0.2", "ND6": "2001:db8:77::2"}
MAC = "02:00:00:00:77:02"
BOTH = pytest.mark.parametrize("kind", ["ARP", "ND6"])
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
]


@pytest.fixture
def server() -> Iterator[str]:
    """A namespace for the server; its name."""
    name = f"hpn{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True, timeout=10)


def link(server: str) -> None:
    """A wire from here to the server, which has its addresses."""
    ip("link", "add", "wire", "type", "veth", "peer", "name", "eth0", "address", MAC, "netns", server)
    ip("address", "add", "10.77.0.1/24", "dev", "wire")
    ip("address", "add", "2001:db8:77::1/64", "dev", "wire", "nodad")
    ip("link", "set", "wire", "up")
    for address in ("10.77.0.2/24", "2001:db8:77::2/64"):
        extra = ["nodad"] if ":" in address else []
        ip("-n", server, "address", "add", address, "dev", "eth0", *extra)
    ip("-n", server, "link", "set", "eth0", "up")


def check(kind: str, timeout: float = 1.5, address: str = "") -> ProbeResult:
    one = replace(spec(kind, 0, timeout), server=address or SERVERS[kind])
    return asyncio.run(run(one))


def first_answer(kind: str) -> ProbeResult:
    """The check once the link is ready: the kernel may take a second to tell IPv6 of a link that came up."""
    for _ in range(4):
        result = check(kind)
        if result.success:
            break
    return result


@BOTH
def test_a_server_that_answers_passes_with_its_mac(kind: str, server: str) -> None:
    def body() -> ProbeResult:
        link(server)
        return first_answer(kind)

    assert passed(in_namespace(body)) == f"{SERVERS[kind]} has MAC {MAC}, which answered 0 s ago"


@BOTH
def test_the_trace_tells_what_the_kernel_knows(kind: str, server: str) -> None:
    def body() -> Trace:
        link(server)
        first_answer(kind)
        return traced_run(replace(spec(kind, 0, 1.5), server=SERVERS[kind]))

    found = in_namespace(body)
    assert found.passed, found.message
    assert f"{SERVERS[kind]}: {MAC}, reachable, confirmed 0 s ago" in texts(found, "neighbour")


@BOTH
def test_an_address_that_nobody_has_fails(kind: str, server: str) -> None:
    nobody = SERVERS[kind][:-1] + "9"

    def body() -> ProbeResult:
        link(server)
        start = perf_counter()
        result = check(kind, 0.4, nobody)
        assert perf_counter() - start < 4
        return result

    what = "ARP" if kind == "ARP" else "neighbour solicitations"
    assert failed(in_namespace(body)) == f"{nobody} does not answer {what} within 0.4 s"


@BOTH
def test_a_server_that_went_silent_fails_once_the_kernel_asks(kind: str, server: str) -> None:
    def body() -> ProbeResult:
        link(server)
        assert first_answer(kind).success
        ip("-n", server, "link", "set", "eth0", "arp", "off", "multicast", "off")
        ip("-n", server, "address", "flush", "dev", "eth0")
        ip("neighbour", "change", SERVERS[kind], "dev", "wire", "lladdr", MAC, "nud", "probe")
        return check(kind)

    assert f"does not answer {'ARP' if kind == 'ARP' else 'neighbour'}" in failed(in_namespace(body))


def test_a_stale_entry_stands_until_the_kernel_has_asked(server: str) -> None:
    def body() -> ProbeResult:
        link(server)
        assert first_answer("ARP").success
        ip("neighbour", "change", SERVERS["ARP"], "dev", "wire", "lladdr", MAC, "nud", "stale")
        return check("ARP", 0.3)

    assert passed(in_namespace(body)).endswith("about to be asked")


def test_a_fixed_entry_passes(server: str) -> None:
    def body() -> ProbeResult:
        link(server)
        ip("neighbour", "replace", "10.77.0.5", "dev", "wire", "lladdr", MAC, "nud", "permanent")
        return check("ARP", address="10.77.0.5")

    assert passed(in_namespace(body)) == f"10.77.0.5 has the fixed MAC {MAC}"


def test_the_other_family_is_refused_and_says_which_kind_to_use() -> None:
    result = check("ARP", address="2001:db8::1")
    assert (result.success, result.sent) == (False, False)
    assert result.message == "2001:db8::1 is an IPv6 address; use ND6"


def test_without_a_route_nothing_is_sent() -> None:
    result = in_namespace(lambda: check("ARP", address="192.0.2.1"))
    assert (result.success, result.sent) == (False, False)


def test_both_kinds_have_no_port_and_ask_for_the_server() -> None:
    assert all(KINDS[kind].looks_at_server and not KINDS[kind].uses_port for kind in SERVERS)
