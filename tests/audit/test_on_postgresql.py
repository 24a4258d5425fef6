"""All tests of the audit once more, on PostgreSQL: in a process of their own, as settings are read once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import postgres

HERE = Path(__file__)


@pytest.mark.skipif("postgres" in os.environ.get("HALFPIPE_DATABASE_URL", ""), reason="this is PostgreSQL")
def test_the_audit_holds_on_postgresql() -> None:
    with postgres() as url:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:playwright", "-p", "no:cacheprovider", "-q", str(HERE.parent)],
            cwd=HERE.parents[2],
            env=os.environ | {"HALFPIPE_DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
