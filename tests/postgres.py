"""A PostgreSQL server of the tests' own, for those that must hold on both databases."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.monitors.kinds.places import public_folder
from tests.ports import free_port

PATIENCE = 60.0  # seconds


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database, as HALFPIPE_DATABASE_URL has it; the server is on the loopback alone."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("postgresql is not installed (`make test` installs it)")
    programs = found[-1].parent
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    with public_folder() as folder:
        data = folder / "data"
        data.mkdir(mode=0o700)
        if user:
            shutil.chown(data, user)
            shutil.chown(folder, user)
        made = subprocess.run(
            [*as_user, programs / "initdb", "-D", data, "-U", "halfpipe", "-E", "UTF8", "--no-sync", "-A", "trust"],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            env=environment,
            cwd="/",
        )
        assert made.returncode == 0, made.stderr.decode()
        port = free_port()
        options = f"listen_addresses=127.0.0.1 port={port} unix_socket_directories= fsync=off max_connections=30"
        flags = [flag for option in options.split(" ") for flag in ("-c", option)]
        server = subprocess.Popen(
            [*as_user, programs / "postgres", "-D", data, *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
        )
        try:
            _wait_until_ready(data / "postmaster.pid")
            yield f"postgres://halfpipe@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()  # waits for clients; there are none left
            try:
                server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_until_ready(state: Path) -> None:
    """It listens before it takes anybody: the last line of this file tells when it does (pidfile.h)."""
    deadline = time.monotonic() + PATIENCE
    while not state.exists() or state.read_text().splitlines()[7:8] != ["ready   "]:
        assert time.monotonic() < deadline, "PostgreSQL did not start"
        time.sleep(0.02)
