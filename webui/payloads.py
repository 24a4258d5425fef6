"""What pages and websocket messages carry. Only fields named here leave the server, so no secret can slip in.

Rates and totals are None while no director has reported counters within :data:`STALE_AFTER_SECONDS`. Times are
ISO 8601.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

# A director writes its heartbeat and counters every second; after this long without, its figures are history.
STALE_AFTER_SECONDS = 10


class Rates(TypedDict):
    """Traffic towards the servers; replies never pass the director."""

    packets_per_second: float | None
    bits_per_second: float | None
    packets: int | None
    flows: int | None  # remembered; None where no flows are kept
    dropped: int | None  # packets; of virtual servers only
    dropped_per_second: float | None
    new_flows: int | None  # that began; None where nobody counts them
    new_flows_per_second: float | None


class VServerRow(Rates):
    """A virtual server; ``services`` is “UP/bound”."""

    key: str
    url: str
    name: str
    state: str
    state_reason: str
    endpoint: str
    service_type: str
    method: str
    services: str
    services_up: int
    services_total: int
    kept: int  # failing, and in use by fail-open
    spark: str  # heights of the last hour and, after a space, the most packets/s; empty: not known, or not asked for


class ServiceRow(Rates):
    """A service; ``path`` is why directors cannot reach its server, empty when they can.

    ``checks`` is STALE when a check has had no result for too long, with a note; else CURRENT, or empty without any.
    ``leaves_at`` is when it will be out of service, None unless it is going and the moment is known.
    """

    key: str
    url: str
    name: str
    state: str
    state_reason: str
    server: str
    server_url: str
    endpoint: str
    service_type: str
    weights: str
    path: str
    checks: str
    checks_note: str
    leaves_at: str | None


class ServiceGroupRow(TypedDict):
    """A service group; ``state`` is what its members come to, ``admin`` what the operator wants of it.

    ``members`` is “UP/all”, ``vservers`` counts those that it is bound to.
    """

    key: str
    url: str
    name: str
    state: str
    state_reason: str
    admin: str
    service_type: str
    members: str
    vservers: int


class ServerRow(TypedDict):
    """A server; ``eligible`` is YES, NO or UNKNOWN, ``path`` the reason."""

    key: str
    url: str
    name: str
    address: str
    state: str
    state_reason: str
    mac: str
    interface: str
    path: str
    eligible: str
    services: int


class MonitorRow(TypedDict):
    """A monitor; ``failing`` counts the services that it finds DOWN."""

    key: str
    url: str
    name: str
    state: str
    state_reason: str
    monitor_type: str
    timing: str
    services: int
    failing: int


class DirectorRow(TypedDict):
    """A director; ``state`` is CURRENT, APPLYING, ERROR or STALE.

    ``mode_reason`` tells for each interface what forwards there and why, ``mode_refused`` where XDP cannot be had.
    """

    key: str
    director: str
    state: str
    state_reason: str
    revision: str  # applied
    revision_note: str  # whether it is the current one
    applied_at: str | None
    mode: str
    mode_reason: str
    mode_refused: str
    heartbeat_at: str | None
    round: str
    drift: int
    last_error: str


class ReasonRow(TypedDict):
    """How many packets left the forwarder for one reason."""

    key: str
    reason: str
    note: str  # when a counter moved that should stand still
    packets: int | None
    packets_per_second: float | None


class ProblemRow(TypedDict):
    """One thing to look at; ``severity`` is a State value, so that it is shown as states are."""

    key: str
    severity: str
    what: str
    url: str
    text: str


class EventTargetRow(TypedDict):
    """Where events are sent; ``state`` is ENABLED, ERROR (the last delivery failed) or DISABLED."""

    key: str
    url: str
    name: str
    state: str
    state_reason: str
    target_type: str
    where: str
    gets: str
    sent: int
    dropped: int
    last_delivery_at: str | None
    last_error: str
    last_error_at: str | None
    test: str


class TransitionRow(TypedDict):
    """A change of state that the checks found."""

    key: str
    at: str
    service: str
    url: str
    vip: str
    monitor: str
    old: str
    new: str
    reason: str


class ChangeRow(TypedDict):
    """An audit entry; ``note`` is what changed, or why it was refused."""

    key: str
    at: str
    who: str
    what: str
    url: str
    note: str


class RecentRow(TypedDict):
    """One change of the last hour; ``state`` is a new State, or CHANGED, REFUSED, NOTICED, ALARM, OVER."""

    key: str
    at: str
    state: str
    what: str
    url: str
    note: str
    who: str


class ChecksRow(TypedDict):
    """A worker with the checks that it runs; ``state`` is RUNNING, STALE, SILENT or ERROR.

    ``fresh`` have a result in time, ``stale`` have not, ``waiting`` are too new to have had one. ``per_second`` is how
    often the fresh ones are made.
    """

    key: str
    worker: str
    state: str
    state_reason: str
    renewed_at: str | None
    total: int
    fresh: int
    stale: int
    waiting: int
    oldest_at: str | None
    per_second: float


class CountersRow(TypedDict):
    """Counters of one director, ``payload`` as in :class:`webui.models.DirectorCounters`."""

    director: str
    taken_at: str
    payload: dict[str, Any]


class Overview(TypedDict):
    """Everything the dashboard shows, problems first."""

    now: str
    problems: list[ProblemRow]
    vservers: list[VServerRow]
    services: list[ServiceRow]
    servicegroups: list[ServiceGroupRow]
    servers: list[ServerRow]
    monitors: list[MonitorRow]
    directors: list[DirectorRow]
    reasons: list[ReasonRow]
    recent: list[RecentRow]
    checks: list[ChecksRow]
    counters: list[CountersRow]


class SnapshotMessage(TypedDict):
    """What a browser starts from. Beside these fields: the rows that it wants, each source under its own name.

    ``seq`` is the number of the latest message of the ``view``; the next one has one more. ``read_at`` is when the
    rows were read, ``refresh`` after how many seconds a message comes at the latest. ``totals`` has how many rows of
    each source there are, be it that fewer are sent.
    """

    type: Literal["snapshot"]
    view: str
    seq: int
    now: str
    read_at: str
    refresh: float
    problem_count: int  # also where the problems themselves are not wanted
    totals: dict[str, int]
    counters: list[CountersRow]


class RowsDelta(TypedDict):
    """What differs in the rows of a source. ``order``: keys of all rows, where it is another than before."""

    changed: list[dict[str, Any]]
    order: NotRequired[list[str]]


class DeltaMessage(TypedDict):
    """What differs from what the message before left. ``read_at`` only where rows were read.

    ``counters`` have, of each director that reported, the counts that moved, and null for those that are no more;
    ``gone`` are directors whose counters are.
    """

    type: Literal["delta"]
    view: str
    seq: int
    now: str
    read_at: NotRequired[str]
    problem_count: NotRequired[int]
    totals: NotRequired[dict[str, int]]
    rows: NotRequired[dict[str, RowsDelta]]
    counters: NotRequired[list[CountersRow]]
    gone: NotRequired[list[str]]


class StaleMessage(TypedDict):
    """The rows cannot be read, and are as they were at ``since``."""

    type: Literal["stale"]
    view: str
    seq: int
    now: str
    since: str
    why: str


class FlowsMessage(TypedDict):
    """Sampled flows of the vserver that the page shows; ``rows`` as in :class:`dataplane.flow_view.FlowRow`."""

    type: Literal["flows"]
    seq: int
    now: str
    director: str
    rows: list[dict[str, Any]]
    withheld: int
