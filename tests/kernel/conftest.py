"""A private bpffs, a private network namespace and the forwarder loaded there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.kernel import loader
from dataplane.steps import Table
from dataplane.tables import ForwarderSettings, ServiceEntry
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, ROOT, Bench, run, service_mac


@pytest.fixture(scope="session")
def object_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The forwarder, compiled from the tree as it is, with the one for XDP beside it."""
    if os.geteuid():
        pytest.skip("needs root: loads eBPF and makes network namespaces")
    folder = tmp_path_factory.mktemp("bpf")
    flags = ("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf")
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    for name in ("forward", "forward_xdp"):
        source = str(ROOT / f"dataplane/bpf/{name}.bpf.c")
        run("clang", *flags, include, "-c", source, "-o", str(folder / f"{name}.bpf.o"))
    return folder / "forward.bpf.o"


@pytest.fixture
def pin_dir(tmp_path: Path, object_file: Path) -> Iterator[Path]:
    """A folder in a bpffs of this test's own; whatever is pinned there ends with it."""
    mounted = tmp_path / "bpffs"
    mounted.mkdir()
    run("mount", "-t", "bpf", "bpf", str(mounted))
    try:
        yield mounted / "halfpipe"
    finally:
        run("umount", str(mounted))


@pytest.fixture(scope="session")
def namespace(object_file: Path) -> Iterator[str]:
    """A network namespace with one interface, eth0, of MAC OWN_MAC."""
    name = f"hpt{os.getpid()}"
    run("ip", "netns", "add", name)
    try:
        run(
            "ip", "-n", name, "link", "add", "eth0", "address", OWN_MAC.hex(":"), "type", "veth", "peer", "name", "eth1"
        )
        yield name
    finally:
        run("ip", "netns", "del", name)


@pytest.fixture
def bench(object_file: Path, pin_dir: Path, namespace: str) -> Iterator[Bench]:
    """A forwarder with services 1 to 9 and a hash key, without VIPs."""
    forwarder = loader.load(object_file, pin_dir)
    try:
        made = Bench(forwarder, namespace)
        made.put(Table.SETTINGS, 0, ForwarderSettings(hash_key=bytes(range(16))))
        made.put(Table.INTERFACES, made.ifindex, OWN_MAC)
        for service in range(1, 10):
            made.put(Table.SERVICES, service, ServiceEntry(service, 1, service_mac(service), EGRESS_MAC))
        yield made
    finally:
        forwarder.close()
