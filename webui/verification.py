"""Whether each server of a virtual server does its part, step by step, and in plain words what is wrong when not.

Pure but for :func:`verify`, which reads the rows: what directors found of the path, and what the checks found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from django.core.exceptions import ObjectDoesNotExist

from webui.check_rows import probe_url
from webui.choices import AdminState, State
from webui.models import (
    HealthState,
    Installation,
    Server,
    ServerPath,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
)
from webui.models.fields import ANY_PORT
from webui.rows import director_row, url_of
from webui.scope import scope_of_vservers
from webui.server_setup import look
from webui.world import World, load_world, row_of

OK: Final = "OK"
FAILED: Final = "FAILED"
WAITING: Final = "WAITING"
CSS: Final = {OK: "state-yes", FAILED: "state-no", WAITING: "state-unknown"}


@dataclass(frozen=True)
class Step:
    """One thing that must be so. ``text`` is what was found, ``advice`` what to do about it."""

    label: str
    state: str
    text: str
    advice: tuple[str, ...] = ()
    probe: str = ""  # where the same can be tried by hand

    @property
    def css(self) -> str:
        """Class of the state."""
        return CSS[self.state]


@dataclass(frozen=True)
class ServerChecked:
    """A server with its steps."""

    name: str
    url: str
    address: str
    service: str
    service_url: str
    steps: list[Step]

    @property
    def state(self) -> str:
        """The worst of its steps."""
        return worst(self.steps)

    @property
    def css(self) -> str:
        """Class of the state."""
        return CSS[self.state]


@dataclass(frozen=True)
class Verification:
    """What is known of a virtual server now."""

    vserver: VServer
    director: Step
    servers: list[ServerChecked] = field(default_factory=list)

    @property
    def state(self) -> str:
        """OK when everything is."""
        if not self.servers:
            return FAILED
        return FAILED if self.director.state == FAILED else worst([self.director, *self.servers])

    @property
    def css(self) -> str:
        """Class of the state."""
        return CSS[self.state]

    @property
    def words(self) -> str:
        """The result in a sentence."""
        if not self.servers:
            return "No service is bound, so no server can answer."
        good, total = sum(one.state == OK for one in self.servers), len(self.servers)
        if good == total:
            return f"Every server answers for {self.vserver.address}: {good} of {total}."
        bad = sum(one.state == FAILED for one in self.servers)
        waiting = f", {total - good - bad} not known yet" if total - good - bad else ""
        return f"{good} of {total} servers answer for {self.vserver.address}, {bad} do not{waiting}."


def worst(steps: Iterable[Any]) -> str:
    """FAILED before WAITING before OK."""
    states = {step.state for step in steps}
    return next((state for state in (FAILED, WAITING) if state in states), OK)


def verify(pk: int) -> Verification:
    """Read and judge; fourteen queries at most, however many servers. Raises ObjectDoesNotExist."""
    if not VServer.objects.filter(pk=pk).exists():
        raise ObjectDoesNotExist(f"No object {pk}.")
    world = load_world(scope_of_vservers([pk]))
    vserver: VServer = row_of(world.vservers, pk)
    servers = [_server(world, vserver, binding) for binding in world.bindings_of_vserver[pk]]
    return Verification(vserver, _director(world), servers)


def _director(world: World) -> Step:
    label = "Configuration is applied"
    if not world.directors:
        text = "No director has reported yet: nothing is forwarded and nothing can be checked."
        return Step(label, FAILED, text, ("Start the data plane worker on the director: python -m dataplane.worker.",))
    revision = Installation.objects.values_list("revision", flat=True).first() or 0
    rows = [director_row(status, world.now, revision) for status in world.directors]
    told = "; ".join(f"{row['director']}: {row['state_reason']}" for row in rows)
    states = {row["state"] for row in rows}
    if states <= {"CURRENT"}:
        return Step(label, OK, told)
    if "ERROR" in states or states == {"STALE"}:
        return Step(label, FAILED, told, ("The dashboard's problems tell more about the director.",))
    return Step(label, WAITING, told)


def _server(world: World, vserver: VServer, binding: VServerServiceBinding) -> ServerChecked:
    service = binding.service
    server = service.server
    steps = [path_step(server, world.paths[server.pk])]
    bound = [one for one in world.monitors_of[service.pk] if _counts(one)]
    health = {one.monitor_id: world.health.get((service.pk, vserver.address, one.monitor_id)) for one in bound}
    pings = [health[one.monitor_id] for one in bound if one.monitor.monitor_type == "PING"]
    answers_ping = any(row is not None and row.state == State.UP for row in pings)
    for one in bound:
        steps.append(check_step(vserver, one, health[one.monitor_id], answers_ping=answers_ping))
    if not bound or not service.health_monitor:
        steps[1:] = [Step("The VIP answers", WAITING, "Not checked: no monitor of the service counts.")]
    if AdminState.DISABLED in {vserver.state, service.state, server.state}:
        steps.append(Step("It is enabled", FAILED, "The virtual server, the service or the server is disabled."))
    return ServerChecked(
        server.name,
        url_of("servers", server.pk),
        server.address,
        service.name,
        url_of("services", service.pk),
        steps,
    )


def _counts(binding: ServiceMonitorBinding) -> bool:
    return AdminState.DISABLED not in {binding.state, binding.monitor.state}


def path_step(server: Server, paths: list[ServerPath]) -> Step:
    """Whether directors know the server's MAC address."""
    label = "Its MAC address is known"
    if not paths:
        return Step(label, WAITING, "No director has looked for it yet.")
    refused = [path for path in paths if not path.eligible]
    if not refused:
        return Step(label, OK, "; ".join(f"{one.mac} on {one.interface} ({one.director})" for one in paths))
    text = "; ".join(f"{one.director}: {one.reason or 'not reachable on layer 2'}" for one in refused)
    if all("not known yet" in one.reason for one in refused):
        return Step(label, WAITING, text)
    return Step(label, FAILED, text, path_advice(server, text))


