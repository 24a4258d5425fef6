"""The Compose lab, built and started once for all tests of this folder: run by `make compose-test`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.compose.compose import COUNT, FIRST, Project, compose_command, run

READY_SECONDS = 180


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests to those who ask for them: they build images and need Docker."""
    if "compose" in config.option.markexpr:
        return
    ours = [item for item in items if item.get_closest_marker("compose")]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="session")
def docker() -> None:
    """A daemon that answers, and Compose."""
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("Docker is not installed")
    if done.returncode != 0:
        pytest.skip(f"the Docker daemon does not answer: {done.stderr.strip()}")
    if not compose_command():
        pytest.skip("neither docker-compose nor `docker compose` is installed")


def project(kind: str, profile: str, **settings: str) -> Project:
    """A project that no other test run has."""
    number = os.getpid()
    return Project(f"hp{kind}{number}", profile, f"10.{200 + number // 256 % 50}.{number % 256}", settings=settings)


@pytest.fixture(scope="session")
def images(docker: None) -> None:
    """The images, built as everyone builds them."""
    project("build", "lab").compose("build", seconds=600)


@pytest.fixture(scope="module")
def lab(images: None) -> Iterator[Project]:
    made = project("lab", "lab")
    try:
        made.compose("up", "--detach", seconds=READY_SECONDS)
        code = run("docker", "wait", made.container("example"), seconds=READY_SECONDS).strip()
        assert code == "0", made.logs()
        add = "".join(f"address add {made.prefix}.{FIRST + n}/24 dev eth0\n" for n in range(COUNT))
        made.exec("client", "ip", "-batch", "-", text=add)
        yield made
    except BaseException:
        print(made.logs())  # noqa: T201 - pytest shows it with what failed
        raise
    finally:
        made.down()
