"""Which services a virtual server has, and which monitors a service has."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from webui.actions import services, vservers
from webui.actions.base import find
from webui.api import schemas, values
from webui.api.auth import may_view
from webui.api.objects import ERRORS
from webui.api.previews import DryRun, Preview, act
from webui.models import Monitor, Service, VServer

of_vservers = Router(tags=["Virtual servers"])
of_services = Router(tags=["Services"])
LIST: dict[int, Any] = {200: list[schemas.Bound], **ERRORS}
PUT: dict[int, Any] = {200: schemas.Bound | Preview, 201: schemas.Bound, **ERRORS}
GONE: dict[int, Any] = {204: None, 200: Preview, **ERRORS}


@of_vservers.get("/{name}/services", response=LIST, summary="Services of a virtual server")
def list_services(request: HttpRequest, name: str) -> Any:
    """With their weights, by name."""
    may_view(request, VServer)
    bound = find(VServer, name).service_bindings.select_related("service").order_by("service__name")
    return [{"name": one.service.name, "weight": one.weight} for one in bound]


@of_vservers.put("/{name}/services/{service}", response=PUT, summary="Bind a service, or change its weight")
def bind_service(request: HttpRequest, name: str, service: str, body: schemas.Weight, dry_run: DryRun = False) -> Any:
    """The same request twice does the same as once."""
    vserver, bound = find(VServer, name), find(Service, service)
    known = vserver.service_bindings.filter(service=bound).exists()
    deed = vservers.set_weight if known else vservers.bind_service
    binding = values.unless_changed(
        request,
        vserver,
        lambda: act(request, lambda actor: deed(actor, vserver, bound, body.weight), dry_run=dry_run),
    )
    return Status(200 if known else 201, {"name": bound.name, "weight": binding.weight})


@of_vservers.delete("/{name}/services/{service}", response=GONE, summary="Unbind a service")
def unbind_service(request: HttpRequest, name: str, service: str, dry_run: DryRun = False) -> Any:
    """Its clients get another."""
    vserver = find(VServer, name)
    unbind = vservers.unbind_service
    values.unless_changed(
        request, vserver, lambda: act(request, lambda actor: unbind(actor, vserver, service), dry_run=dry_run)
    )
    return Status(204, None)


@of_services.get("/{name}/monitors", response=LIST, summary="Monitors of a service")
def list_monitors(request: HttpRequest, name: str) -> Any:
    """With their weights and whether they count, by name."""
    may_view(request, Service)
    bound = find(Service, name).monitor_bindings.select_related("monitor").order_by("monitor__name")
    return [{"name": one.monitor.name, "weight": one.weight, "state": one.state} for one in bound]


@of_services.put("/{name}/monitors/{monitor}", response=PUT, summary="Bind a monitor, or change its binding")
def bind_monitor(
    request: HttpRequest, name: str, monitor: str, body: schemas.MonitorBinding, dry_run: DryRun = False
) -> Any:
    """The same request twice does the same as once."""
    service, bound = find(Service, name), find(Monitor, monitor)
    given = {key: value for key, value in body.model_dump().items() if value is not None}
    known = service.monitor_bindings.filter(monitor=bound).exists()
    deed: Any = services.set_monitor_binding if known else services.bind_monitor
    binding = values.unless_changed(
        request, service, lambda: act(request, lambda actor: deed(actor, service, bound, **given), dry_run=dry_run)
    )
    return Status(200 if known else 201, {"name": bound.name, "weight": binding.weight, "state": binding.state})


@of_services.delete("/{name}/monitors/{monitor}", response=GONE, summary="Unbind a monitor")
def unbind_monitor(request: HttpRequest, name: str, monitor: str, dry_run: DryRun = False) -> Any:
    """The built-in one takes its place when it was the last."""
    service = find(Service, name)
    unbind = services.unbind_monitor
    values.unless_changed(
        request, service, lambda: act(request, lambda actor: unbind(actor, service, monitor), dry_run=dry_run)
    )
    return Status(204, None)


@of_vservers.put(
    "/{name}/weights", response={200: list[schemas.Bound] | Preview, **ERRORS}, summary="Set several weights"
)
def set_weights(request: HttpRequest, name: str, body: schemas.Weights, dry_run: DryRun = False) -> Any:
    """One change for all; services that are not named keep theirs."""
    vserver = find(VServer, name)
    version = values.wanted(request, vserver)
    act(request, lambda actor: vservers.set_weights(actor, vserver, body.weights, version), dry_run=dry_run)
    return list_services(request, name)
