"""The import of a large ``ns.conf``: how many lines a second, as a dry run and in earnest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dataplane.bench.probes import Place, every_cpu
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import BenchError

FASTEST = Goal("≥", 300.0)  # lines a second
PATIENCE = 600.0  # seconds


def measure() -> list[Figure]:
    """A figure for the dry run and one for the import, in SQLite. Raises BenchError."""
    with every_cpu(), TemporaryDirectory(prefix="halfpipe-bench") as folder:
        place = Place(Path(folder))
        place.python("manage.py", "migrate", "--verbosity", "0")
        command = [sys.executable, "-m", "dataplane.bench.import_rows"]
        done = subprocess.run(
            command, env=place.environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            raise BenchError(f"the import: {done.stderr.strip() or done.stdout.strip()}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    title = f"Import of an ns.conf with {int(found.pop('lines')):,} lines"
    return [Figure(title, name, "lines/s", value, goal=FASTEST) for name, value in found.items()]
