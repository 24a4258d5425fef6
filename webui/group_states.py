"""The state of a service group: what those of its members come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from webui.choices import SERVING, STATE_ORDER, State
from webui.effective import Verdict
from webui.groups import effective_state
from webui.models import ServiceGroup, ServiceGroupMember
from webui.payloads import Rates
from webui.scope import scope_of_services
from webui.world import World, load_world


@dataclass(frozen=True)
class GroupState:
    """State and traffic of a group; ``members`` are with the state that each has, by name."""

    state: str
    reason: str
    members: tuple[tuple[ServiceGroupMember, Verdict], ...]
    rates: dict[str, Any]

    @property
    def up(self) -> int:
        """How many members serve clients."""
        return sum(verdict.state in SERVING for _member, verdict in self.members)


def effective(world: World, group: ServiceGroup) -> str:
    """What the members come to: UP, PARTIAL-UP when some do not serve, DOWN, or OUT OF SERVICE when all are."""
    return effective_state(world.service_state(world.services[one.service_id]).state for one in group.members.all())


def group_state(group: ServiceGroup) -> GroupState:
    """State and traffic now; as many queries as a list of services takes, and one."""
    members = list(group.members.select_related("service__server").order_by("service__name"))
    world = load_world(scope_of_services([one.service_id for one in members]))
    there = [one for one in members if one.service_id in world.services]  # or it was deleted just now
    found = tuple((one, world.service_state(world.services[one.service_id])) for one in there)
    states = [State(verdict.state) for _member, verdict in found]
    rates = [world.rates("services", one.service_id) for one in there]
    return GroupState(effective_state(states), _in_words(states), found, {name: _sum(rates, name) for name in _COUNTED})


# Of services nothing is dropped: that is counted where no service was chosen.
_COUNTED: Final = tuple(name for name in Rates.__annotations__ if not name.startswith("dropped"))


def _sum(rates: Iterable[Any], name: str) -> float | None:
    known = [one[name] for one in rates if one[name] is not None]
    return sum(known) if known else None


def _in_words(states: list[State]) -> str:
    if not states:
        return "it has no members"
    counts = Counter(states)
    parts = [f"{counts[state]} {state}" for state in sorted(counts, key=lambda one: STATE_ORDER[one])]
    return f"of {len(states)} members: {', '.join(parts)}"
