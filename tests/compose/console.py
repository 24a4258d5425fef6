"""What the console says, for tests that do not look at pages."""

from __future__ import annotations

import json
import subprocess

from tests.compose.compose import ROOT, Project


def states(project: Project) -> dict[str, str]:
    """State of each service at the lab's VIP, by the service's name."""
    command = project.command("exec", "-T", "web", "python", "manage.py", "halfpipe_status", "--json")
    # It ends with 1 when something is not as it should be, which is what some tests wait for.
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=project.environment, cwd=ROOT, check=False
    )
    assert done.returncode in {0, 1}, done.stderr
    return {
        row["service"]: row["state"] for row in json.loads(done.stdout)["services"] if row["address"] == project.vip
    }
