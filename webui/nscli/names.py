"""What completion offers from the database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from monitors.registry import KINDS as MONITOR_KINDS
from webui.events.kinds import KINDS as TARGET_KINDS
from webui.models import EventTarget, Monitor, Server, Service, ServiceGroup, VServer
from webui.nscli.completion import Completion, Source, complete
from webui.nscli.grammar import Option
from webui.nscli.options import more
from webui.nscli.session import commands

MOST: Final = 200
_MODELS: Final[dict[str, Any]] = {
    "server": Server,
    "service": Service,
    "servicegroup": ServiceGroup,
    "vserver": VServer,
    "monitor": Monitor,
    "eventtarget": EventTarget,
}


def completions(line: str) -> list[Completion]:
    """Ways to go on after a line."""
    last = line.rsplit(maxsplit=1)[-1] if line and not line[-1].isspace() else ""

    def names(kind: str) -> list[str]:
        model = _MODELS.get(kind)
        if model is None:
            return []
        begun = model.objects.filter(name__istartswith=last.lstrip('"').replace("\0", ""))
        return list(begun.order_by("name").values_list("name", flat=True)[:MOST])

    return complete(line, Source(commands(), names, options_of))


def options_of(kind: str, wanted: str) -> Iterable[Option]:
    """Options that are parameters of a type of monitor or target."""
    kinds: dict[str, Any] = {**(MONITOR_KINDS if kind == "monitor" else TARGET_KINDS)}
    found = kinds.get(wanted)
    if found is None:
        return []
    return [
        Option(one.option, one.name, choices=one.choices, about=one.help)
        for one in found.parameters
        if more(kind, one.option) is not None
    ]
