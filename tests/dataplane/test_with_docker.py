"""dataplane/container/with-docker.sh, with programs in the place of Docker's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "dataplane" / "container" / "with-docker.sh"
CANNOT = 77


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A Docker that answers and has every image; nothing of the machine is touched."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("docker", "dockerd", "docker-compose", "systemctl", "iptables", "iptables-save", "iptables-restore"):
        program(folder, name, "exit 0")
    program(folder, "ip", "exit 0")
    return folder


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "STAND_INS": str(programs / "stand-ins")}
    return subprocess.run(
        [SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_runs_and_its_exit_code_is_passed_on(programs: Path) -> None:
    done = run(programs, "sh", "-c", "echo here; exit 5")
    assert (done.returncode, done.stdout, done.stderr) == (5, "here\n", "")


def test_a_daemon_that_does_not_start_is_a_reason_to_skip(programs: Path) -> None:
    program(programs, "docker", "exit 1")
    program(programs, "dockerd", "echo 'failed to start daemon: no cgroups'; exit 1")
    program(programs, "systemctl", "exit 1")
    done = run(programs, "echo", "never")
    assert done.returncode == CANNOT
    assert done.stdout == ""
    assert done.stderr.startswith("Docker cannot run here: ")
    expected = ("failed to start daemon: no cgroups", "systemctl could not start it", "starting one needs root")
    assert any(text in done.stderr for text in expected)


def test_base_images_that_cannot_be_had_are_named(programs: Path) -> None:
    program(programs, "docker", 'case "$1 $2 $3" in "image inspect redis:7" | "pull --quiet redis:7") exit 1 ;; esac')
    done = run(programs, "echo", "never")
    assert (done.returncode, done.stdout) == (CANNOT, "")
    assert done.stderr == "Docker cannot run here: no registry gives redis:7.\n"


def test_what_no_registry_gives_is_made_by_the_stand_ins(programs: Path) -> None:
    program(programs, "docker", '[ "$1" = info ]')
    program(programs, "stand-ins", 'echo "made $*"')
    done = run(programs, "echo", "then")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["made debian python redis postgres", "then"]


def test_an_image_that_is_here_is_not_asked_of_a_registry(programs: Path) -> None:
    program(programs, "docker", 'if [ "$1" = pull ]; then echo "pulled $3" >&2; fi')
    assert run(programs, "true").stderr == ""
