"""Probes in a network namespace of their own: it belongs to a thread and goes with it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from monitors import registry
from monitors.spec import ProbeResult, ProbeSpec

CLONE_NEWNET = 0x40000000
VIP = "10.0.0.10"
T = TypeVar("T")

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace"),
]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


def in_namespace(do: Callable[[], T]) -> T:
    """Run ``do`` in a thread with a new network namespace: lo is up, and everyone may ping."""

    def body() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        ip("link", "set", "lo", "up")
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
        return do()

    with ThreadPoolExecutor(max_workers=1) as pool:  # its thread, and with it the namespace, ends here
        return pool.submit(body).result(30)


def sink() -> None:
    """A route for the probe addresses into an interface whose other end reads nothing."""
    ip("link", "add", "sink", "arp", "off", "type", "veth", "peer", "name", "hole")
    ip("link", "set", "hole", "up")
    ip("link", "set", "sink", "up")
    ip("address", "add", "192.0.2.1/32", "dev", "sink")
    ip("route", "add", "198.18.0.0/15", "dev", "sink")


def probe(kind: str, address: str, port: int = 0, timeout: float = 0.3) -> ProbeResult:
    return asyncio.run(registry.run(ProbeSpec(kind, address, VIP, port, timeout)))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_ping_gets_its_echo(address: str) -> None:
    result = in_namespace(lambda: probe("PING", address))
    assert result.success, result.message
    assert result.message.startswith("echo reply in ")
    assert 0 < result.duration < 0.3


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_many_pings_at_once_keep_their_replies_apart(address: str) -> None:
    async def many() -> list[ProbeResult]:
        spec = ProbeSpec("PING", address, VIP, 0, 2)
        return await asyncio.gather(*(registry.run(spec) for _ in range(50)))

    results = in_namespace(lambda: asyncio.run(many()))
    assert [result.message for result in results if not result.success] == []


def test_ping_without_permission_names_the_sysctl_and_the_group() -> None:
    def forbidden() -> ProbeResult:
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("1 0")
        return probe("PING", "127.0.0.1")

    result = in_namespace(forbidden)
    assert (result.success, result.sent) == (False, False)
    assert f"group {os.getegid()} " in result.message
    assert "net.ipv4.ping_group_range" in result.message


@pytest.mark.parametrize(("kind", "port"), [("TCP", 80), ("PING", 0)])
@pytest.mark.parametrize("address", ["198.18.0.1", "2001:2:0:1::1"])
def test_without_a_route_the_data_plane_is_suspected(kind: str, port: int, address: str) -> None:
    result = in_namespace(lambda: probe(kind, address, port))
    assert (result.success, result.sent) == (False, False)
    assert f"{VIP} by way of {address}" in result.message
    assert "the data plane" in result.message or "no free source address" in result.message


@pytest.mark.parametrize(("kind", "port"), [("TCP", 80), ("PING", 0)])
def test_a_server_that_swallows_packets_gives_no_answer(kind: str, port: int) -> None:
    def swallowed() -> ProbeResult:
        sink()
        return probe(kind, "198.18.0.1", port)

    result = in_namespace(swallowed)
    assert (result.success, result.message, result.sent) == (False, "no answer within 0.3 s", True)
    assert 0.3 <= result.duration < 4


def test_an_unreachable_server_is_named() -> None:
    def unreachable() -> ProbeResult:
        ip("route", "add", "unreachable", "198.18.0.0/15")
        return probe("TCP", "198.18.0.1", 80)

    result = in_namespace(unreachable)
    assert result.message.startswith(f"{VIP} by way of 198.18.0.1 is unreachable")


def test_a_drop_on_the_way_out_is_told_apart() -> None:
    def dropped() -> ProbeResult:
        sink()
        full = ["tc", "qdisc", "add", "dev", "sink", "root", "pfifo", "limit", "0"]
        subprocess.run(full, check=True, capture_output=True, timeout=10)
        return probe("PING", "198.18.0.1")

    result = in_namespace(dropped)
    assert (result.success, result.sent) == (False, False)
    assert result.message.startswith(f"dropped on the way to {VIP}")


def test_the_namespace_is_not_the_hosts() -> None:
    host = socket.if_nameindex()
    assert in_namespace(socket.if_nameindex) == [(1, "lo")]
    assert socket.if_nameindex() == host
