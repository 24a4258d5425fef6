"""``python -m dataplane.bench``: measure, print a table, write JSON. Needs root and the compiled objects."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from dataplane.bench import (
    audit,
    configurations,
    console,
    control,
    forwarder,
    harness,
    imports,
    loss,
    packets,
    pages,
    probes,
    reaction,
    rings,
    sandbox,
    veth,
)
from dataplane.bench.harness import Harness
from dataplane.bench.results import Figure, table
from dataplane.bench.sandbox import BenchError, Sandbox

BUILD = Path("build")


@dataclass(slots=True)
class Bench:
    """What the parts need, and what they found. ``skipped``: lines with what was not measured, and why."""

    object_path: Path
    xdp: forwarder.XdpObject | None
    harness_path: Path
    sandbox: Sandbox
    show: Callable[[str], None]
    loss_object: Path = BUILD / "loss.bpf.o"
    changes: int = loss.CHANGES
    figures: list[Figure] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    programs: Harness | None = None

    @property
    def harness(self) -> Harness:
        """The benchmark's own programs, loaded for the first part that needs them."""
        if self.programs is None:
            self.programs = harness.load(self.harness_path)
        return self.programs

    def close(self) -> None:
        """Give back what was loaded."""
        if self.programs is not None:
            self.programs.close()

    def add(self, found: list[Figure]) -> None:
        """Keep and show."""
        self.figures += found
        self.show(table(found))

    def packets(self) -> None:
        """What a frame costs."""
        found: list[Figure] = []
        for case in packets.cases():
            with self._loaded() as loaded:
                loaded.fill(configurations.desired(case.size))
                found.append(packets.measure(case, "tc", loaded.forwarder.ingress_fd, self.harness, loaded))
                if self.xdp:
                    with self.xdp.program(loaded.forwarder.folder) as program:
                        found.append(packets.measure(case, "xdp", program, self.harness, loaded))
        if not self.xdp:
            self.skipped.append("XDP: no object beside the forwarder's has an XDP program")
            self.show(f"skipped: {self.skipped[-1]}\n")
        found += packets.hit_to_sessionless(found)
        self.add(sorted(found, key=lambda figure: figure.section))

    def veth(self) -> None:
        """End to end."""
        for name, size in veth.SIZES.items():
            with self._loaded() as loaded:
                loaded.fill(configurations.desired(size))
                self.add(veth.measure(self.harness, loaded, name, size))

    def control(self) -> None:
        """The control plane. The last load is that of the rounds."""
        found: list[Figure] = []
        for name, size in control.FULL_LOADS.items():
            with self._loaded() as loaded:
                found.append(control.full_load(loaded, name, size))
                if size == control.CHANGED:
                    found += [*control.rounds(loaded), *control.memory(loaded)]
        found += control.committed(self.object_path, self.sandbox.bpffs / "committed")
        self.add(found)

    def rings(self) -> None:
        """What the ring's size costs."""
        self.add([*rings.measure()])

    def probes(self) -> None:
        """What the health checks cost."""
        for figure in probes.measure():
            self.add([figure])

    def reaction(self) -> None:
        """How long a server's failure takes to reach the table."""
        self.add([*reaction.measure(self.sandbox, self.object_path)])

    def loss(self) -> None:
        """Whether a frame gets lost while things change."""
        plan = loss.Plan(changes=self.changes)
        self.add(loss.measure(self.object_path, self.loss_object, self.sandbox.bpffs / "loss", plan))

    def browsers(self) -> None:
        """What browsers cost that look at the console."""
        for figure in console.measure():
            self.add([figure])

    def pages(self) -> None:
        """How soon pages are there."""
        for figure in pages.measure():
            self.add([figure])

    def audit(self) -> None:
        """How long the audit's pages take."""
        self.add(audit.measure())

    def imports(self) -> None:
        """How fast a saved configuration is imported."""
        self.add(imports.measure())

    def _loaded(self) -> AbstractContextManager[forwarder.Loaded]:
        return forwarder.loaded(self.object_path, self.sandbox.bpffs / "forwarder")


PARTS: dict[str, Callable[[Bench], None]] = {
    "packets": Bench.packets,
    "veth": Bench.veth,
    "control": Bench.control,
    "rings": Bench.rings,
    "probes": Bench.probes,
    "reaction": Bench.reaction,
    "loss": Bench.loss,
    "browsers": Bench.browsers,
    "pages": Bench.pages,
    "audit": Bench.audit,
    "imports": Bench.imports,
}


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    models = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count() or 1,
        "kernel": platform.release(),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _cpu_lines() -> Iterator[str]:
    yield from Path("/proc/cpuinfo").read_text().splitlines()


def _show(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Run the parts asked for; what is to be written as JSON. Raises BenchError and OSError."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    where = machine()
    _show(", ".join(f"{name} {value}" for name, value in where.items()) + "\n")
    with TemporaryDirectory(prefix="halfpipe-bench") as folder, sandbox.entered(Path(folder)) as place:
        bench = Bench(options.object, forwarder.find_xdp(options.object.parent), options.harness, place, _show)
        try:
            bench.loss_object, bench.changes = options.harness.with_name("loss.bpf.o"), options.changes
            for part in options.only or PARTS:
                PARTS[part](bench)
        finally:
            bench.close()
    goals = [figure.goal.met(figure.value) for figure in bench.figures if figure.goal]
    _show(f"{sum(goals)} of {len(goals)} goals met")
    return {
        "machine": where,
        "skipped": bench.skipped,
        "figures": [figure.as_json() for figure in bench.figures],
    }


def main(arguments: list[str] | None = None) -> int:
    """0 when everything was measured, whether or not the goals are met; 1 when something could not be."""
    parser = argparse.ArgumentParser(prog="dataplane.bench", description=__doc__)
    parser.add_argument("--object", type=Path, default=BUILD / "forward.bpf.o", help="the forwarder")
    parser.add_argument("--harness", type=Path, default=BUILD / "bench.bpf.o", help="the benchmark's own programs")
    parser.add_argument("--output", type=Path, default=BUILD / "bench.json", help="where the figures go")
    parser.add_argument("--only", action="append", choices=sorted(PARTS), help="measure this part only (repeatable)")
    parser.add_argument("--changes", type=int, default=loss.CHANGES, help="how many the part loss makes")
    options = parser.parse_args(arguments)
    try:
        found = measure(options)
    except (BenchError, OSError) as error:
        sys.stderr.write(f"The bench stopped: {error}\n")
        return 1
    options.output.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    _show(f"written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
