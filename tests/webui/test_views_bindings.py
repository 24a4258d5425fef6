from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests import factories
from webui.models import Monitor, Service, ServiceMonitorBinding, VServer, VServerServiceBinding

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


@pytest.fixture
def vserver() -> VServer:
    return factories.vserver()


@pytest.fixture
def service() -> Service:
    return factories.service()


def _messages(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_a_service_is_bound_weighed_and_unbound(owner: Client, vserver: VServer, service: Service) -> None:
    owner.post(reverse("bind-service", args=[vserver.pk]), {"service": service.pk, "weight": "3"})
    assert VServerServiceBinding.objects.get().weight == 3
    owner.post(reverse("set-weight", args=[vserver.pk, service.pk]), {"weight": "7"})
    assert VServerServiceBinding.objects.get().weight == 7
    answer = owner.post(reverse("unbind-service", args=[vserver.pk, service.pk]), follow=True)
    assert not VServerServiceBinding.objects.exists()
    assert _messages(answer)[-1:] == ["Service service_Server1_ANY was unbound from vserver_DSR."]


@pytest.mark.parametrize("weight", ["0", "101", "", "heavy"])
def test_a_weight_out_of_range_is_refused_at_its_field(
    owner: Client, vserver: VServer, service: Service, weight: str
) -> None:
    answer = owner.post(reverse("bind-service", args=[vserver.pk]), {"service": service.pk, "weight": weight})
    assert answer.status_code == 422
    assert "weight" in answer.context["form"].errors
    assert not VServerServiceBinding.objects.exists()


def test_a_weight_out_of_range_of_a_bound_service_changes_nothing(owner: Client, service: Service) -> None:
    vserver = factories.vserver(service)
    answer = owner.post(reverse("set-weight", args=[vserver.pk, service.pk]), {"weight": "101"}, follow=True)
    assert "Weight “101” of service_Server1_ANY was not set" in _messages(answer)[0]
    assert VServerServiceBinding.objects.get().weight == 1


def test_only_services_that_fit_are_offered(owner: Client) -> None:
    web = factories.vserver(name="web", service_type="TCP", port=80)
    server = factories.server(1)
    fits = factories.service(server, name="tcp80", service_type="TCP", port=80)
    factories.service(server, name="tcp81", service_type="TCP", port=81)
    factories.service(server, name="udp80", service_type="UDP", port=80)
    fits_as_any = factories.service(factories.server(2), name="any")
    page = owner.get(reverse("bindings", args=["vservers", web.pk]))
    (table,) = [table for table in page.context["detail"].tables if table.name == "services"]
    assert table.bind
    assert set(table.bind.form.fields["service"].queryset) == {fits, fits_as_any}


def test_a_service_of_a_server_that_is_bound_already_is_refused(owner: Client, service: Service) -> None:
    web = factories.vserver(service, name="web", service_type="TCP", port=80)
    twin = factories.service(service.server, name="tcp80", service_type="TCP", port=80)
    answer = owner.post(reverse("bind-service", args=[web.pk]), {"service": twin.pk, "weight": "1"})
    assert answer.status_code == 422
    assert "service" in answer.context["form"].errors
    assert VServerServiceBinding.objects.get().service == service


def test_a_monitor_is_bound_and_unbound(owner: Client, service: Service) -> None:
    monitor = factories.monitor()
    given = {"monitor": monitor.pk, "weight": "5", "state": "DISABLED"}
    assert owner.post(reverse("bind-monitor", args=[service.pk]), given).status_code == 302
    binding = ServiceMonitorBinding.objects.get()
    assert (binding.monitor, binding.weight, binding.state) == (monitor, 5, "DISABLED")
    owner.post(reverse("unbind-monitor", args=[service.pk, monitor.pk]))
    assert ServiceMonitorBinding.objects.get().monitor.name == "ping-default"


def test_a_monitor_without_a_port_is_not_offered_to_a_service_of_any_port(owner: Client, service: Service) -> None:
    page = owner.get(reverse("bindings", args=["services", service.pk]))
    (table,) = [table for table in page.context["detail"].tables if table.bind is not None]
    assert table.bind.nothing == "Every monitor that fits is bound already."
    given = {"monitor": Monitor.objects.get(name="tcp-default").pk, "weight": "1", "state": "ENABLED"}
    answer = owner.post(reverse("bind-monitor", args=[service.pk]), given)
    assert answer.status_code == 422
    assert "monitor" in answer.context["form"].errors


def test_the_default_monitor_cannot_be_unbound_alone(owner: Client, service: Service) -> None:
    monitor = Monitor.objects.get(name="ping-default")
    answer = owner.post(reverse("unbind-monitor", args=[service.pk, monitor.pk]), follow=True)
    assert "the only one bound" in _messages(answer)[0]
    assert ServiceMonitorBinding.objects.get().monitor == monitor


def test_bindings_by_someone_without_rights_are_refused(client: Client, service: Service) -> None:
    client.force_login(factories.outsider())
    vserver = factories.vserver(service)
    other = factories.service(factories.server(2))
    answer = client.post(reverse("bind-service", args=[vserver.pk]), {"service": other.pk, "weight": "1"})
    assert answer.status_code == 403
    monitor = factories.monitor()
    given = {"monitor": monitor.pk, "weight": "1", "state": "ENABLED"}
    assert client.post(reverse("bind-monitor", args=[service.pk]), given).status_code == 403
    changes: list[tuple[str, dict[str, str]]] = [
        (reverse("set-weight", args=[vserver.pk, service.pk]), {"weight": "9"}),
        (reverse("unbind-service", args=[vserver.pk, service.pk]), {}),
        (reverse("unbind-monitor", args=[service.pk, Monitor.objects.get(name="ping-default").pk]), {}),
    ]
    for address, change in changes:
        assert "webui.change_" in _messages(client.post(address, change, follow=True))[0]
    assert VServerServiceBinding.objects.get().weight == 1
    assert ServiceMonitorBinding.objects.filter(service=service).count() == 1
