"""Checks of the kinds over the real path: from the director, through the forwarder, to the VIP on one server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything
from monitors.registry import run
from monitors.spec import ProbeResult
from tests.kernel.bench import inside
from tests.kernel.network import SERVERS, VIP, VIP6, Network, network
from tests.kernel.test_forward_network import PROBES, VIPS, add_probes, configure
from tests.monitors.kinds import servers

pytestmark = pytest.mark.kernel

HTTP, FTP, TFTP, CLOSED = 8000, 2121, 6969, 1


@pytest.fixture(scope="module")
def net(object_file: Path, public: Path) -> Iterator[Network]:
    """Servers s1 and s2 offer files named after themselves, on the VIPs alone."""
    files = public
    with network() as made, ExitStack() as stack:
        for name in ("s1", "s2"):
            folder = files / name
            folder.mkdir()
            for file in ("index.html", name):
                (folder / file).write_text(f"this is {name}\n")
            for vip in (VIP, VIP6):
                _start(made, name, vip, folder, stack)
        for name in ("s1", "s2"):
            for vip in (VIP, VIP6):
                for port in (HTTP, FTP):
                    _await(made, name, vip, port)
        yield made


def _start(made: Network, host: str, vip: str, folder: Path, stack: ExitStack) -> None:
    tftp = f"[{vip}]:{TFTP}" if ":" in vip else f"{vip}:{TFTP}"
    commands = (
        [sys.executable, "-m", "http.server", str(HTTP), "--bind", vip, "--directory", str(folder)],
        [sys.executable, "-W", "ignore", "-m", "pyftpdlib", "-i", vip, "-p", str(FTP), "-d", str(folder)],
        ["in.tftpd", "--foreground", "--secure", "--user", "nobody", "--address", tftp, str(folder)],
    )
    for command in commands:
        with inside(made.namespace(host)):
            started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(started.wait, 5)
        stack.callback(started.kill)


def _await(made: Network, host: str, vip: str, port: int) -> None:
    end = time.monotonic() + 15
    while time.monotonic() < end:
        with inside(made.namespace(host)), suppress(OSError):
            socket.create_connection((vip, port), 1).close()
            return
        time.sleep(0.05)
    pytest.fail(f"{host} does not listen on {vip} port {port}")


@pytest.fixture
def path(net: Network, object_file: Path, pin_dir: Path) -> Iterator[Kernel]:
    """The forwarder in the director's namespace, with a probe address for each VIP on each server."""
    with inside(net.namespace("director")):
        kernel = open_kernel(object_file, pin_dir, on_event=lambda: None)
        try:
            configure(kernel, net)
            add_probes(kernel, net)
            yield kernel
        finally:
            kernel.close()
            remove_everything(pin_dir)
    for host in ("client", *SERVERS):
        net.ip(host, "neigh", "flush", "all")


def check(net: Network, kind: str, version: int, server: int, port: int, **given: Any) -> ProbeResult:
    spec = replace(servers.spec(kind, port, 3.0, address=PROBES[version].format(server), **given), vip=VIPS[version])
    with inside(net.namespace("director")):
        return asyncio.run(run(spec))


@pytest.mark.parametrize("version", [4, 6])
def test_content_tells_the_servers_apart(net: Network, path: Kernel, version: int) -> None:
    for server in (1, 2):
        assert servers.passed(check(net, "HTTP-ECV", version, server, HTTP, recv=f"this is s{server}"))
    words = servers.failed(check(net, "HTTP-ECV", version, 2, HTTP, recv="this is s1"))
    assert words == "HTTP 200, “this is s1” not found in “this is s2”"
    assert servers.failed(check(net, "HTTP", version, 3, HTTP)) == "connection refused"


@pytest.mark.parametrize("version", [4, 6])
def test_the_file_of_an_ftp_server_comes_by_a_data_connection_of_the_same_path(
    net: Network, path: Kernel, version: int
) -> None:
    assert servers.passed(check(net, "FTP-EXTENDED", version, 2, FTP, file_name="s2")) == "s2: 11 bytes fetched"
    assert servers.failed(check(net, "FTP-EXTENDED", version, 1, FTP, file_name="s2")).startswith("RETR s2: 550 ")


@pytest.mark.parametrize("version", [4, 6])
def test_tftp_answers_from_another_port_of_the_vip(net: Network, path: Kernel, version: int) -> None:
    assert servers.passed(check(net, "TFTP", version, 1, TFTP, file_name="s1")) == "s1: 11 bytes"
    assert servers.failed(check(net, "TFTP", version, 1, TFTP, file_name="s2")).startswith("s2: error 1, ")


@pytest.mark.parametrize("version", [4, 6])
def test_a_closed_udp_port_of_the_vip_is_known_at_once(net: Network, path: Kernel, version: int) -> None:
    result = check(net, "TFTP", version, 1, CLOSED, file_name="s1")
    assert servers.failed(result) == "connection refused"
    assert result.duration < 1
