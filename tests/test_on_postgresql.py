"""Tests of what the database decides once more, on PostgreSQL: locks, JSON, triggers, constraints, order and LIKE.

In a process of their own, as settings are read once. Those that only draw pages are left to SQLite, and hypothesis
makes a part of its examples.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import examples
from tests.postgres import postgres

ROOT = Path(__file__).parents[1]
PARTS = (
    "tests/audit",
    "tests/api/test_api.py",
    "tests/api/test_servicegroups.py",
    "tests/api/test_statuses.py",
    "tests/webui/test_access.py",
    "tests/webui/test_actions.py",
    "tests/webui/test_actions_checks.py",
    "tests/webui/test_actions_commands.py",
    "tests/webui/test_consumer.py",
    "tests/webui/test_dryrun.py",
    "tests/webui/test_one_change.py",
    "tests/webui/test_revisions.py",
    "tests/webui/test_roles.py",
    "tests/webui/nscli",
)
# Pages and words, which are the same on every database, and kinds of monitors, which the round trip draws as well.
LEFT_OUT = (
    "tests/webui/nscli/test_grammar.py",
    "tests/webui/nscli/test_page.py",
    "tests/webui/nscli/test_round_trip.py::test_monitors_of_every_kind_come_back",
    "tests/webui/test_roles.py::test_a_role_sees_the_pages_that_it_may",
)
PATIENCE = 900.0  # seconds


@pytest.mark.skipif("postgres" in os.environ.get("HALFPIPE_DATABASE_URL", ""), reason="this is PostgreSQL")
@pytest.mark.timeout(PATIENCE + 60)
def test_the_console_holds_on_postgresql() -> None:
    leave_out = [f"--deselect={one}" for one in LEFT_OUT]
    with postgres() as url:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:playwright", "-p", "no:cacheprovider", "-q", *leave_out, *PARTS],
            cwd=ROOT,
            env=os.environ | {"HALFPIPE_DATABASE_URL": url, examples.VARIABLE: examples.FEW},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
