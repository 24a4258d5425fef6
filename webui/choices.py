"""Every state and option once: value, label and, where a page shows it, colour and order."""

from __future__ import annotations

from typing import Final

from django.db import models


class AdminState(models.TextChoices):
    """What the operator wants of an object."""

    ENABLED = "ENABLED", "enabled"
    DISABLED = "DISABLED", "disabled"


class State(models.TextChoices):
    """Effective state, in NetScaler's words."""

    UP = "UP", "up"
    DOWN = "DOWN", "down"
    UNKNOWN = "UNKNOWN", "unknown"
    OUT_OF_SERVICE = "OUT OF SERVICE", "out of service"
    GOING_OUT = "GOING OUT OF SERVICE", "going out of service"
    DOWN_GOING_OUT = "DOWN WHEN GOING OUT OF SERVICE", "down when going out of service"
    FAIL_OPEN = "FAIL-OPEN", "failing, kept by fail-open"


# Of a service group: some members serve clients, others do not. No State, since no service has it.
SERVING: Final = frozenset({State.UP, State.FAIL_OPEN})  # states in which clients are sent to a service
PARTIAL_UP: Final = "PARTIAL-UP"

# What a check can find; the other states follow from what the operator wants.
CHECK_STATES = [(state.value, state.label) for state in (State.UP, State.DOWN, State.UNKNOWN, State.GOING_OUT)]

# Problems first: the order in which lists show states, and the colour token of app.css.
STATE_ORDER: dict[str, int] = {
    State.DOWN: 0,
    State.DOWN_GOING_OUT: 1,
    State.FAIL_OPEN: 2,
    PARTIAL_UP: 3,
    State.UNKNOWN: 4,
    State.GOING_OUT: 5,
    State.OUT_OF_SERVICE: 6,
    State.UP: 7,
}
STATE_COLOUR: dict[str, str] = {
    State.UP: "ok",
    State.DOWN: "bad",
    State.UNKNOWN: "warn",
    State.OUT_OF_SERVICE: "muted",
    State.GOING_OUT: "warn",
    State.DOWN_GOING_OUT: "bad",
    State.FAIL_OPEN: "bad",
    PARTIAL_UP: "warn",
}


class TimeUnit(models.TextChoices):
    """Units of a monitor's times (``-interval 500 MSEC``)."""

    SEC = "SEC", "seconds"
    MSEC = "MSEC", "milliseconds"
    MIN = "MIN", "minutes"


UNIT_SECONDS: dict[str, float] = {TimeUnit.SEC: 1.0, TimeUnit.MSEC: 0.001, TimeUnit.MIN: 60.0}
UNIT_SYMBOL: dict[str, str] = {TimeUnit.SEC: "s", TimeUnit.MSEC: "ms", TimeUnit.MIN: "min"}


class ServiceType(models.TextChoices):
    """Protocols of services and vservers; the forwarder works below layer 7, so these are all there are."""

    ANY = "ANY", "ANY (every IP protocol)"
    TCP = "TCP", "TCP"
    UDP = "UDP", "UDP"


# IP protocol numbers (IANA); 0 stands for ANY.
PROTOCOL_NUMBER: dict[str, int] = {ServiceType.ANY: 0, ServiceType.TCP: 6, ServiceType.UDP: 17}


class LbMethod(models.TextChoices):
    """The hash methods, which a packet alone decides, so two directors agree without talking; then the others."""

    SOURCEIPHASH = "SOURCEIPHASH", "Source IP hash"
    DESTINATIONIPHASH = "DESTINATIONIPHASH", "Destination IP hash"
    SRCIPDESTIPHASH = "SRCIPDESTIPHASH", "Source and destination IP hash"
    SRCIPSRCPORTHASH = "SRCIPSRCPORTHASH", "Source IP and source port hash"
    ROUNDROBIN = "ROUNDROBIN", "Round robin"
    LEASTCONNECTION = "LEASTCONNECTION", "Least connections"
    LEASTBANDWIDTH = "LEASTBANDWIDTH", "Least bandwidth"
    LRTM = "LRTM", "Least response time of monitors"


