"""What the containers of docker-compose.yml do before and after the processes they are for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dataplane.container import hostnet, prepare
from dataplane.container.prepare import SettingError
from dataplane.container.runtime_lock import runtime_part

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / ".env.example").read_text()
KNOWN = prepare.known_settings(EXAMPLE)


def test_every_setting_of_the_compose_file_is_explained_and_none_is_that_it_does_not_have() -> None:
    used = set(re.findall(r"\$\{([A-Z_0-9]+)", (ROOT / "docker-compose.yml").read_text()))
    assert used == KNOWN


def test_the_defaults_of_the_example_are_those_of_the_compose_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = set(re.findall(r"\$\{([A-Z_0-9]+):-([^}]*)\}", text))
    assert len(used) == len({name for name, _default in used})  # one default each
    told = dict(re.findall(r"^#([A-Z_0-9]+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert told == {name: default for name, default in used if name in told}


def test_a_setting_that_nobody_reads_is_named() -> None:
    prepare.require_known(EXAMPLE, KNOWN)
    with pytest.raises(SettingError, match=r"^HALFPIPE_INTERFACE in \.env is no setting of Halfpipe: "):
        prepare.require_known("# a comment=1\nexport HALFPIPE_INTERFACE=eth0\nBPF_CAP=BPF\n", KNOWN)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"COMPOSE_PROFILES": "hosts"}, "COMPOSE_PROFILES=hosts is no profile: use host or lab."),
        ({"COMPOSE_PROFILES": "host,lab", "HALFPIPE_INTERFACES": "a"}, "asks for both profiles"),
        ({"COMPOSE_PROFILES": "host", "HALFPIPE_INTERFACES": " "}, "HALFPIPE_INTERFACES is not set"),
        ({"HALFPIPE_LOG_LEVEL": "loud"}, "HALFPIPE_LOG_LEVEL=loud is no level: use DEBUG, INFO, WARNING, ERROR."),
        ({"LAB_PREFIX": "10.77"}, "LAB_PREFIX=10.77 is not the beginning of an IPv4 network"),
        ({"LAB_PREFIX": "10.77.0.0"}, "LAB_PREFIX=10.77.0.0 is not"),
    ],
)
def test_a_setting_without_sense_is_named_with_its_value(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingError, match=re.escape(sentence)):
        prepare.require_sense(environment)


@pytest.mark.parametrize("environment", [{}, {"COMPOSE_PROFILES": "lab"}, {"COMPOSE_PROFILES": ""}])
def test_the_lab_needs_no_setting(environment: dict[str, str]) -> None:
    prepare.require_sense(environment)


def test_the_compose_file_keeps_the_specification_that_compose_2_implements() -> None:
    """github.com/compose-spec/compose-spec; Compose 1.29 itself reads the file in the containers' tests."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, ROOT / "docker-compose.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def volumes(tmp_path: Path) -> tuple[Path, Path]:
    own, postgres = tmp_path / "own", tmp_path / "postgres"
    own.mkdir()
    postgres.mkdir()
    return own, postgres


def test_secrets_are_made_once_for_their_owner_alone(volumes: tuple[Path, Path]) -> None:
    own, postgres = volumes
    assert prepare.make_secrets(own, postgres)
    files = (own / "pgpass", postgres / "password")
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    before = [file.read_text() for file in files]
    password = before[1].strip()
    assert re.fullmatch(r"[0-9a-f]{48}", password)
    assert before[0] == f"*:*:*:halfpipe:{password}\n"
    assert not prepare.make_secrets(own, postgres)
    assert [file.read_text() for file in files] == before


def test_a_password_that_is_left_in_one_place_alone_is_not_replaced(volumes: tuple[Path, Path]) -> None:
    own, postgres = volumes
    prepare.make_secrets(own, postgres)
    (own / "pgpass").unlink()
    with pytest.raises(SettingError, match="Of the volumes secrets and postgres-secret one was removed"):
        prepare.make_secrets(own, postgres)
    assert not (own / "pgpass").exists()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("eth0", ""),
        (" eth0 , eth1,", ""),
        ("", "HALFPIPE_INTERFACES is not set: .* This machine has eth0, eth1."),
        ("eth0,eth7", "HALFPIPE_INTERFACES names eth7, which this machine does not have. It has eth0, eth1."),
    ],
)
def test_interfaces_that_are_not_there_are_named(named: str, said: str) -> None:
    assert re.fullmatch(said, hostnet.complaint(named, {"eth1", "eth0"}))


def test_who_may_not_send_pings_is_told_what_to_set() -> None:
    assert hostnet.ping_advice("0\t2147483647\n") == ""
    assert hostnet.ping_advice("999 999") == ""
    assert "net.ipv4.ping_group_range='999 999'" in hostnet.ping_advice("1\t0\n")


def test_the_image_gets_what_runs_with_its_hashes_and_no_tool_of_development() -> None:
    part = runtime_part((ROOT / "requirements.lock").read_text())
    names = set(re.findall(r"^([a-z0-9._-]+)==", part, re.MULTILINE))
    assert {"django", "celery", "kombu", "packaging", "psycopg", "psycopg-binary", "cffi"} <= names
    assert names.isdisjoint({"pytest", "uv", "playwright", "scapy", "mypy", "ruff", "hypothesis"})
    assert all("--hash=sha256:" in entry for entry in re.split(r"^(?=[a-z])", part, flags=re.MULTILINE) if entry)


def test_a_lock_without_the_projects_packages_is_refused() -> None:
    with pytest.raises(ValueError, match="No entry of the lock is wanted by halfpipe"):
        runtime_part("pytest==1 \\\n    --hash=sha256:00\n    # via halfpipe (pyproject.toml:dev)\n")
