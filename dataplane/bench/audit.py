"""The review of the audit: what its pages take when there are a million entries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dataplane.bench.probes import Place, every_cpu
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import BenchError

ENTRIES = 1_000_000
SLOWEST = Goal("≤", 200.0)  # milliseconds
PATIENCE = 1800.0  # seconds


def measure() -> list[Figure]:
    """A figure for each filter: its slowest page, in SQLite. Raises BenchError."""
    with every_cpu(), TemporaryDirectory(prefix="halfpipe-bench") as folder:
        place = Place(Path(folder))
        place.python("manage.py", "migrate", "--verbosity", "0")
        command = [sys.executable, "-m", "dataplane.bench.audit_rows", "--entries", str(ENTRIES)]
        done = subprocess.run(
            command, env=place.environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            raise BenchError(f"the audit's pages: {done.stderr.strip() or done.stdout.strip()}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    filled = found.pop("filled in s")
    title = f"Audit: the slowest page of each filter, {ENTRIES:,} entries"
    figures = [Figure(title, name, "ms", value, goal=SLOWEST) for name, value in found.items()]
    return [*figures, Figure(title, "filling it", "s", filled)]
