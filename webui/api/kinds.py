"""The kinds of objects: what the one set of requests needs to know about each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Final

from django.db.models import Model

from webui import statistics
from webui.actions import servicegroups
from webui.group_states import group_state
from webui.listing import ADMIN_STATE, LISTS, TYPES
from webui.metrics.read import Span
from webui.metrics.series import SERVICES, VSERVERS
from webui.models import ServiceGroup
from webui.views import kinds as pages

_NOT_FIGURES: Final = frozenset({"key", "url", "name", "state", "state_reason", "spark", "server_url"})
_COUNTED: Final = {"vservers": VSERVERS, "services": SERVICES}
Counted = Callable[[Any, Span], dict[str, Any]]


@dataclass(frozen=True)
class Shown:
    """The state of an object now; ``figures`` is whatever else lists show of it."""

    state: str
    reason: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """``slug`` is the word in paths; ``actions`` has create, update, delete and perhaps enable and disable.

    ``search``: look-ups in which words are searched. ``lookups``: those of the filters, by name. ``shown``: an object's
    state, ``counted``: its traffic over time, None where none is counted. ``can_wait``: disabling takes a delay.
    """

    slug: str
    singular: str
    plural: str
    model: type[Model]
    actions: ModuleType
    search: tuple[str, ...]
    lookups: Mapping[str, str]
    shown: Callable[[Any], Shown]
    counted: Counted | None = None
    can_wait: bool = False


def _shown_in_lists(slug: str, row: Any) -> Shown:
    (shown,) = LISTS[slug].rows([row.pk], None)
    figures = {key: value for key, value in shown.items() if key not in _NOT_FIGURES}
    return Shown(shown["state"], shown["state_reason"], figures)


def _counted(kind: str, row: Any, span: Span) -> dict[str, Any]:
    return statistics.as_json(kind, str(row.pk), span)


def _of_pages(kind: pages.Kind) -> Kind:
    listed = LISTS[kind.slug]
    return Kind(
        kind.slug,
        kind.singular,
        kind.plural,
        kind.model,
        kind.actions,
        listed.search,
        {one.name: one.lookup for one in listed.filters if one.lookup} | {"state": "state"},
        partial(_shown_in_lists, kind.slug),
        partial(_counted, _COUNTED[kind.slug]) if kind.slug in _COUNTED else None,
        kind.can_wait,
    )


def _shown_of_group(row: ServiceGroup) -> Shown:
    found = group_state(row)
    figures = {"service_type": row.service_type, "members_up": found.up, "members_total": len(found.members)}
    return Shown(found.state, found.reason, figures | found.rates)


def _counted_of_group(row: ServiceGroup, span: Span) -> dict[str, Any]:
    keys = [str(pk) for pk in row.members.values_list("service", flat=True)]
    return statistics.together_as_json(SERVICES, keys, span)


GROUPS: Final = Kind(
    "servicegroups",
    "service group",
    "Service groups",
    ServiceGroup,
    servicegroups,
    ("name", "comment", "service_type"),
    {one.name: one.lookup for one in (ADMIN_STATE, TYPES)},
    _shown_of_group,
    _counted_of_group,
    can_wait=True,
)
KINDS: Final = {slug: _of_pages(kind) for slug, kind in pages.KINDS.items()} | {GROUPS.slug: GROUPS}