# Services take turns; the last three weigh them by what was measured (dataplane/balance.py).
TURNS = frozenset({LbMethod.ROUNDROBIN, LbMethod.LEASTCONNECTION, LbMethod.LEASTBANDWIDTH, LbMethod.LRTM})


class Persistence(models.TextChoices):
    """What makes a client keep its service for new flows."""

    NONE = "NONE", "none"
    SOURCEIP = "SOURCEIP", "source IP"


class PingResponse(models.TextChoices):
    """What becomes of a ping to the VIP."""

    AUTO = "AUTO", "auto: forwarded where ANY protocol and port is served, else answered"
    ANSWER = "ANSWER", "answered by the director while the VIP is served"
    FORWARD = "FORWARD", "forwarded to a server"
    DROP = "DROP", "dropped"


class WhenDown(models.TextChoices):
    """What becomes of packets while no service of a vserver can take them."""

    DROP = "DROP", "dropped: clients try again until they give up"
    REJECT = "REJECT", "rejected: clients are told at once"


class ForwardingMode(models.TextChoices):
    """Which program forwards: tc alone, or XDP before it."""

    AUTO = "AUTO", "auto: XDP where that is safe, else tc"
    TC = "TC", "tc"
    XDP = "XDP", "XDP where the driver takes it, else tc"


class RedirectionMode(models.TextChoices):
    """How a request reaches the server (``-m``)."""

    MAC = "MAC", "MAC based"


class OnOff(models.TextChoices):
    """NetScaler's ENABLED / DISABLED switches."""

    ENABLED = "ENABLED", "enabled"
    DISABLED = "DISABLED", "disabled"


class ConnFailover(models.TextChoices):
    """Connection failover; both are the same here, since no connection state exists to lose."""

    DISABLED = "DISABLED", "disabled"
    STATELESS = "STATELESS", "stateless"


# What the audit calls an attempt that changes nothing; its own word when shown, and no choice of the column.
PROBED: Final = "probed"


class EventKind(models.TextChoices):
    """What events are about."""

    TRANSITION = "TRANSITION", "change of state"
    ALERT = "ALERT", "alert of a monitor"
    ALARM = "ALARM", "alarm"
    DIRECTOR = "DIRECTOR", "event of a director"
    AUDIT = "AUDIT", "audit entry"
    TEST = "TEST", "test"


class Interface(models.TextChoices):
    """Where a change came from."""

    PAGE = "page", "page"
    API = "api", "API"
    CLI = "cli", "command line"
    SYSTEM = "system", "system"


class Role(models.TextChoices):
    """What a user may do, from the least to the most; see webui/roles.py."""

    READ_ONLY = "read-only", "read-only"
    OPERATOR = "operator", "operator"
    NETWORK = "network", "network"
    SUPERUSER = "superuser", "superuser"


class PasswordOrigin(models.TextChoices):
    """Where a password comes from that its user did not choose."""

    GENERATED = "generated", "was generated at first start"
    SET = "set", "was set by somebody else"


class AuditVerb(models.TextChoices):
    """What an audit entry records."""

    CREATE = "create", "created"
    UPDATE = "update", "changed"
    DELETE = "delete", "deleted"
    ENABLE = "enable", "enabled"
    DISABLE = "disable", "disabled"
    BIND = "bind", "bound"
    UNBIND = "unbind", "unbound"
    LOGIN = "login", "logged in"
    LOGOUT = "logout", "logged out"
    REFUSE = "refuse", "was refused"
    FAIL = "fail", "failed to log in"
    CALL = "call", "called"
    APPLY = "apply", "applied"
    ARCHIVE = "archive", "archived"
    SAVE = "save", "saved"
    ROLLBACK = "rollback", "rolled back"
    TRIAL = "trial", "tried"
    CONFIRM = "confirm", "confirmed"


class Outcome(models.TextChoices):
    """What came of what an audit entry records."""

    SUCCESS = "success", "success"
    REFUSED = "refused", "refused"
    FAILED = "failed", "failed"