def path_advice(server: Server, reason: str) -> tuple[str, ...]:
    """What to do when directors cannot reach a server on layer 2."""
    if "does not answer" in reason:
        return (
            f"Is the server switched on, and is {server.address} its own address there, not a VIP?",
            "Is it on the director's segment (same switch or VLAN)? DSR changes MAC addresses and cannot cross a "
            "router.",
        )
    if "outside every subnet" in reason or "no IPv" in reason:
        return (
            "DSR works on one segment: give the server, or the director, an address of the other's subnet.",
            f"{server.address} must be the server's address on that segment.",
        )
    if "director" in reason and ("itself" in reason or "own" in reason):
        return ("That is the director's own address or network card: name the server by its own address.",)
    return ()


def check_step(
    vserver: VServer, binding: ServiceMonitorBinding, health: HealthState | None, *, answers_ping: bool
) -> Step:
    """Whether a monitor got its answer from the VIP on the server."""
    monitor, service = binding.monitor, binding.service
    label = f"The VIP answers {monitor.name}"
    probe = probe_url(monitor.pk, service.pk, health.target_id) if health is not None else ""
    if health is None or health.state == State.UNKNOWN:
        every = monitor.time_text("interval")
        return Step(label, WAITING, f"Not checked yet; it is every {every}.", probe=probe)
    text = health.response or "no words"
    if health.state != State.DOWN:
        return Step(label, OK, text, probe=probe)
    kind = monitor.kind
    port = kind.port(
        wanted=monitor.dest_port,
        service_port=service.port or (0 if vserver.port_end else vserver.port),
        service_type=service.service_type,
        secure=monitor.secure,
    ) if kind else ANY_PORT  # fmt: skip
    return Step(label, FAILED, text, check_advice(text, vserver.address, service.server, port, answers_ping), probe)


def check_advice(response: str, vip: str, server: Server, port: int, answers_ping: bool) -> tuple[str, ...]:
    """What the result of a failed check most likely means, most likely first."""
    said = response.lower()
    at_port = f"port {port}" if port else "the service"
    if "refused" in said and "certificate" not in said and "login" not in said:
        return (
            f"The server has the VIP, but nothing listens on {at_port} there: the service must listen on every address "
            f"or on {vip}, not on {server.address} alone.",
        )
    if any(words in said for words in ("no route", "unreachable (", "may not send", "dropped on the way")):
        return ("That is about the director, not about the server: does its data plane run, with this configuration?",)
    if said.startswith("no answer") or "timed out" in said:
        if answers_ping:
            return (
                f"The VIP is there, as ping is answered, but {at_port} is silent: a firewall on the server that knows "
                f"{server.address} and not {vip}, most likely.",
            )
        missing = (
            f"Most likely the VIP is missing on the server: {look(vip)} must show it there; the commands are below."
        )
        return (
            missing,
            f"Or a firewall on the server drops packets to {vip}: rules often name {server.address} alone.",
            "Or the server has no route back to the director's address on that segment.",
        )
    if "reset" in said:
        return ("Something took the connection and broke it off: look at the log of the service on the server.",)
    return ("Something answers at the VIP, but not what the monitor asks for: look at the service and the monitor.",)
