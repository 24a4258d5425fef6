"""All commands with their code."""

from __future__ import annotations

from collections.abc import Iterator

from webui.nscli import groups
from webui.nscli.commands import bindings, objects, shows, stats, system
from webui.nscli.context import Entry


def entries() -> Iterator[Entry]:
    """Every command once."""
    for module in (objects, bindings, shows, stats, system, groups):
        yield from module.entries()
