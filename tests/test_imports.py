"""Who may import whom: the layers of the packages, held by reading the imports of every module.

A rule names the modules it is about and what they must not import. Imports for annotations only (``TYPE_CHECKING``)
count as well, except where a rule says otherwise: a layer that needs another's types depends on it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("dataplane", "monitors", "webui")
STANDARD = frozenset(sys.stdlib_module_names)
PURE = tuple(
    f"dataplane.{name}"
    for name in (
        *("desired", "hashing", "compile", "steps", "plan", "plan_text", "apply", "tables", "ports"),
        *("layout", "layout_telemetry", "probing", "reconcile"),
    )
)

# All of the console but the packages that could stand beside it.
CONSOLE = tuple(
    f"webui.{path.stem}"
    for path in sorted((ROOT / "webui").iterdir())
    if path.stem not in {"events", "metrics", "__init__", "__pycache__"}
)

# The console reads what kinds of monitors there are (monitors.registry), and nothing of how they are run.
RUNNING_CHECKS = tuple(
    f"monitors.{name}"
    for name in (
        *("check", "keeper", "lease", "machine", "preview", "question", "runner"),
        *("schedule", "store", "tasks", "trace", "trying", "wire"),
    )
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Modules (with all below them) and the modules (with all below them) that they must not import."""

    about: tuple[str, ...]
    refused: tuple[str, ...]
    why: str


RULES = (
    Rule(
        ("webui.models", "webui.choices"),
        ("dataplane", *RUNNING_CHECKS, "channels", "celery"),
        "rows know nothing of those who read them",
    ),
    Rule(("webui.choices", "webui.live"), ("monitors",), "states and events know no kind of monitor"),
    Rule(("webui.actions", "webui.live"), ("dataplane", *RUNNING_CHECKS), "waking the worker is a message"),
    Rule(
        ("monitors.kind", "monitors.parameters", "monitors.registry"),
        ("monitors.wire.stream",),
        "describing a kind takes no network; its probe is loaded when first used",
    ),
    Rule(("webui.live",), ("webui.models",), "an event is a hint; the row is the truth"),
    Rule(
        ("webui.views", "webui.api", "webui.forms", "webui.monitor_form", "webui.consumers"),
        (
            *("dataplane.kernel", "dataplane.worker", "pyroute2", "webui.events.tasks"),
            *("webui.metrics.tasks", "monitors.tasks", "monitors.preview", "monitors.trying"),
        ),
        "pages do no privileged work",
    ),
    Rule(
        tuple(
            f"webui.events.{name}"
            for name in ("cursor", "kind", "kinds", "mail", "message", "syslog", "webhook", "wire")
        ),
        ("django", "celery", "redis", "webui.metrics", *CONSOLE, "dataplane"),
        "sending can be tested without rows and brokers",
    ),
    Rule(("webui.events",), ("dataplane",), "events and data plane meet in the rows"),
    Rule(("webui.metrics",), ("dataplane",), "history and data plane meet in the rows"),
    Rule(
        ("webui.metrics.series", "webui.metrics.chart"),
        ("django", "celery", "redis", "monitors", "webui.events", *CONSOLE),
        "figures are made without rows",
    ),
    Rule(
        tuple(f"webui.nscli.{name}" for name in ("lexer", "ranges", "grammar", "completion", "families", "layout")),
        ("django", "webui.models", "webui.actions", "monitors"),
        "the grammar of the command line is text alone",
    ),
    Rule(("webui.nscli",), ("dataplane", "channels", *RUNNING_CHECKS), "commands read rows and call actions"),
    Rule(("webui.preview",), ("dataplane.apply", "dataplane.kernel"), "a preview applies nothing"),
    Rule(
        ("webui.explained", "webui.packet_path", "webui.diagram", "webui.dryrun", "webui.moves", "webui.affected"),
        ("dataplane.apply", "dataplane.kernel", "dataplane.worker", "dataplane.reconcile", "pyroute2"),
        "the console computes with rows and pure functions, for it may not ask the kernel",
    ),
    Rule(
        (
            *("monitors.spec", "monitors.kind", "monitors.kinds", "monitors.parameters", "monitors.registry"),
            *("monitors.wire", "monitors.words", "monitors.machine", "monitors.schedule"),
            *("monitors.trace", "monitors.masking"),
        ),
        ("django", "celery", "redis", "webui", "dataplane"),
        "probing can be tested without rows and brokers",
    ),
    Rule(
        tuple(
            f"monitors.{name}"
            for name in ("check", "keeper", "lease", "question", "runner", "store", "tasks", "trying")
        ),
        ("dataplane",),
        "monitors and data plane meet in the rows",
    ),
    Rule(("webui.moves",), ("django", "webui"), "which clients move is worked out without rows"),
    Rule(PURE, ("django", "channels", "pyroute2", "ctypes", "webui", "monitors"), "tables are made without a kernel"),
    Rule(PURE, ("dataplane.kernel", "dataplane.snapshot", "dataplane.report"), "the middle knows ports only"),
    Rule(("dataplane.snapshot", "dataplane.report"), ("dataplane.kernel",), "reading rows needs no privilege"),
    Rule(("dataplane.kernel",), ("django", "webui"), "the privileged part does not know the console"),
)


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(name: str, path: Path) -> Iterator[str]:
    """Dotted names that a module imports anywhere in it; ``from a import b`` gives a and a.b."""
    base = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = base.split(".")[: len(base.split(".")) - node.level + 1]
                source = ".".join([*above, source] if source else above)
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def within(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.about[0]} not {rule.refused[0]}")
def test_no_module_imports_what_its_layer_must_not_know(rule: Rule) -> None:
    breaches = {
        f"{name} imports {target}: {rule.why}"
        for name, path in MODULES.items()
        if within(name, rule.about)
        for target in imported(name, path)
        if within(target, rule.refused)
    }
    assert not breaches, "\n".join(sorted(breaches))


def test_the_pure_middle_imports_the_standard_library_and_itself_only() -> None:
    breaches = [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        if within(name, PURE)
        for target in imported(name, path)
        if target.partition(".")[0] not in STANDARD and not within(target, (*PURE, "dataplane"))
    ]
    assert not breaches


def test_every_pure_module_that_exists_is_found_by_the_rules() -> None:
    assert {"dataplane.plan", "dataplane.compile", "dataplane.desired"} <= MODULES.keys()
    # The reader itself: relative, plain and nested imports.
    assert "dataplane.hashing.maglev" in imported("dataplane.compile", MODULES["dataplane.compile"])


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_have_empty_init_files(name: str) -> None:
    assert not (ROOT / name / "__init__.py").read_text().strip()


@pytest.mark.parametrize("module", ["dataplane.plan", "dataplane.compile", "dataplane.apply"])
def test_the_pure_middle_loads_neither_django_nor_the_kernel(module: str) -> None:
    program = f"import sys, {module}\nprint(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert module in loaded
    heavy = {"django", "pyroute2", "ctypes", "channels", "celery", "webui", "dataplane.kernel"}
    assert heavy.isdisjoint(loaded), heavy & set(loaded)
