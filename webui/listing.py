"""Rows of the list pages: searched, filtered, sorted and cut into pages by the database, where it knows what counts.

States and traffic follow from many rows, so whoever sorts or filters by them has that value worked out of every object;
all else is of the objects of the page alone. Either way the number of queries is constant; tests pin it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from django.db.models import Count, Model, Q, QuerySet
from django.db.models.functions import Lower
from django.utils import timezone

from monitors.registry import KINDS as MONITOR_KINDS
from webui.asked import Asked
from webui.choices import PARTIAL_UP, STATE_ORDER, AdminState, LbMethod, ServiceType, State
from webui.event_rows import target_rows
from webui.events.kinds import KINDS as TARGET_KINDS
from webui.groups import group_row, load_groups
from webui.models import (
    EventTarget,
    HealthState,
    Monitor,
    Server,
    ServerPath,
    Service,
    ServiceGroup,
    ServiceMonitorBinding,
    VServer,
)
from webui.payloads import Rates
from webui.quick import objects
from webui.rows import monitor_row_of, server_row, service_row, vserver_row
from webui.scope import LARGEST, Scope, scope_of_services, scope_of_vservers
from webui.tables import COLUMNS
from webui.world import World, load_world

MOST_AT_ONCE: Final = 250  # rows for which only what belongs to them is read

Rows = list[dict[str, Any]]
Values = Callable[[int, str], Any]  # of an object, by its key, and a column
RATES: Final = frozenset(Rates.__annotations__)


@dataclass(frozen=True)
class Filter:
    """A choice above a list. ``lookup`` is the database's; empty: the computed row has the value under ``name``."""

    name: str
    label: str
    choices: Mapping[str, str]
    lookup: str = ""


@dataclass(frozen=True)
class ListOf:
    """How objects of one kind are listed.

    ``search``: look-ups in which words are searched. ``orders``: look-ups by column, for the database to sort by.
    ``addresses``: an address, and perhaps a port, by column: sorted as numbers, not as text. ``rows`` makes the rows of
    these keys, or of all for None, in any order, out of a world that was read for ``values``, if one was. ``values``
    works out single columns of every object, and tells what it read for that; the others are those of all rows.
    ``there``: keys of the objects in such a world. ``many``: look-ups of ``search`` lead to several rows.
    """

    model: type[Model]
    search: tuple[str, ...]
    filters: tuple[Filter, ...]
    orders: Mapping[str, str]
    addresses: Mapping[str, tuple[str, ...]]
    rows: Callable[[Collection[int] | None, World | None], Rows]
    values: Callable[[frozenset[str]], tuple[World, Values] | None] = lambda _columns: None
    there: Callable[[World], Collection[int]] = lambda _world: ()
    many: bool = False


@dataclass(frozen=True)
class Listing:
    """Rows of a page, and of how many; ``total`` counts what no search or filter left out."""

    rows: Rows
    matched: int
    total: int
    page: int = 1
    pages: int = 1


def _server_rows(pks: Collection[int] | None, _known: World | None) -> Rows:
    """Three queries."""
    world = World(now=timezone.now())
    servers, services, paths = Server.objects.all(), Service.objects.all(), ServerPath.objects.order_by("director")
    if pks is not None:
        servers, services = servers.filter(pk__in=pks), services.filter(server__in=pks)
        paths = paths.filter(server__in=pks)
    for service in objects(services):
        world.services_of[service.server_id].append(service)
    for path in objects(paths):
        world.paths[path.server_id].append(path)
    return [dict(server_row(world, row)) for row in objects(servers)]


def _service_rows(pks: Collection[int] | None, known: World | None) -> Rows:
    """Fourteen queries at most; none of a world that is whole."""
    world = _world(known, lambda: None if pks is None else scope_of_services(pks))
    wanted = world.services.keys() if pks is None else world.services.keys() & pks
    return [dict(service_row(world, world.services[pk])) for pk in wanted]


def _vserver_rows(pks: Collection[int] | None, known: World | None) -> Rows:
    """Fourteen queries at most; none of a world that is whole."""
    world = _world(known, lambda: None if pks is None else scope_of_vservers(pks))
    wanted = world.vservers.keys() if pks is None else world.vservers.keys() & pks
    return [dict(vserver_row(world, world.vservers[pk])) for pk in wanted]


def _world(known: World | None, scope: Callable[[], Scope | None]) -> World:
    """What was read already where that is everything; otherwise what is in the scope, with counters read before."""
    if known is not None and known.is_whole:
        return known
    return load_world(scope(), counters=known.counters if known is not None else None)


def _service_values(columns: frozenset[str]) -> tuple[World, Values] | None:
    """States and traffic: one query for traffic alone."""
    if not columns <= RATES | {"state"}:
        return None
    world = World.of_counters() if columns <= RATES else load_world()
    return (
        world,
        lambda pk, name: (
            world.rates("services", pk)[name]  # type: ignore[literal-required] # one of its keys
            if name in RATES
            else world.service_state(world.services[pk]).state
        ),
    )


