"""What the code of a command gets to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from webui.actions.base import Actor
from webui.nscli.grammar import Command, Parsed

if TYPE_CHECKING:
    from webui.nscli.session import Session


@dataclass
class Context:
    """One run of a command: who runs it, where, and what is told before `` Done``."""

    actor: Actor
    session: Session
    notes: list[str] = field(default_factory=list)
    closes: bool = False


Handler = Callable[[Context, Parsed], Iterable[str] | None]


@dataclass(frozen=True)
class Entry:
    """A command with its code."""

    command: Command
    handler: Handler
