"""A Compose project of one test run: own name, own networks, a free port, and nothing of it left in the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "halfpipe-test"
LOAD = Path(__file__).with_name("load.py").read_text()
NO_SETTINGS = "tests/compose/no-settings.env"  # not the .env of whoever works in this checkout
ENOUGH = "/tmp/enough"  # noqa: S108 - a path in a container
FIRST, COUNT = 100, 60  # of the client's addresses


def compose_command() -> list[str]:
    """Compose 1 or 2, whichever this machine has; empty without one."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    found = shutil.which("docker") and subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    )
    return ["docker", "compose"] if found and found.returncode == 0 else []


def run(*command: str, text: str = "", seconds: float = 120, env: Mapping[str, str] | None = None) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=seconds, env=env, cwd=ROOT, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Return how many seconds it took; fails when they are over."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return time.monotonic() - begun


@dataclass
class Project:
    """One project, by its profile."""

    name: str
    profile: str
    prefix: str  # of the lab's network: three numbers
    port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def vip(self) -> str:
        return f"{self.prefix}.10"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HALFPIPE_", "COMPOSE_"))}
        return (
            kept
            | {
                "COMPOSE_PROJECT_NAME": self.name,
                "IMAGE_NAME": IMAGE,
                "LAB_PREFIX": self.prefix,
                "CONSOLE_PORT": str(self.port),
            }
            | self.settings
        )

    def command(self, *arguments: str) -> list[str]:
        return [*compose_command(), "--env-file", NO_SETTINGS, "--profile", self.profile, *arguments]

    def compose(self, *arguments: str, seconds: float = 120) -> str:
        return run(*self.command(*arguments), seconds=seconds, env=self.environment)

    def exec(self, service: str, *command: str, text: str = "") -> str:
        return run(*self.command("exec", "-T", service, *command), text=text, env=self.environment)

    def tried(self, service: str, *command: str) -> tuple[int, str]:
        """Exit code and output of a command that may fail."""
        full = self.command("exec", "-T", service, *command)
        done = subprocess.run(
            full, capture_output=True, text=True, timeout=60, env=self.environment, cwd=ROOT, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def well(self, service: str, process: str = "") -> bool:
        """Whether the process says now that it does its work; Docker asks the same, less often."""
        return self.tried(service, "python", "manage.py", "healthy", process or service)[0] == 0

    def logs(self, *services: str) -> str:
        done = subprocess.run(
            self.command("logs", "--no-color", *services),
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment,
            cwd=ROOT,
            check=False,
        )
        return done.stdout + done.stderr

    def container(self, service: str) -> str:
        """The container's id, also of one that has ended."""
        label = f"label=com.docker.compose.service={service}"
        project = f"label=com.docker.compose.project={self.name}"
        return run("docker", "ps", "--all", "--quiet", "--filter", project, "--filter", label).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(run("docker", "inspect", self.container(service)))
        return found[0]

    def healthy(self, service: str) -> bool:
        """Whether Docker's own health check says so now."""
        return bool(self.inspect(service)["State"]["Health"]["Status"] == "healthy")

    def namespace(self, service: str) -> str:
        """The network namespace, as dataplane.lab.netns takes it."""
        return f"/proc/{self.inspect(service)['State']['Pid']}/ns/net"

    def down(self) -> None:
        """Take everything away."""
        self.compose("down", "--volumes", "--remove-orphans")

    def remains(self) -> list[str]:
        """What Docker still has of this project."""
        kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        label = f"label=com.docker.compose.project={self.name}"
        return [line for kind in kinds for line in run("docker", *kind, "--quiet", "--filter", label).split()]

    # The lab's client

    def ask(self, number: int) -> dict[str, Any]:
        """So many requests from the client's addresses in turn."""
        arguments = ("python", "-", self.vip, self.prefix, str(FIRST), str(COUNT), str(number))
        found: dict[str, Any] = json.loads(self.exec("client", *arguments, text=LOAD))
        return found

    def servers(self) -> dict[str, str]:
        """Who answers each of the client's addresses; none may fail."""
        found = self.ask(COUNT)
        assert found["failures"] == {}, found["failures"]
        return {source: next(iter(answers)) for source, answers in found["answers"].items()}

    @contextmanager
    def load(self) -> Iterator[dict[str, Any]]:
        """Requests without a pause during the block; the result is there afterwards."""
        result: dict[str, Any] = {}
        self.exec("client", "rm", "-f", ENOUGH)
        arguments = ("python", "-", self.vip, self.prefix, str(FIRST), str(COUNT), "until", ENOUGH)
        with subprocess.Popen(
            self.command("exec", "-T", "client", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=ROOT,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(LOAD)
            process.stdin.close()
            process.stdin = None
            try:
                yield result
            finally:
                self.exec("client", "touch", ENOUGH)
                output, _errors = process.communicate(timeout=30)
        result |= json.loads(output)
