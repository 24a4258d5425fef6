"""What a change would do: it is made in a transaction that is always rolled back, and what it led to is compared.

The action is the real one of :mod:`webui.actions`, so its rules and errors are the real ones; the states before and
after are read by the data plane's own reader and compiled and compared by its pure functions, with the paths that each
director reported. Nothing is asked of a kernel, and nothing remains: no row, no audit entry, no wake.

Only rows that the change may have to do with are read (:mod:`webui.affected`), so its price does not grow with what
else is configured. On SQLite the write lock is held while the action runs and the rows after it are read, not longer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final, TypeVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from dataplane import desired, snapshot
from dataplane.compile import CompileError, check_counts, compile_tables
from dataplane.plan import plan
from dataplane.plan_text import describe
from dataplane.probing import probe_routes
from dataplane.steps import Step
from dataplane.tables import IPAddress, Tables
from webui import revisions
from webui.actions.base import Actor
from webui.affected import affected, users_of
from webui.choices import State
from webui.explained import NOT_LOOKED_FOR, Director, directors, paths_of
from webui.models import Installation, ServerPath
from webui.moves import VServerMove, moves, percent
from webui.revisions import FieldChange, RowChange

Action = Callable[[Actor], object]
Result = TypeVar("Result")

TRIES: Final = 3
# Stands for the probe device, whose number no director reports.
_PROBE_IFINDEX: Final = 2**31 - 1
_PROBE_MAC: Final = bytes(6)
_PROBE_TEXT: Final = (f"to ifindex {_PROBE_IFINDEX} {_PROBE_MAC.hex(':')}", "by the probe device")


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One object that would be another; ``what`` is added, changed or deleted."""

    kind: str
    name: str
    what: str
    fields: tuple[FieldChange, ...]

    @property
    def kind_text(self) -> str:
        """As :class:`webui.revisions.RowChange` has it, so that one template shows both."""
        return self.kind


