"""install-packages.sh with stand-ins for dpkg, apt and systemctl: what it asks of them, and what it leaves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "dataplane" / "lab" / "install-packages.sh"

# `installed` lists the packages; apt-get adds what it is told to install, and a service that came along.
STUBS = {
    "dpkg-query": """
case "$1" in
--show) sed 's/$/ installed/' installed; echo 'removed-one config-files' ;;
--listfiles) [ "$2" = web-server ] && printf '%s\\n' /etc/init.d/web-server /lib/systemd/system/web-server.service \\
    /lib/systemd/system/web-server.socket /lib/systemd/system/web-server@.service /usr/bin/web-server ;;
esac""",
    "apt-get": """
echo "apt-get $*" >>asked
"$POLICY_RC_D" && echo 'policy: start' >>asked || echo "policy: $?" >>asked
case "$*" in *install*) [ ! -e fail ] || exit 100; printf '%s\\n' curl web-server libweb >installed ;; esac""",
    "systemctl": 'echo "systemctl $*" >>asked',
    "id": "echo ${FAKE_UID:-0}",
}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    for name, body in STUBS.items():
        stub = tmp_path / "bin" / name
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(f"#!/bin/bash\n{body}\n")
        stub.chmod(0o755)
    (tmp_path / "installed").write_text("curl\n")
    (tmp_path / "asked").touch()

    def call(*packages: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *packages],
            cwd=tmp_path,
            env={
                "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                "POLICY_RC_D": str(tmp_path / "policy-rc.d"),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    return call


Run = Callable[..., subprocess.CompletedProcess[str]]


def test_nothing_is_asked_of_apt_when_everything_is_there(run: Run, tmp_path: Path) -> None:
    assert run("curl").returncode == 0
    assert (tmp_path / "asked").read_text() == ""


def test_what_is_missing_is_installed_without_starting_it_and_its_services_are_disabled(
    run: Run, tmp_path: Path
) -> None:
    done = run("curl", "web-server")
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[-1] for line in asked[:2]] == ["update", "101"]
    assert asked[2].endswith("install --no-install-recommends web-server")
    assert asked[3:] == ["policy: 101", "systemctl disable web-server.service", "systemctl disable web-server.socket"]
    assert not (tmp_path / "policy-rc.d").exists()


def test_a_package_that_was_removed_but_configured_counts_as_missing(run: Run, tmp_path: Path) -> None:
    run("removed-one")
    assert "install --no-install-recommends removed-one" in (tmp_path / "asked").read_text()


def test_the_policy_goes_also_when_the_installation_fails(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fail").touch()
    assert run("web-server").returncode == 100
    assert "policy: 101" in (tmp_path / "asked").read_text()
    assert "systemctl" not in (tmp_path / "asked").read_text()
    assert not (tmp_path / "policy-rc.d").exists()


def test_the_machines_own_policy_is_respected_and_kept(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    policy.chmod(0o755)
    assert run("web-server").returncode == 0
    assert "policy: start" in (tmp_path / "asked").read_text()
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_policy_that_an_interrupted_run_left_is_removed(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\n# made by halfpipe install-packages\nexit 101\n")
    policy.chmod(0o755)
    assert run("web-server").returncode == 0
    assert not policy.exists()


def test_without_root_the_missing_packages_are_named(run: Run, tmp_path: Path) -> None:
    done = run("curl", "web-server", FAKE_UID="1000")
    assert done.returncode == 1
    assert "Packages are missing: web-server." in done.stderr
    assert (tmp_path / "asked").read_text() == ""
