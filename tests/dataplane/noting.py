"""A process that notes applied revisions, for tests that kill it: ``python -m tests.dataplane.noting FOLDER COMMAND…``.

Each command is done in turn and then told on standard output; after the last one it waits to be killed.

note N      note that revision N was applied, in N ms and N writes
listen      go on when a line comes by standard input
write       append to the audit what waits
commit      the same, but stop between the database's commit and the removal from the file
forever N   note, report and write as the worker does, from revision N on, telling each as soon as it is noted
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")
django.setup()

from dataplane.applied import Applied  # noqa: E402 - Django must be set up before models are imported
from dataplane.reconcile import Round  # noqa: E402 - as above
from dataplane.report import save_status  # noqa: E402 - as above
from dataplane.spool import Spool  # noqa: E402 - as above

DIRECTOR = "director"


def round_of(revision: int) -> Round:
    """A round without error, of so many milliseconds and writes as the revision has a number."""
    desired: Any = Mock(revision=revision)
    return Round(desired, "", "", drift=False, seconds=revision / 1000, writes=revision)


def tell(what: object) -> None:
    """One line for whoever started this."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def wait(*_args: object) -> None:
    """Tell that this place was reached, and stay there."""
    tell("waits")
    time.sleep(60)


def main(folder: str, commands: list[str]) -> None:
    """Do what the commands say."""
    applied = Applied(DIRECTOR, Path(folder))
    applied.begin()
    for command in commands:
        verb, _, number = command.partition(" ")
        if verb == "note":
            applied.take(round_of(int(number)))
        elif verb == "forever":
            for revision in range(int(number), int(number) + 100_000):
                applied.take(round_of(revision))
                tell(revision)
                save_status(DIRECTOR, applied_revision=revision)
                applied.write()
        elif verb == "listen":
            sys.stdin.readline()
        else:
            if verb == "commit":
                Spool.clear = wait  # type: ignore[assignment]  # its place is what is wanted
            applied.write()
        tell(command)
    wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
