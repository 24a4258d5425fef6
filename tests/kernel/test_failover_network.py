"""A VIP moves from one director to another in the middle of transfers, which notice nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dataplane.desired import Configuration, VServerOptions
from dataplane.lab.server import BIG_FILE, SMALL_FILE, write_files
from tests.kernel.bench import run
from tests.kernel.segments import Director, Segments, configuration, director, eventually, mac_of, segments, vserver
from tests.kernel.transfers import Ftp, Http, Tftp, Transfer, write_ftp_configuration
from tests.monitors.kinds.places import public_folder

pytestmark = pytest.mark.kernel

VIPS = {4: "10.77.0.80", 6: "fd77::80"}
HOSTS = {"client": 100, "a": 11, "b": 12, "s1": 21, "s2": 22, "s3": 23}
SERVERS = ("s1", "s2", "s3")
CLIENTS = range(100, 106)  # one address for each transfer and spare ones: not all at one server


def address(host: str | int, version: int) -> str:
    number = HOSTS[host] if isinstance(host, str) else host
    return f"10.77.0.{number}" if version == 4 else f"fd77::{number}"


@pytest.fixture(scope="module")
def files() -> Iterator[Path]:
    with public_folder() as folder:
        served = folder / "files"
        served.mkdir()
        write_files(served)
        write_ftp_configuration(folder, served)
        yield served


@pytest.fixture(scope="module")
def net(object_file: Path, files: Path) -> Iterator[Segments]:
    """Client, two directors and three servers of HTTP, FTP and TFTP on one switch."""
    with segments() as made:
        made.switch("switch")
        made.add("client", "a", "b")
        made.add(*SERVERS, vips=[*VIPS.values()])
        for host in HOSTS:
            made.plug("switch", host, "eth0", f"{address(host, 4)}/24", f"{address(host, 6)}/64")
        for number in CLIENTS[1:]:
            made.address("client", "eth0", f"{address(number, 4)}/24")
            made.address("client", "eth0", f"{address(number, 6)}/64")
        for server in SERVERS:
            made.serve_http(server, files)
            made.start(server, "vsftpd", str(files.parent / "vsftpd.conf"))
            tftp = ("--foreground", "--secure", "--user", "nobody", "--address", ":69", str(files))
            made.start(server, "in.tftpd", *tftp)
        for server in SERVERS:
            made.wait_for_listeners(server, "-tl", "sport = :80 or sport = :21", number=2)
            made.wait_for_listeners(server, "-ul", "sport = :69", number=1)
        yield made


@pytest.fixture
def directors(net: Segments, object_file: Path, tmp_path: Path) -> Iterator[tuple[Director, Director]]:
    with ExitStack() as stack:
        made = []
        for host in ("a", "b"):
            bpffs = tmp_path / host
            bpffs.mkdir()
            run("mount", "-t", "bpf", "bpf", str(bpffs))
            stack.callback(run, "umount", str(bpffs))
            made.append(stack.enter_context(director(net, host, object_file, bpffs / "halfpipe")))
        yield made[0], made[1]


def rows(*, sessions: bool) -> Configuration:
    """ANY over the three servers by the source's hash, so that control and data of FTP meet at one server."""
    options = VServerOptions(sessions=sessions)
    return configuration(
        *(
            vserver(number, vip, [address(server, version) for server in SERVERS], options=options)
            for number, (version, vip) in enumerate(VIPS.items(), start=1)
        )
    )


def holder(net: Segments, vip: str) -> str:
    """MAC address that the client sends packets for the VIP to."""
    return net.ip("client", "neigh", "show", vip).partition("lladdr ")[2].split(" ")[0]


@pytest.mark.parametrize("sessions", [False, True], ids=["sessionless", "sessions"])
@pytest.mark.parametrize("version", [4, 6])
def test_transfers_go_on_when_another_director_takes_over(
    net: Segments, directors: tuple[Director, Director], files: Path, version: int, sessions: bool
) -> None:
    first, second = directors
    first.follow(rows(sessions=sessions))
    namespace, vip = net.namespace("client"), VIPS[version]
    sources = [address(number, version) for number in CLIENTS]
    big, small = (files / BIG_FILE).read_bytes(), (files / SMALL_FILE).read_bytes()
    running: list[tuple[Transfer, bytes]] = [
        (Http(namespace, sources[0], vip, BIG_FILE), big),
        (Http(namespace, sources[1], vip, BIG_FILE), big),
        (Ftp(namespace, sources[2], vip, BIG_FILE, passive=True), big),
        (Ftp(namespace, sources[3], vip, BIG_FILE, passive=False), big),
        (Tftp(namespace, sources[4], vip, SMALL_FILE), small),
    ]
    begun = [transfer.read(len(whole) // 16) for transfer, whole in running]
    assert holder(net, vip) == mac_of("a").hex(":")

    first.leave()
    forwarded = first.count()
    second.follow(rows(sessions=sessions))
    eventually(lambda: holder(net, vip) == mac_of("b").hex(":"))
    for (transfer, whole), part in zip(running, begun, strict=True):
        assert part + transfer.finish() == whole, type(transfer).__name__
    assert first.count() == forwarded
    assert second.count() > len(small) // Tftp.BLOCK * 7 // 8  # the acknowledgements of TFTP alone


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
@pytest.mark.parametrize("version", [4, 6])
def test_ftp_works_from_every_client(
    net: Segments, directors: tuple[Director, Director], files: Path, version: int, passive: bool
) -> None:
    directors[0].follow(rows(sessions=False))
    for number in CLIENTS:
        transfer = Ftp(net.namespace("client"), address(number, version), VIPS[version], SMALL_FILE, passive=passive)
        assert transfer.finish() == (files / SMALL_FILE).read_bytes()


def test_a_director_with_another_hash_key_would_break_connections(
    net: Segments, directors: tuple[Director, Director]
) -> None:
    """That the transfers above go on because of the same choice, and not whatever is chosen."""
    first, second = directors
    first.follow(rows(sessions=False))
    running = [Http(net.namespace("client"), address(number, 4), VIPS[4], BIG_FILE) for number in CLIENTS]
    first.leave()
    second.follow(replace(rows(sessions=False), hash_key=b"another key, 16B"))
    broken = 0
    for transfer in running:
        try:
            transfer.finish()
        except ConnectionResetError:
            broken += 1
    assert broken
