"""No frame is lost while the configuration changes, a worker is killed and the forwarder is replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataplane.kernel.loader import xdp_object
from tests.kernel.bench import ROOT, run

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

# A process of its own: its namespaces end with it.
MEASURE = """
import json, sys, time
from pathlib import Path
from pyroute2 import IPRoute
from dataplane.bench import loss, sandbox
from dataplane.kernel.filters import INGRESS_PARENT, remove_filter
from dataplane.kernel.loader import INGRESS

def interrupt():
    with IPRoute() as ip:
        assert remove_filter(ip, sandbox.NEAR_IFINDEX, INGRESS_PARENT, INGRESS)

folder, others = Path(sys.argv[1]), [("an interruption", interrupt)] if sys.argv[2:] else []
with sandbox.entered(folder) as place:
    plan = loss.Plan(changes=40, rate=20_000, kills=2, switch_every=0 if others else 5, others=others)
    found = loss.measure(folder / "forward.bpf.o", folder / "loss.bpf.o", place.bpffs / "loss", plan)
print(json.dumps(found[0].as_json()))
"""


@pytest.fixture
def folder(object_file: Path, tmp_path: Path) -> Path:
    """With both compiled objects."""
    for made in (object_file, xdp_object(object_file)):
        (tmp_path / made.name).symlink_to(made)
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    path = str(ROOT / "dataplane/bench/bpf/loss.bpf.c")
    run("clang", "-O2", "-g", "-target", "bpf", include, "-c", path, "-o", str(tmp_path / "loss.bpf.o"), timeout=60)
    return tmp_path


def measured(folder: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-c", MEASURE, str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_frame_arrives_whatever_becomes_of_worker_and_configuration(folder: Path) -> None:
    """The bench's measurement, shorter; how fast it was does not matter here."""
    figure = measured(folder)
    assert figure["value"] == 0, figure
    assert figure["raw"]["twice"] == 0, figure
    assert figure["raw"]["sent"] > 2000, figure


def test_a_moment_without_the_forwarder_would_show(folder: Path) -> None:
    """That the measurement can fail."""
    assert measured(folder, "interrupt")["value"] > 0
