"""How tables look: columns of each kind of row, for the dashboard, the lists and the details alike.

A cell is written by ``templatetags/halfpipe.py`` and kept up to date by ``static/live.js`` from the same row, so both
know the same formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from django import forms

Format = Literal["text", "code", "state", "count", "rate", "bits", "time", "age", "until", "spark"]


@dataclass(frozen=True)
class Column:
    """One column. ``link`` and ``note`` name further fields: an address, and small text under the value."""

    name: str
    label: str
    format: Format = "text"
    link: str = ""
    note: str = ""
    sortable: bool = True

    @property
    def numeric(self) -> bool:
        """Whether figures are to be aligned at the right."""
        return self.format in {"count", "rate", "bits"}


@dataclass(frozen=True)
class Action:
    """A button in a row: a POST to ``url``, with one number when ``field`` is given; ``asks``: a page asks first."""

    label: str
    url: str
    about: str
    field: str = ""
    value: int = 0
    asks: bool = False
    verb: str = "change"  # the permission of the page's kind that it takes


@dataclass(frozen=True)
class BindForm:
    """The form under ``table`` that adds a row to it; ``nothing`` says why there is none to add."""

    form: forms.BaseForm
    url_name: str
    label: str
    table: str
    nothing: str = ""
    preview: str = ""  # name of the address that shows first what it would do
    outcome: str = "outcome"  # where on the page a preview goes
    shown: Any = None  # a preview that was asked for without a script


@dataclass(frozen=True)
class Link:
    """Where a table's heading leads to more."""

    label: str
    url: str