def _vserver_values(columns: frozenset[str]) -> tuple[World, Values] | None:
    """States and traffic: one query for traffic alone."""
    if not columns <= RATES | {"state"}:
        return None
    world = World.of_counters() if columns <= RATES else load_world()
    return (
        world,
        lambda pk, name: (
            world.rates("vservers", pk)[name]  # type: ignore[literal-required] # one of its keys
            if name in RATES
            else world.bare_state(world.vservers[pk])
        ),
    )


def _monitor_rows(pks: Collection[int] | None, _known: World | None) -> Rows:
    """Three queries."""
    bound = ServiceMonitorBinding.objects.order_by().values_list("monitor").annotate(Count("service"))
    down = HealthState.objects.order_by().filter(state=State.DOWN).values_list("monitor")
    services, failing = dict(bound), dict(down.annotate(Count("service", distinct=True)))
    monitors = Monitor.objects.all() if pks is None else Monitor.objects.filter(pk__in=pks)
    return [dict(monitor_row_of(row, services.get(row.pk, 0), failing.get(row.pk, 0))) for row in monitors]


def _target_rows(pks: Collection[int] | None, _known: World | None) -> Rows:
    """Two queries; there are few targets."""
    return [dict(row) for row in target_rows() if pks is None or int(row["key"]) in pks]


def _group_rows(pks: Collection[int] | None, _known: World | None) -> Rows:
    """Seventeen queries at most."""
    groups = load_groups(pks)
    members = groups.of_service.keys()
    scope = scope_of_services(members) if pks is not None and len(members) <= LARGEST else None
    world = load_world(scope)
    return [dict(group_row(world, groups, row)) for row in groups.groups.values()]


STATES = {str(state): str(state) for state in (State.DOWN, State.UNKNOWN, State.OUT_OF_SERVICE, State.UP)}
GROUP_STATES = {str(one): str(one) for one in (State.DOWN, PARTIAL_UP, State.OUT_OF_SERVICE, State.UP)}
LEAVING = (State.FAIL_OPEN, State.GOING_OUT, State.DOWN_GOING_OUT)
ADMIN = {str(state): str(state) for state in AdminState}
TYPES = Filter("type", "Type", {str(one): str(one) for one in ServiceType}, "service_type")
ADMIN_STATE = Filter("state", "State", ADMIN, "state")

LISTS: Final[Mapping[str, ListOf]] = {
    "vservers": ListOf(
        VServer,
        ("name", "address", "comment", "service_type", "lb_method"),
        (
            Filter("state", "State", STATES),
            TYPES,
            Filter("method", "Method", {str(one): str(one.label) for one in LbMethod}, "lb_method"),
        ),
        {"name": "name", "service_type": "service_type", "method": "lb_method"},
        {"endpoint": ("address", "port")},
        _vserver_rows,
        _vserver_values,
        lambda world: world.vservers.keys(),
    ),
    "services": ListOf(
        Service,
        ("name", "server__name", "server__address", "comment", "service_type"),
        (Filter("state", "State", STATES | {str(one): str(one) for one in LEAVING}), TYPES),
        {"name": "name", "server": "server__name", "service_type": "service_type"},
        {"endpoint": ("server__address", "port")},
        _service_rows,
        _service_values,
        lambda world: world.services.keys(),
    ),
    "servicegroups": ListOf(
        ServiceGroup,
        ("name", "comment", "service_type", *(f"members__service__server__{name}" for name in ("name", "address"))),
        (Filter("state", "State", GROUP_STATES), TYPES),
        {"name": "name", "service_type": "service_type", "admin": "state"},
        {},
        _group_rows,
        many=True,
    ),
    "servers": ListOf(
        Server,
        ("name", "address", "comment"),
        (ADMIN_STATE,),
        {"name": "name", "state": "state"},
        {"address": ("address",)},
        _server_rows,
    ),
    "monitors": ListOf(
        Monitor,
        ("name", "monitor_type"),
        (ADMIN_STATE, Filter("type", "Type", {name: name for name in MONITOR_KINDS}, "monitor_type")),
        {"name": "name", "state": "state", "monitor_type": "monitor_type"},
        {},
        _monitor_rows,
    ),
    "eventtargets": ListOf(
        EventTarget,
        ("name", "comment", "target_type", "params__host"),  # a webhook's address may hold a key
        (
            Filter("state", "State", {one: one for one in ("ENABLED", "ERROR", "DISABLED")}),
            Filter("type", "Type", {name: kind.label for name, kind in TARGET_KINDS.items()}, "target_type"),
        ),
        {"name": "name", "target_type": "target_type"},
        {},
        _target_rows,
    ),
}


def choices_of(kind: str) -> dict[str, Mapping[str, str]]:
    """Values of each filter of a kind, with their labels."""
    return {one.name: one.choices for one in LISTS[kind].filters}


def columns_of(kind: str) -> frozenset[str]:
    """Columns that a list of the kind can be sorted by."""
    return frozenset(column.name for column in COLUMNS[kind] if column.sortable)


