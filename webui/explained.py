"""Which server a client gets, computed from rows as the data plane computes it; nothing is asked of the kernel.

The console is unprivileged: it cannot run the loaded program, as ``manage.py explain`` does on the director. It does
what the worker does, with the same pure functions: rows and the paths that a director reported become tables
(:mod:`dataplane.compile`), and those are read as the forwarder reads them (:func:`dataplane.explain.predict`). A kernel
test holds the two against each other. What a director remembers (flows, clients, turns) is in no row.

Rings of 16,381 slots are kept by what is in them (:func:`dataplane.hashing.maglev`), so only the first question after a
change waits for one, some milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_interface
from typing import Final

from django.utils import timezone

from dataplane import desired, snapshot
from dataplane.compile import compile_tables
from dataplane.explain import METHODS, Prediction, kind_of, predict
from dataplane.explain_query import Query, build_frame
from dataplane.ports import Interface
from dataplane.tables import IPAddress, Reason, Tables, VServerFlag
from webui.models import DataplaneStatus, ServerPath
from webui.scope import LARGEST
from webui.world import is_stale

NOT_LOOKED_FOR: Final = desired.Path(0, bytes(6), bytes(6), "no director has looked for the server yet")


class UnknownError(Exception):
    """It cannot be computed; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Director:
    """A director as its last report shows it; ``attached`` are the interfaces that the forwarder is attached to."""

    name: str
    interfaces: tuple[Interface, ...]
    attached: tuple[Interface, ...]
    wanted: int
    applied: int
    stale: bool

    def arrival(self, client: IPAddress | None) -> Interface:
        """Where a client's frame arrives: the interface in whose subnet the client is, else the first.

        Raises UnknownError when the forwarder is attached to none.
        """
        if not self.attached:
            raise UnknownError(f"Director {self.name} has the forwarder attached to no interface.")
        near = (
            item
            for item in self.attached
            if client and any(client.version == own.version and client in own.network for own in item.addresses)
        )
        return next(near, self.attached[0])

    def is_neighbour(self, client: IPAddress) -> bool:
        """Whether the client is in a subnet of the director, so that no router is between."""
        return any(
            client.version == own.version and client in own.network
            for item in self.interfaces
            for own in item.addresses
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of a client's packet. ``verdict`` is redirect, drop or pass; MACs are text, "" where there is none.

    ``service`` is the one that the packet gets; with ``unsure`` the one for a packet of which the director remembers
    nothing, or None where nothing in the packet decides. ``slot`` is its place in the ring.
    """

    director: Director
    interface: Interface
    query: Query
    revision: int
    reason: Reason | None
    verdict: str
    vserver: desired.VServer | None
    method: str
    slot: int | None
    service: desired.Service | None
    egress: str
    unsure: str

    @property
    def arrival_mac(self) -> str:
        """The director's own MAC address, to which the client's frame comes."""
        return self.interface.mac.hex(":")

    @property
    def new_source_mac(self) -> str:
        """Source MAC after rewriting."""
        return self.service.path.source_mac.hex(":") if self.service and self.service.path.usable else ""

    @property
    def new_destination_mac(self) -> str:
        """Destination MAC after rewriting: the server's."""
        return self.service.path.mac.hex(":") if self.service and self.service.path.usable else ""


def directors(now: datetime | None = None) -> list[Director]:
    """Every director that has ever reported, those that still do first. One query."""
    now = now or timezone.now()
    found = [_director(row, now) for row in DataplaneStatus.objects.order_by("director")]
    return sorted(found, key=lambda one: one.stale)


def _director(row: DataplaneStatus, now: datetime) -> Director:
    known = [(_interface(item), bool(item.get("attached"))) for item in row.interfaces]
    return Director(
        name=row.director,
        interfaces=tuple(item for item, _attached in known),
        attached=tuple(item for item, attached in known if attached),
        wanted=row.wanted_revision,
        applied=row.applied_revision,
        stale=is_stale(row.heartbeat_at, now),
    )


def _interface(item: Mapping[str, object]) -> Interface:
    addresses = item["addresses"]
    return Interface(
        ifindex=int(str(item["ifindex"])),
        name=str(item["name"]),
        mac=bytes.fromhex(str(item["mac"]).replace(":", "")),
        up=bool(item["up"]),
        addresses=tuple(ip_interface(text) for text in addresses) if isinstance(addresses, list) else (),
    )


def explain(query: Query, director: Director) -> Answer:
    """What the director does with the packet. Constant number of queries.

    Raises UnknownError when the forwarder is attached nowhere, and django.db.Error.
    """
    interface = director.arrival(query.source)
    (revision, _health), configuration = snapshot.read()
    state = _resolved(configuration, director, query.destination)
    tables = compile_tables(state, Tables())
    found = predict(tables, build_frame(query, interface.mac), interface.mac)
    return _answer(query, director, interface, revision, (state, tables, found))


def _resolved(configuration: desired.Configuration, director: Director, vip: IPAddress | None) -> desired.DesiredState:
    """The vservers of one VIP with the paths that the director reported; the others cannot get the packet."""
    paths = paths_of(director)
    vservers = tuple(
        desired.resolve_vserver(one, lambda address: paths.get(address, NOT_LOOKED_FOR))
        for one in configuration.vservers
        if one.address == vip
    )
    return desired.DesiredState(
        configuration.revision,
        configuration.hash_key,
        vservers,
        (),
        director.interfaces,
        (),
        (),
        configuration.rules,
        configuration.mode,
    )


def paths_of(director: Director, servers: Iterable[str] | None = None) -> dict[IPAddress, desired.Path]:
    """How the director reaches each server, or those at these addresses, by the server's address. One query."""
    by_name = {item.name: item for item in director.interfaces}
    wanted = None if servers is None else set(servers)
    rows = ServerPath.objects.filter(director=director.name)
    if wanted is not None and len(wanted) <= LARGEST:
        rows = rows.filter(server__address__in=wanted)
    paths = {}
    for address, eligible, reason, mac, interface in rows.values_list(
        "server__address", "eligible", "reason", "mac", "interface"
    ):
        if wanted is not None and address not in wanted:
            continue
        out = by_name.get(interface)
        if eligible and out is not None:
            path = desired.Path(out.ifindex, bytes.fromhex(mac.replace(":", "")), out.mac, "")
        else:
            path = desired.Path(0, bytes(6), bytes(6), reason or "not reachable on layer 2")
        paths[ip_address(address)] = path
    return paths


def _answer(
    query: Query,
    director: Director,
    interface: Interface,
    revision: int,
    known: tuple[desired.DesiredState, Tables, Prediction],
) -> Answer:
    state, tables, found = known
    entry = found.entry
    vserver = next((one for one in state.vservers if entry and one.config_id == entry.config_id), None)
    # Where services take turns the ring is an order, and a slot of it means nothing for a client
    turns = entry is not None and VServerFlag.ROTATE in entry.flags
    reason = None if turns and found.reason is Reason.FORWARDED else found.reason
    chosen = None if turns else tables.services.get(found.service_id)
    bound = vserver.services if vserver else ()
    service = next((one for one in bound if chosen and one.config_id == chosen.config_id), None)
    egress = next((item.name for item in director.interfaces if chosen and item.ifindex == chosen.ifindex), "")
    return Answer(
        director=director,
        interface=interface,
        query=query,
        revision=revision,
        reason=reason,
        verdict=kind_of(reason) if reason is not None else "",
        vserver=vserver,
        method="" if entry is None or turns else METHODS.get(entry.hash_fields, ""),
        slot=None if turns else found.slot,
        service=service,
        egress=egress,
        unsure=found.unsure,
    )


def notes(answer: Answer) -> list[str]:
    """What to know about the answer, in sentences."""
    director, told = answer.director, []
    if director.stale:
        told.append(f"Director {director.name} no longer reports: its MAC addresses may have changed.")
    elif director.applied < answer.revision:
        told.append(
            f"Director {director.name} has applied revision {director.applied}; this is computed from revision "
            f"{answer.revision}, which it will apply next."
        )
    if answer.unsure:
        told.append(
            f"Not certain: {answer.unsure}. What a director remembers goes before what is computed; manage.py explain "
            "on the director asks the loaded program."
        )
    return told


def refused(vserver: desired.VServer) -> Sequence[tuple[str, str]]:
    """(service, reason) of the vserver's services that get no client."""
    return [(one.name, one.reason) for one in vserver.services if not one.eligible]