@dataclass(frozen=True, slots=True)
class DirectorPlan:
    """What a director would write into its tables: one line for each of the ``writes``, as its worker logs them.

    Kernel ids in the lines are those of a director that starts anew. ``refused``: why it could not be applied.
    """

    director: str
    stale: bool
    writes: int
    lines: tuple[str, ...]
    refused: str = ""
    before: Tables = field(default_factory=Tables, repr=False, compare=False)
    steps: tuple[Step, ...] = field(default=(), repr=False, compare=False)
    after: Tables = field(default_factory=Tables, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action would do. ``revision`` is that of the configuration it was tried on.

    ``seen_from``: the director whose paths the moves are computed with; empty while none has reported, when every
    server is taken for reachable.
    """

    revision: int
    changes: tuple[ObjectChange, ...]
    vservers: tuple[VServerMove, ...]
    directors: tuple[DirectorPlan, ...]
    consequences: tuple[str, ...]
    seen_from: str = ""

    @property
    def nothing(self) -> bool:
        """Whether nothing at all would change."""
        return not self.changes

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types; the tables themselves are left out."""
        return {
            "revision": self.revision,
            "changes": [_plain(asdict(one)) for one in self.changes],
            "consequences": list(self.consequences),
            "seen_from": self.seen_from,
            "vservers": [_plain(asdict(one)) for one in self.vservers],
            "directors": [
                {
                    "director": one.director,
                    "stale": one.stale,
                    "writes": one.writes,
                    "lines": list(one.lines),
                    "refused": one.refused,
                }
                for one in self.directors
            ],
        }


def _plain(value: Any) -> Any:
    """In JSON's types; figures with two digits after the point."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return round(value, 2) if isinstance(value, float) else value


@dataclass(frozen=True, slots=True)
class _Part:
    """The configuration, as far as it may differ; ``probes`` are all of them, ``counts`` are of all."""

    vservers: tuple[desired.VServerConfig, ...]
    probes: frozenset[snapshot.ProbeText]
    installation: Installation
    counts: Mapping[str, int]

    def probes_at(self, vips: Collection[str]) -> tuple[desired.ProbeTarget, ...]:
        """The probes of those VIPs."""
        found = (
            desired.ProbeTarget(ip_address(address), ip_address(vip), ip_address(server))
            for address, vip, server in self.probes
            if vip in vips
        )
        return tuple(sorted(found, key=lambda one: (one.address.version, int(one.address))))


@dataclass(frozen=True, slots=True)
class _Trial:
    """What the action led to, read before it was rolled back."""

    mark: snapshot.Mark
    changes: tuple[RowChange, ...]
    told: tuple[ObjectChange, ...]
    concerned: frozenset[int]
    after: _Part


def rehearse(action: Callable[[], Result]) -> Result:
    """Do ``action`` and take everything back, its audit entries too; raises what it raises.

    Rows in the result are as they were made: their keys stand for nothing any more. What waits for the commit, such as
    waking the data plane, never happens.
    """
    with transaction.atomic():
        result = action()
        transaction.set_rollback(True)
        return result


def preview(actor: Actor, action: Action) -> Preview:
    """What ``action``, called with the actor, would do; nothing is changed, nor recorded as an attempt.

    ``action`` is a call of one or several functions of :mod:`webui.actions`, such as
    ``lambda who: vservers.set_weight(who, vserver, "web1", 5)``. Whatever it raises is raised here as well:
    PermissionRefused, NotFoundError, ConflictError, ValidationError. Works inside a transaction too.
    """
    now = timezone.now()
    for left in range(TRIES)[::-1]:
        # At last nobody else may change anything meanwhile.
        with nullcontext() if left else transaction.atomic():
            trial = rehearse(lambda: _led_to(actor, action, now))
            if not trial.changes:
                return Preview(trial.mark[0], (), (), (), ("Nothing changes.",))
            before = _read(trial.concerned, now, trial.after.installation)
            before, after = _with_users(before, trial.after, now)
            if snapshot.mark() == trial.mark:
                break
    return _compared(trial, before, after)


def _led_to(actor: Actor, action: Action, now: datetime) -> _Trial:
    Installation.objects.get_or_create(pk=1)  # as every reader does
    mark = snapshot.mark()
    action(actor)
    reached = snapshot.mark()[0]
    changes = tuple(revisions.difference(mark[0], reached)) if reached != mark[0] else ()
    told = tuple(ObjectChange(one.kind_text, one.name, one.what, tuple(one.fields())) for one in changes)
    concerned = affected(changes) if changes else frozenset()
    return _Trial(mark, changes, told, concerned, _read(concerned, now))


def _read(concerned: Collection[int], now: datetime, known: Installation | None = None) -> _Part:
    """``known`` stands in where nothing was configured before."""
    installation = Installation.objects.filter(pk=1).first() or known or Installation()
    vservers = snapshot.read_vservers(concerned, now) if concerned else ()
    probes = snapshot.probe_texts()
    return _Part(vservers, probes, installation, snapshot.counts() | {"probes": len(probes)})


def _with_users(before: _Part, after: _Part, now: datetime) -> tuple[_Part, _Part]:
    """Both with the vservers that have a service which one of them has not: in a director's tables it may stand."""
    bound = [_bound(part) for part in (before, after)]
    known = {one.config_id for part in (before, after) for one in part.vservers}
    differing = {row for row in bound[0].keys() | bound[1].keys() if bound[0].get(row) != bound[1].get(row)}
    others = users_of(differing) - known if differing else frozenset()
    if not others:
        return before, after
    more = snapshot.read_vservers(others, now)
    return tuple(  # type: ignore[return-value]  # two they are
        replace(part, vservers=tuple(sorted((*part.vservers, *more), key=lambda one: one.config_id)))
        for part in (before, after)
    )


def _bound(part: _Part) -> dict[int, frozenset[tuple[int, bool, bool, bool]]]:
    """How each vserver sees each service, by its row: what its entry of the director's tables follows from.

    That entry also tells whether any vserver keeps flows from it: the others decide too whether it does already.
    """
    found: dict[int, set[tuple[int, bool, bool, bool]]] = {}
    for vserver in part.vservers:
        keeps = vserver.options.sessions or vserver.options.persist_timeout > 0
        for service in vserver.services:
            seen = (vserver.config_id, service.eligible, service.flush, keeps)
            found.setdefault(service.config_id, set()).add(seen)
    return {row: frozenset(seen) for row, seen in found.items()}


def _compared(trial: _Trial, before: _Part, after: _Part) -> Preview:
    known = directors()
    vips = {vip for _address, vip, _server in before.probes ^ after.probes}
    states = [(one, _states(before, after, vips, one)) for one in known]
    seen = states[0][1] if states else _states(before, after, vips, None)
    moved = moves(seen[0].vservers, seen[1].vservers, seen[2])
    plans = tuple(_plan(director, found[:2], (before, after), vips) for director, found in states)
    return Preview(
        revision=trial.mark[0],
        changes=trial.told,
        vservers=tuple(moved),
        directors=plans,
        consequences=tuple(_consequences(trial, moved, plans)),
        seen_from=known[0].name if known else "",
    )


_States = tuple[desired.DesiredState, desired.DesiredState, tuple[desired.VServer, ...]]


def _states(before: _Part, after: _Part, vips: Collection[str], director: Director | None) -> _States:
    """The states before and after on a director's network, and vservers when checks that wait have succeeded."""
    probes = [part.probes_at(vips) for part in (before, after)]
    addresses = {
        *(one.server for some in probes for one in some),
        *(one.address for part in (before, after) for vserver in part.vservers for one in vserver.services),
    }
    paths = paths_of(director, map(str, addresses)) if director else dict.fromkeys(addresses, _SOMEHOW)
    states = [_state(part, some, director, paths) for part, some in zip((before, after), probes, strict=True)]
    waited = {(vserver.config_id, one.config_id) for vserver in before.vservers for one in _waiting(vserver, paths)}
    later = tuple(_later(vserver, paths, waited) for vserver in after.vservers)
    return states[0], states[1], later


_SOMEHOW: Final = desired.Path(0, _PROBE_MAC, _PROBE_MAC, "")


def _state(
    part: _Part, probes: tuple[desired.ProbeTarget, ...], director: Director | None, paths: Mapping[IPAddress, Any]
) -> desired.DesiredState:
    def path(address: IPAddress) -> desired.Path:
        found: desired.Path = paths.get(address, NOT_LOOKED_FOR)
        return found

    return desired.DesiredState(
        part.installation.revision,
        bytes.fromhex(part.installation.hash_key),
        tuple(desired.resolve_vserver(one, path) for one in part.vservers),
        tuple(desired.Probe(one.address, one.vip, one.server, path(one.server)) for one in probes),
        director.interfaces if director else (),
        (),
        rules=snapshot.rules_of(part.installation),
    )


def _waiting(vserver: desired.VServerConfig, paths: Mapping[IPAddress, desired.Path]) -> list[desired.ServiceConfig]:
    """Services that are not checked yet, or that no director has looked for: they may be of use in a moment."""
    return [
        one
        for one in vserver.services
        if one.reason.startswith(f"{State.UNKNOWN}: ") or (one.eligible and one.address not in paths)
    ]


def _later(
    vserver: desired.VServerConfig, paths: Mapping[IPAddress, desired.Path], waited: Collection[tuple[int, int]]
) -> desired.VServer:
    new = {one.config_id for one in _waiting(vserver, paths)}
    new -= {service for row, service in waited if row == vserver.config_id}
    hoped = replace(
        vserver,
        services=tuple(
            replace(one, eligible=True, reason="") if one.config_id in new else one for one in vserver.services
        ),
    )
    at = {one.address for one in vserver.services if one.config_id in new}
    return desired.resolve_vserver(
        hoped, lambda address: paths.get(address, _SOMEHOW if address in at else NOT_LOOKED_FOR)
    )


def _plan(
    director: Director,
    states: tuple[desired.DesiredState, ...],
    parts: tuple[_Part, _Part],
    vips: Collection[str],
) -> DirectorPlan:
    reached = set(
        ServerPath.objects.filter(director=director.name, eligible=True).values_list("server__address", flat=True)
    )
    sends = [_sends(state, part, vips, reached) for state, part in zip(states, parts, strict=True)]
    try:
        before = compile_tables(states[0], Tables(), **_probing(sends[0]))
        after = compile_tables(states[1], before, **_probing(sends[1]))
        check_counts(**parts[1].counts)
    except CompileError as refused:
        return DirectorPlan(director.name, director.stale, 0, (), f"The change could not be applied: {refused}.")
    steps = plan(after, before)
    lines = tuple(describe(steps, before).replace(*_PROBE_TEXT).splitlines())
    return DirectorPlan(director.name, director.stale, len(steps), lines, "", before, tuple(steps), after)


def _probing(sends: bool) -> dict[str, Any]:
    return {"probe_ifindex": _PROBE_IFINDEX, "probe_mac": _PROBE_MAC} if sends else {}


def _sends(state: desired.DesiredState, part: _Part, vips: Collection[str], reached: Collection[str]) -> bool:
    """Whether any probe can be sent: without any there is no probe device."""
    networks = (settings.PROBE_NETWORK, settings.PROBE_NETWORK6)
    if probe_routes(state.probes, state.interfaces, networks):
        return True
    return any(server in reached for _address, vip, server in part.probes if vip not in vips)


def _consequences(trial: _Trial, moved: list[VServerMove], plans: tuple[DirectorPlan, ...]) -> list[str]:
    """All of it in sentences."""
    told = [f"{move.name}: {line}" for move in moved for line in move.words]
    modes = [one for one in trial.told if any(changed.name == "forwarding_mode" for changed in one.fields)]
    if modes:
        told.append("Directors change between tc and XDP as the setting and their interfaces allow; no table changes.")
    told += [f"{one.director}: {one.refused}" for one in plans if one.refused]
    if not told:
        writes = sum(one.writes for one in plans)
        told.append("No client moves." if writes else "No client moves, and no director has anything to write.")
    return told


__all__ = ["Action", "DirectorPlan", "ObjectChange", "Preview", "percent", "preview", "rehearse"]