def listing(kind: str, asked: Asked) -> Listing:
    """The rows of one page of a list; a page beyond the last is the last. Queries: those of the rows, and three."""
    found = LISTS[kind]
    total = found.model._default_manager.count()
    if _computed_columns(found, asked):
        ordered = _computed(found, asked)
        page, pages, part = _cut(len(ordered.keys), asked)
        return Listing(ordered.rows(found, ordered.keys[part]), len(ordered.keys), total, page, pages)
    matching = _matching(found, asked)
    matched = matching.count()
    page, pages, part = _cut(matched, asked)
    return Listing(_in_order(found, _keys(found, matching, asked)[part]), matched, total, page, pages)


def everything(kind: str, asked: Asked) -> Rows:
    """The rows of all pages of a list."""
    found = LISTS[kind]
    if _computed_columns(found, asked):
        ordered = _computed(found, asked)
        return ordered.rows(found, ordered.keys)
    return _in_order(found, list(_keys(found, _matching(found, asked), asked)))


def _cut(matched: int, asked: Asked) -> tuple[int, int, slice]:
    """The page that can be shown, of how many, and its part of the rows."""
    pages = max(1, -(-matched // asked.per))
    page = min(asked.page, pages)
    return page, pages, slice((page - 1) * asked.per, page * asked.per)


def _matching(found: ListOf, asked: Asked) -> QuerySet[Any]:
    """Objects in which each word is found, and that pass the filters that the database knows."""
    rows = found.model._default_manager.order_by()
    for word in asked.q.split():
        somewhere = [Q(**{f"{name}__icontains": word}) for name in found.search]
        rows = rows.filter(functools.reduce(operator.or_, somewhere))
    known = {one.lookup: asked.filters[one.name] for one in found.filters if one.lookup and one.name in asked.filters}
    rows = rows.filter(**known)
    return rows.distinct() if found.many and asked.q else rows


def _keys(found: ListOf, matching: QuerySet[Any], asked: Asked) -> Any:
    """Primary keys in the order asked for: a list, or a query to be cut."""
    if asked.column in found.addresses:
        fields = ("pk", "name", *found.addresses[asked.column])
        rows = sorted(matching.values_list(*fields), key=_address_key, reverse=asked.descending)
        return [row[0] for row in rows]
    order = Lower(found.orders[asked.column or "name"])
    return matching.order_by(order.desc() if asked.descending else order, Lower("name"), "pk").values_list(
        "pk", flat=True
    )


def _address_key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    _pk, name, address, *port = row
    found = ip_address(address)
    return (found.version, int(found), *port, name.casefold())


def _in_order(found: ListOf, keys: Any, known: World | None = None) -> Rows:
    """The rows of these keys; one that was deleted meanwhile is left out."""
    wanted = list(keys)
    made = found.rows(frozenset(wanted) if len(wanted) <= MOST_AT_ONCE else None, known)
    rows = {int(row["key"]): row for row in made}
    return [rows[pk] for pk in wanted if pk in rows]


def _computed_columns(found: ListOf, asked: Asked) -> frozenset[str]:
    """Columns that are asked for and that the database does not know."""
    columns = {one.name for one in found.filters if not one.lookup and one.name in asked.filters}
    if asked.column not in {"", *found.orders, *found.addresses}:
        columns.add(asked.column)
    return frozenset(columns)


@dataclass(frozen=True)
class _Ordered:
    """Keys of all that match, in order; what was read to find that out, or even all rows, by key."""

    keys: list[int]
    known: World | None
    made: dict[int, dict[str, Any]]

    def rows(self, found: ListOf, keys: list[int]) -> Rows:
        return [self.made[pk] for pk in keys] if self.made else _in_order(found, keys, self.known)


def _computed(found: ListOf, asked: Asked) -> _Ordered:
    """What matches, where a filter or the order is of something computed."""
    columns = _computed_columns(found, asked)
    in_database = asked.column not in columns
    keys = list(_keys(found, _matching(found, asked), asked if in_database else Asked()))
    made: dict[int, dict[str, Any]] = {}
    known, value = found.values(columns) or (None, lambda pk, name: made[pk][name])
    if known is None:
        made = {int(row["key"]): row for row in found.rows(None, None)}
    # One that was made or deleted between two queries is left out.
    if known is None:
        keys = [pk for pk in keys if pk in made]
    elif known.is_whole:
        there = found.there(known)
        keys = [pk for pk in keys if pk in there]
    for one in found.filters:
        if not one.lookup and one.name in asked.filters:
            keys = [pk for pk in keys if value(pk, one.name) == asked.filters[one.name]]
    if not in_database:
        keys.sort(key=lambda pk: sort_key(value(pk, asked.column)), reverse=asked.descending)
    return _Ordered(keys, known, made)


def sort_key(value: Any) -> tuple[Any, ...]:
    """Numbers by size, states by urgency, text without case; nothing comes first."""
    if value is None:
        return (0, 0)
    if isinstance(value, int | float):
        return (1, value)
    if value in STATE_ORDER:
        return (1, STATE_ORDER[value])
    return (2, value.casefold())
