"""One tab of an object's page, whatever the kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from webui.tables import Action, Column, Link, Table


@dataclass(frozen=True)
class Detail:
    """One tab of an object's page. ``row`` is the object as lists show it; ``facts`` are (label, value)."""

    row: dict[str, Any]
    summary: tuple[Column, ...]
    disabled: bool
    facts: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    leaving: bool = False
    built_in: bool = False
    buttons: list[Action] = field(default_factory=list)
    links: list[Action] = field(default_factory=list)
    refresh: bool = False  # whether the summary is asked for again, as the snapshot does not hold it
    warnings: list[str] = field(default_factory=list)
    owner: Link | None = None  # the group that a service is a member of, where it is changed
