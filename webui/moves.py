"""Which clients move when virtual servers change: their rings before and after, compared slot by slot; pure.

A client's slot follows from its address alone, and clients are spread evenly over the slots, so a share of the slots is
the expected share of the clients. Of one vserver with few clients it may be more or less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dataplane.compile import make_ring, vserver_key
from dataplane.desired import Service, VServer
from dataplane.hashing import ring_ids
from dataplane.steps import vip_rank
from dataplane.tables import RING_SLOTS, VServerKey

NOBODY = bytes(2 * RING_SLOTS)
TCP = 6
LISTED = 8  # services in a sentence


@dataclass(frozen=True, slots=True)
class Share:
    """A service's share of a vserver's clients in percent; ``later``: once checks that wait have succeeded."""

    pk: int
    name: str
    before: float
    after: float
    later: float


@dataclass(frozen=True, slots=True)
class VServerMove:
    """What a change does to the clients of a vserver; figures are percent of its clients, 0 to 100.

    ``moved``: they get another service, or none; None where services take turns, so that no client has one of its own.
    ``lost``: they get no answer any more. ``served``: they got none before. ``later``: a further share moves once the
    services that are not checked yet are UP, None where there is none. ``appears`` and ``goes``: directors begin or
    cease to take packets for it. ``words`` tells all of it.
    """

    pk: int
    name: str
    moved: float | None
    lost: float
    served: float
    later: float | None
    keeps_flows: bool
    appears: bool
    goes: bool
    shares: tuple[Share, ...]
    words: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Trio:
    """One vserver before, after, and once the checks that wait have succeeded; None where directors know none.

    ``heirs``: who takes its packets where it does not, before and after. ``known``: it, whenever it is there.
    """

    before: VServer | None
    after: VServer | None
    later: VServer | None
    heirs: tuple[VServer | None, VServer | None]
    known: VServer


def percent(value: float) -> str:
    """33.333 as “33.3 %”; what is nearly nothing or nearly all is not called that."""
    if 0 < value < 0.1:
        return "less than 0.1 %"
    if 99.9 < value < 100:
        return "more than 99.9 %"
    return f"{value:.1f}".removesuffix(".0") + " %"


def moves(before: Sequence[VServer], after: Sequence[VServer], later: Sequence[VServer]) -> list[VServerMove]:
    """Of each vserver that is not as before, by name. ``later`` as in :class:`Trio`."""
    old, new, last = ({one.config_id: one for one in some} for some in (before, after, later))
    ids = _ids([*before, *after, *later])
    found = []
    for pk in old.keys() | new.keys():
        one, other = old.get(pk), new.get(pk)
        known = other or one
        if known is None or one == other == last.get(pk):
            continue
        # Where it is not, what would be its place.
        heirs = (_taker(before, vserver_key(other or known), pk), _taker(after, vserver_key(one or known), pk))
        found.append(_move(Trio(one, other, last.get(pk), heirs, known), ids))
    return sorted(found, key=lambda move: (move.name.casefold(), move.pk))


def _ids(vservers: Iterable[VServer]) -> dict[int, int]:
    rows = sorted({service.config_id for vserver in vservers for service in vserver.services})
    return {row: number for number, row in enumerate(rows, 1)}


def _taker(vservers: Iterable[VServer], key: VServerKey, but: int) -> VServer | None:
    """The vserver, but that one, that takes all packets of a key: the most specific that covers it."""
    covering = [
        (vip_rank(own), own.port - own.port_end, one)
        for one in vservers
        if one.config_id != but and _covers(own := vserver_key(one), key)
    ]
    return max(covering, key=lambda found: found[:2])[2] if covering else None


def _covers(wide: VServerKey, narrow: VServerKey) -> bool:
    if wide.address != narrow.address or wide.protocol not in {0, narrow.protocol}:
        return False
    if not wide.port:
        return True
    return (
        bool(narrow.port)
        and wide.port <= narrow.port
        and (narrow.port_end or narrow.port) <= (wide.port_end or wide.port)
    )


def _ring(vserver: VServer | None, ids: Mapping[int, int]) -> bytes:
    return make_ring(vserver, ids) if vserver else NOBODY


@dataclass(frozen=True, slots=True)
class Flow:
    """Percent of clients: see :class:`VServerMove`."""

    moved: float | None
    lost: float
    served: float


def _flow(old: VServer | None, new: VServer | None, ids: Mapping[int, int]) -> Flow:
    was, now = _ring(old, ids), _ring(new, ids)
    if old is None or new is None or NOBODY in {was, now}:
        lost, served = 100.0 * (was != NOBODY), 100.0 * (now != NOBODY)
        return Flow(lost, lost, served) if (was == NOBODY) != (now == NOBODY) else Flow(0.0, 0.0, 0.0)
    if old.options.rotate or new.options.rotate:
        same = old.options.rotate == new.options.rotate and _counts(was) == _counts(now)
        return Flow(0.0 if same else None, 0.0, 0.0)
    if (old.hash_fields, old.mask, old.address) == (new.hash_fields, new.mask, new.address):
        changed = sum(map(int.__ne__, ring_ids(was), ring_ids(now))) if was != now else 0
        return Flow(100 * changed / RING_SLOTS, 0.0, 0.0)
    # Another hash: where clients come to lie now has nothing to do with where they lay.
    before, after = _counts(was), _counts(now)
    stay = sum(before[number] * after[number] for number in before) / RING_SLOTS**2
    return Flow(100 * (1 - stay), 0.0, 0.0)


def _counts(ring: bytes) -> Counter[int]:
    return Counter(ring_ids(ring))


def _move(trio: Trio, ids: Mapping[int, int]) -> VServerMove:
    one, (heir_before, heir_after) = trio.known, trio.heirs
    elsewhere = trio.before is not None and trio.after is not None and trio.before.address != trio.after.address
    if elsewhere:  # to who connects to the former VIP
        flow = _flow(trio.before, None, ids)
    else:
        flow = _flow(trio.before or heir_before, trio.after or heir_after, ids)
    then = None
    if trio.after is not None and trio.later is not None and trio.later != trio.after:
        further = _flow(trio.after, trio.later, ids)
        then = further.served or further.moved or None
    rings = [_counts(_ring(some, ids)) for some in (trio.before, trio.after, trio.later or trio.after)]
    names = {service.config_id: service.name for some in (trio.before, trio.after) if some for service in some.services}
    shares = tuple(
        Share(pk, name, *(100 * ring[ids[pk]] / RING_SLOTS for ring in rings))
        for pk, name in sorted(names.items(), key=lambda item: item[1].casefold())
    )
    return VServerMove(
        pk=one.config_id,
        name=one.name,
        moved=flow.moved,
        lost=flow.lost,
        served=flow.served,
        later=then,
        keeps_flows=one.options.sessions,
        appears=trio.before is None,
        goes=trio.after is None,
        shares=shares,
        words=tuple(_words(trio, flow, then, shares)),
    )


def _words(trio: Trio, flow: Flow, then: float | None, shares: Sequence[Share]) -> Iterable[str]:
    yield from _place(trio, flow)
    yield from _clients(trio, flow)
    if trio.before is not None and trio.after is not None and flow.moved != 0 and not flow.served and flow.lost < 100:
        yield from _flows(trio.before, trio.after)
    gains = [one for one in shares if one.after > one.before]
    losses = [one for one in shares if one.after < one.before]
    if trio.before is not None and trio.after is not None and (gains or losses):
        told = [_share(one) for one in (*gains, *losses)]
        more = f"; and {len(told) - LISTED} more" if len(told) > LISTED else ""
        yield f"Shares: {'; '.join(told[:LISTED])}{more}."
    if then is not None:
        waiting = [one.name for one in shares if one.later > one.after]
        names = f"{', '.join(waiting[:LISTED])}{' and others' if len(waiting) > LISTED else ''}"
        are = "is" if len(waiting) == 1 else "are"
        yield f"Once {names} {are} checked and UP, {percent(then)} of the clients move there."


def _share(one: Share) -> str:
    return f"{one.name} {percent(one.before)} → {percent(one.after)}"


def _place(trio: Trio, flow: Flow) -> Iterable[str]:
    """Whether, and where, directors take its packets."""
    heir_before, heir_after = trio.heirs
    if trio.before is not None and trio.after is not None:
        if trio.before.address != trio.after.address:
            yield f"Clients reach it at {trio.after.address} now; at {trio.before.address} it answers nobody any more."
        return
    if trio.before is None and trio.after is not None:
        yield "Directors begin to take its packets."
        if heir_before is not None:
            yield f"{heir_before.name} took them before."
        if not flow.served and not any(service.eligible for service in trio.after.services):
            yield "No service of it can take clients yet, so they get no answer."
        return
    yield "Directors take no packets for it any more."
    if heir_after is not None:
        yield f"They go to {heir_after.name}."


def _clients(trio: Trio, flow: Flow) -> Iterable[str]:
    if flow.lost:
        yield f"{percent(flow.lost)} of the clients will get no answer any more."
    elif flow.served:
        yield "Its clients get an answer from now on."
    elif flow.moved is None:
        yield "Its services take turns, so no client has one of its own: the shares are of what is new."
    elif trio.before is not None or trio.heirs[0] is not None:
        yield f"{percent(flow.moved)} of the clients will move." if flow.moved else "No client moves."


def _flows(old: VServer, new: VServer) -> Iterable[str]:
    """What becomes of flows that are there, where clients move."""
    if not new.options.sessions:
        left = " It remembers flows no longer." if old.options.sessions else ""
        lost = " TCP connections of clients that move are reset." if new.protocol in {0, TCP} else ""
        yield f"Each packet alone decides.{lost}{left}"
    elif old.options.sessions:
        yield "Flows that exist stay where they are; the share is of new ones."
    if new.options.persist_timeout and old.options.persist_timeout:
        yield f"Clients whose service is remembered keep it until they are silent for {new.options.persist_timeout} s."
    if not old.options.sessions and not old.options.persist_timeout:
        return
    kept = {service.config_id: service for service in new.services}
    closed = [service for service in old.services if service.eligible and not _takes(kept.get(service.config_id))]
    drains = [one.name for one in closed if one.config_id in kept and not kept[one.config_id].flush]
    flushed = [one.name for one in closed if one.name not in drains]
    if drains:
        yield f"Flows at {', '.join(drains)} go on until they end."
    if flushed:
        yield f"Flows at {', '.join(flushed)} get another service at once."


def _takes(service: Service | None) -> bool:
    return service is not None and service.eligible
