"""All commands with their code."""

from __future__ import annotations

from collections.abc import Iterator

from webui.nscli.commands import bindings, objects, servicegroups, shows, stats, system
from webui.nscli.context import Entry


def entries() -> Iterator[Entry]:
    """Every command once."""
    for module in (objects, servicegroups, bindings, shows, stats, system):
        yield from module.entries()
