"""A lab with stand-ins for Halfpipe's processes: ``stand_in.py CHECKOUT RUN PREFIX PORT``; run by the tests."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from dataplane.lab.confine import confined
from dataplane.lab.errors import LabError
from dataplane.lab.lab import Lab
from dataplane.lab.paths import Paths
from dataplane.lab.processes import BASE_ENVIRONMENT, Processes
from dataplane.lab.supervisor import Process, Supervisor
from dataplane.lab.topology import Topology


def wait_for(mark: Path) -> str | None:
    """Tell whether the stand-in has got as far as its mark."""
    return None if mark.exists() else f"no {mark}"


def bring_up(lab: Lab, supervisor: Supervisor) -> None:
    """Start the real Redis and the real servers, and a sleeper for a worker."""
    make = Processes(lab.paths, lab.topology, lab.port)
    supervisor.start(make.redis())
    for node in lab.topology.servers[:1]:
        for process in make.server(node):
            supervisor.start(process)
    show = (lab.paths.checkout, lab.paths.app)
    for name, unprivileged in (("web", True), ("dataplane", False)):
        namespace = lab.topology.namespace("director")
        mark = lab.paths.data / f"{name}-was-here"
        program = ("sh", "-c", f"id -u; pwd; ls; touch .lab/data/{mark.name}; sleep 60 & wait")
        command = confined(program, namespace=namespace, show=show, unprivileged=unprivileged)
        supervisor.start(Process(name, command, BASE_ENVIRONMENT, ready=partial(wait_for, mark), first_delay=0.1))


if __name__ == "__main__":
    checkout, run, prefix, port = sys.argv[1:]
    try:
        Lab(Paths(Path(checkout), Path(run)), Topology(prefix), int(port), bring_up).up()
    except LabError as error:
        sys.exit(f"lab: {error}")
