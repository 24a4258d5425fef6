"""The kinds of monitors: every folder of ``monitors/kinds`` with a ``kind.py`` that has a ``KIND``."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec

from monitors import kinds
from monitors.kind import Kind
from monitors.spec import ProbeResult, ProbeSpec


def discover() -> dict[str, Kind]:
    """All kinds by name, sorted. Raises ValueError when a folder and the kind in it have different names."""
    found = []
    for module in pkgutil.iter_modules(kinds.__path__):
        if find_spec(f"monitors.kinds.{module.name}.kind") is None:
            continue
        kind: Kind = import_module(f"monitors.kinds.{module.name}.kind").KIND
        if kind.folder != module.name:
            msg = f"Kind {kind.name} is in monitors/kinds/{module.name}; its folder must be {kind.folder}."
            raise ValueError(msg)
        found.append(kind)
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.name)}


KINDS: dict[str, Kind] = discover()


async def run(spec: ProbeSpec) -> ProbeResult:
    """Run the probe of ``spec.kind``; raises KeyError for a kind that does not exist."""
    kind = KINDS[spec.kind]
    if spec.problem:
        return ProbeResult(success=False, message=spec.problem, duration=0.0, sent=False)
    if kind.needs_port and not spec.port:
        message = "no port to connect to: the service's port is * and the monitor has no destination port"
        return ProbeResult(success=False, message=message, duration=0.0, sent=False)
    return await kind.probe(spec)
