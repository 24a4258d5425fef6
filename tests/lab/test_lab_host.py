"""What the lab says of a machine that cannot run it; programs that fail stand in for kernels that lack something."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataplane.lab import host, session
from dataplane.lab.errors import LabError
from dataplane.lab.netns import NETNS_DIR
from dataplane.lab.topology import quietly

pytestmark = pytest.mark.kernel


@pytest.fixture
def bpffs(needs_root: None, tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "bpf"
    host.mount_bpffs(place)
    try:
        yield place
    finally:
        while place in session.mounts_below(place):
            quietly(["umount", str(place)])


@pytest.fixture
def break_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Have a program fail with a text when its arguments contain a word, and work as ever otherwise."""

    def replace(program: str, word: str, text: str) -> None:
        real = quietly(["sh", "-c", f"command -v {program}"]).stdout.strip()
        stub = tmp_path / "bin" / program
        stub.parent.mkdir(exist_ok=True)
        body = f'case " $* " in *" {word} "*) echo "{text}" >&2; exit 2 ;; esac\nexec {real} "$@"\n'
        stub.write_text(f"#!/bin/sh\n{body}")
        stub.chmod(0o755)
        monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")

    return replace


def test_this_kernel_has_all_that_is_needed_and_the_trial_leaves_nothing(bpffs: Path, prefix: str) -> None:
    host.require_kernel_features(bpffs, f"{prefix}check")
    assert not (bpffs / "feature-check").exists()
    assert not (NETNS_DIR / f"{prefix}check").exists()


@pytest.mark.parametrize(
    ("failure", "feature"),
    [
        (("ip", "netns", "mount: Operation not permitted"), "network namespaces"),
        (("ip", "veth", "Error: Unknown device type."), "veth"),
        (("ip", "bridge", "Error: Unknown device type."), "bridges"),
        (("ip", "fd77::1/64", "RTNETLINK answers: Operation not supported"), "IPv6"),
        (("tc", "clsact", "Error: Specified qdisc kind is unknown."), "clsact"),
        (("tc", "filter", "Error: TC classifier not found."), "BPF classifiers"),
        (("bpftool", "create", "Error: map create failed: Function not implemented"), "BPF maps"),
    ],
)
def test_a_missing_feature_is_named_with_what_was_tried(
    bpffs: Path,
    prefix: str,
    break_program: Callable[[str, str, str], None],
    failure: tuple[str, str, str],
    feature: str,
) -> None:
    program, _, said = failure
    break_program(*failure)
    with pytest.raises(LabError) as error:
        host.require_kernel_features(bpffs, f"{prefix}check")
    assert str(error.value).startswith(f"This kernel lacks {feature}")
    assert said in str(error.value)
    assert f"`{program} " in str(error.value)
    assert not (NETNS_DIR / f"{prefix}check").exists()
    assert not (bpffs / "feature-check").exists()


@pytest.mark.usefixtures("needs_root")
def test_a_kernel_without_bpffs_is_told(tmp_path: Path, break_program: Callable[[str, str, str], None]) -> None:
    break_program("mount", "bpf", "unknown filesystem type 'bpf'.")
    with pytest.raises(LabError, match=r"No bpffs \(CONFIG_BPF_SYSCALL\): .*unknown filesystem type 'bpf'"):
        host.mount_bpffs(tmp_path / "bpf")


def test_missing_programs_are_told_by_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"apt-get install .*redis-server tftpd-hpa"):
        host.require_tools()


def test_an_address_that_is_not_ours_is_no_busy_port() -> None:
    with pytest.raises(LabError, match=r"Port 8000 on 192\.0\.2\.1 cannot be used: Cannot assign requested address\."):
        host.require_port("192.0.2.1", 8000)


def test_root_without_capabilities_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "read_text", lambda _path: "Name:\tpython\nCapEff:\t0000000000001000\n")
    with pytest.raises(LabError, match="lacks the capability SYS_ADMIN"):
        host.require_root()
