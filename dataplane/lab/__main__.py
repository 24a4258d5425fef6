"""``python -m dataplane.lab up|down|status``; needs nothing but the standard library and the system's packages."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dataplane.lab import lab
from dataplane.lab.errors import LabError
from dataplane.lab.paths import Paths
from dataplane.lab.topology import Topology

NOT_RUNNING = 3  # exit code of `status`, as that of systemctl


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dataplane.lab", description="The lab of Halfpipe.")
    parser.add_argument("command", choices=("up", "down", "status"))
    parser.add_argument("--port", type=int, default=8000, help="TCP port of the console on 127.0.0.1")
    options = parser.parse_args()
    if not 1 <= options.port <= 65535:
        parser.error(f"--port {options.port} is no TCP port: use 1 to 65535")
    # `su` leaves the directories of system programs out of PATH.
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
    paths = Paths(Path(__file__).resolve().parents[2])
    try:
        if options.command == "up":
            lab.Lab(paths, Topology(), options.port).up()
        elif options.command == "down":
            lab.down(paths)
        else:
            told = lab.describe(paths)
            print(told or "No lab is running.")
            return 0 if told else NOT_RUNNING
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