@dataclass(frozen=True)
class Table:
    """A table with a caption. ``source`` names the list of the snapshot that keeps it up to date.

    ``live``: "list": rows come and go with the snapshot; "patch": only the cells of the rows that are there change.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Any]
    empty: str
    source: str = ""
    live: Literal["", "list", "patch"] = ""
    bind: BindForm | None = None
    with_actions: bool = field(default=False)
    more: Link | None = None
    begin: Link | None = None  # what to do while there is no row
    selectable: bool = False  # whether rows have a box to tick, of the form "bulk"
    most: int = 0  # so many of the first rows are shown; 0: all
    total: int = 0  # how many there are
    all_url: str = ""  # where all of them are


TRAFFIC = (
    Column("packets_per_second", "Packets/s", "rate"),
    Column("bits_per_second", "Bits/s", "bits"),
    Column("new_flows_per_second", "New flows/s", "rate"),
    Column("packets", "Packets", "count"),
    Column("flows", "Flows", "count"),
)

# Of a virtual server's clients: packets that were dropped where it was known whose they are.
DROPPED = (
    Column("dropped_per_second", "Dropped/s", "rate"),
    Column("dropped", "Dropped", "count"),
)

# Of a service that is going out of service.
LEAVES_AT = Column("leaves_at", "Out of service", "until")

# What fits on one line of the dashboard; the rest is on each one's page.
GLANCE = frozenset(
    {"name", "state", "endpoint", "services", "packets_per_second", "bits_per_second", "new_flows_per_second"}
)

# The last hour; on the dashboard alone, as the lists are not told of it.
SPARK = Column("spark", "Last hour", "spark", sortable=False)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "vservers": (
        Column("name", "Name", link="url"),
        Column("state", "State", "state", note="state_reason"),
        Column("endpoint", "VIP:port", "code"),
        Column("service_type", "Type"),
        Column("method", "Method"),
        Column("services", "Services UP"),
        *TRAFFIC,
    ),
    "services": (
        Column("name", "Name", link="url"),
        Column("state", "State", "state", note="state_reason"),
        Column("checks", "Checks", "state", note="checks_note"),
        Column("server", "Server", link="server_url", note="path"),
        Column("endpoint", "Address:port", "code"),
        Column("service_type", "Type"),
        Column("weights", "Weights"),
        *TRAFFIC,
    ),
    "servicegroups": (
        Column("name", "Name", link="url"),
        Column("state", "State", "state", note="state_reason"),
        Column("admin", "Admin state", "state"),
        Column("service_type", "Type"),
        Column("members", "Members UP"),
        Column("vservers", "Virtual servers", "count"),
    ),
    "servers": (
        Column("name", "Name", link="url"),
        Column("state", "Admin state", "state", note="state_reason"),
        Column("eligible", "Path", "state", note="path"),
        Column("address", "Address", "code"),
        Column("mac", "MAC", "code"),
        Column("interface", "Interface"),
        Column("services", "Services", "count"),
    ),
    "monitors": (
        Column("name", "Name", link="url"),
        Column("state", "Admin state", "state", note="state_reason"),
        Column("monitor_type", "Type"),
        Column("timing", "Timing"),
        Column("services", "Services", "count"),
        Column("failing", "Services failing", "count"),
    ),
    "eventtargets": (
        Column("name", "Name", link="url"),
        Column("state", "State", "state", note="state_reason"),
        Column("target_type", "Type"),
        Column("where", "Where", "code"),
        Column("gets", "Gets"),
        Column("last_delivery_at", "Last delivery", "time"),
        Column("sent", "Sent", "count"),
        Column("dropped", "Dropped", "count"),
    ),
    "directors": (
        Column("director", "Director"),
        Column("state", "State", "state", note="state_reason"),
        Column("revision", "Revision applied", note="revision_note"),
        Column("applied_at", "Since", "time"),
        Column("mode", "Mode", note="mode_reason"),
        Column("heartbeat_at", "Heartbeat", "age"),
        Column("round", "Last round"),
        Column("drift", "Repairs", "count"),
        Column("last_error", "Last error"),
    ),
    "problems": (
        Column("severity", "State", "state"),
        Column("what", "What", link="url"),
        Column("text", "Why"),
    ),
    "reasons": (
        Column("reason", "Packets", note="note"),
        Column("packets_per_second", "Packets/s", "rate"),
        Column("packets", "Total", "count"),
    ),
    "vserver_drops": (
        Column("reason", "Why"),
        Column("packets", "Packets", "count"),
    ),
    "transitions": (
        Column("at", "When", "time"),
        Column("service", "Service", link="url"),
        Column("vip", "VIP", "code"),
        Column("new", "New state", "state"),
        Column("monitor", "Monitor"),
        Column("reason", "Reason"),
    ),
    "changes": (
        Column("at", "When", "time"),
        Column("who", "Who"),
        Column("what", "What", note="note"),
    ),
    "recent": (
        Column("at", "When", "time"),
        Column("what", "What", link="url", note="note"),
        Column("state", "State", "state"),
        Column("who", "By"),
    ),
    "checks": (
        Column("worker", "Worker"),
        Column("state", "State", "state", note="state_reason"),
        Column("total", "Checks", "count"),
        Column("fresh", "Fresh", "count"),
        Column("stale", "Stale", "count"),
        Column("waiting", "Not checked yet", "count"),
        Column("oldest_at", "Oldest result", "time"),
        Column("per_second", "Checks/s", "rate"),
        Column("renewed_at", "Last sign of life", "time"),
    ),
    "health": (
        Column("vip", "VIP", "code"),
        Column("monitor", "Monitor", link="monitor_url"),
        Column("service", "Service", link="service_url"),
        Column("state", "State", "state", note="response"),
        Column("since", "Since", "time"),
        Column("checked_at", "Last check", "time"),
        Column("freshness", "Result", "state"),
        Column("recent", "Recent", "code"),
        Column("command", "On the director", "code"),
        Column("probe", "By hand", link="probe_url"),
    ),
    "preview": (
        Column("service", "Service", link="url"),
        Column("vip", "VIP", "code"),
        Column("address", "Probe address", "code"),
        Column("state", "It would be", "state", note="message"),
    ),
    "service_monitors": (
        Column("name", "Monitor", link="url"),
        Column("state", "State", "state", note="state_reason"),
        Column("weight", "Weight", "count"),
        Column("timing", "Timing"),
    ),
    "vserver_services": (
        Column("name", "Service", link="url", note="path"),
        Column("group", "Service group", link="group_url"),
        Column("state", "State at this VIP", "state", note="state_reason"),
        Column("endpoint", "Address:port", "code"),
        Column("weight", "Weight", "count"),
        *(column for column in TRAFFIC if column.name != "packets"),
    ),
    "vserver_groups": (
        Column("name", "Service group", link="url"),
        Column("state", "State", "state", note="state_reason"),
        Column("members", "Members UP"),
    ),
    "group_members": (
        Column("server", "Server", link="server_url", note="path"),
        Column("endpoint", "Address:port", "code"),
        Column("state", "State", "state", note="state_reason"),
        Column("weight", "Weight", "count"),
        Column("packets_per_second", "Packets/s", "rate"),
        Column("name", "Member service", link="url"),
    ),
    "group_vservers": (
        Column("name", "Virtual server", link="url"),
        Column("state", "State", "state", note="state_reason"),
        Column("endpoint", "VIP:port", "code"),
        Column("services", "Services UP"),
    ),
    "service_vservers": (
        Column("name", "Virtual server", link="url"),
        Column("state", "State at this VIP", "state", note="state_reason"),
        Column("endpoint", "VIP:port", "code"),
        Column("weight", "Weight", "count"),
    ),
}


def live_list(  # noqa: PLR0913 - the last two by name
    source: str,
    caption: str,
    rows: Sequence[Any],
    empty: str,
    begin: Link | None = None,
    *,
    most: int = 0,
    all_url: str = "",
) -> Table:
    """A table of the dashboard, whose rows come and go with the snapshot; of many, only the first ``most``."""
    shown = rows[:most] if most else rows
    return Table(
        source,
        caption,
        COLUMNS[source],
        shown,
        empty,
        source=source,
        live="list",
        begin=begin,
        most=most,
        total=len(rows),
        all_url=all_url,
    )


def at_a_glance(table: Table) -> Table:
    """Virtual servers as the dashboard shows them."""
    columns = [column for column in table.columns if column.name in GLANCE]
    return replace(table, columns=(*columns, DROPPED[0], SPARK))
