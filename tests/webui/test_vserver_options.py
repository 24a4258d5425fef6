"""Methods, sessions, persistence, backups and the settings of all directors: rules, warnings and pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from tests import factories
from tests.factories import SYSTEM
from webui import consequences, details, queries
from webui.actions import installation, services, vservers
from webui.actions.base import Actor, PermissionRefused
from webui.choices import TURNS, LbMethod, State
from webui.models import AuditEntry, HealthState, Installation, ProbeTarget, VServer
from webui.world import load_world

pytestmark = pytest.mark.django_db

HASHES = [method for method in LbMethod if method not in TURNS]


def refusal(call: Any, *args: Any, **kwargs: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        call(*args, **kwargs)
    return {name: " ".join(texts) for name, texts in caught.value.message_dict.items()}


@pytest.mark.parametrize("sessionless", ["ENABLED", "DISABLED"])
@pytest.mark.parametrize("method", list(LbMethod))
def test_every_method_is_had_with_flows_and_all_but_least_connections_without(method: str, sessionless: str) -> None:
    if (method, sessionless) == ("LEASTCONNECTION", "ENABLED"):
        texts = refusal(factories.vserver, lb_method=method, sessionless=sessionless)
        assert "sessionless forwarding keeps none" in texts["lb_method"]
    else:
        assert factories.vserver(lb_method=method, sessionless=sessionless).lb_method == method


def test_least_connections_cannot_lose_its_flows_later() -> None:
    vserver = factories.vserver(lb_method="LEASTCONNECTION", sessionless="DISABLED")
    assert list(refusal(vservers.update, SYSTEM, vserver, {"sessionless": "ENABLED"})) == ["lb_method"]


@pytest.mark.parametrize("method", sorted(TURNS))
def test_no_stateless_failover_where_it_is_a_matter_of_turns(method: str) -> None:
    texts = refusal(factories.vserver, lb_method=method, sessionless="DISABLED", conn_failover="STATELESS")
    assert list(texts) == ["conn_failover"]


def warnings(**values: Any) -> list[str]:
    vserver = factories.vserver(factories.service(), **values)
    return details.detail("vservers", vserver.pk).warnings


@pytest.mark.parametrize("method", ["ROUNDROBIN", "LEASTBANDWIDTH", "LRTM"])
def test_turns_packet_by_packet_are_warned_of(method: str) -> None:
    (told,) = warnings(lb_method=method)
    assert "a TCP connection is split over the servers" in told


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"lb_method": "ROUNDROBIN", "sessionless": "DISABLED"},
        {"lb_method": "ROUNDROBIN", "persistence_type": "SOURCEIP"},
        {"conn_failover": "STATELESS"},
    ],
)
def test_nobody_is_warned_of_what_works(values: dict[str, Any]) -> None:
    assert warnings(**values) == []


def test_udp_packets_may_take_turns() -> None:
    vserver = factories.vserver(factories.service(), lb_method="ROUNDROBIN", service_type="UDP")
    assert details.detail("vservers", vserver.pk).warnings == []


def test_a_take_over_with_flows_is_warned_of() -> None:
    (told,) = warnings(sessionless="DISABLED", conn_failover="STATELESS")
    assert "another director knows no flows" in told


def test_services_that_are_not_timed_are_named() -> None:
    service = services.update(SYSTEM, factories.service(), {"health_monitor": "NO"})
    vserver = factories.vserver(service, lb_method="LRTM", sessionless="DISABLED")
    (told,) = details.detail("vservers", vserver.pk).warnings
    assert told.endswith(f"taken for average: {service.name}.")


def test_netscalers_spelling_of_options_sets_the_fields() -> None:
    values = {
        "name": "v",
        "IPAddress": "10.77.0.10",
        "-persistenceType": "sourceip",
        "timeout": "7",
        "persistMask": "255.255.0.0",
        "-cltTimeout": "60",
        "downStateFlush": "disabled",
        "-lbMethod": "roundrobin",
        "sessionless": "disabled",
    }
    values["address"] = values.pop("IPAddress")
    made = vservers.create(SYSTEM, values)
    assert (made.persistence_type, made.timeout, made.persist_mask) == ("SOURCEIP", 7, "255.255.0.0")
    assert (made.clt_timeout, made.down_state_flush, made.lb_method) == (60, "DISABLED", "ROUNDROBIN")


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("-macmodeRetainvlan", "ENABLED", "tagged frames"),
        ("-range", 4, "one address"),
        ("-trofsPersistence", "ENABLED", "on its way out"),
        ("-disablePrimaryOnDown", "ENABLED", "takes its clients back"),
        ("-icmpVsrResponse", "ACTIVE", "is the field “ping”"),
        ("-soMethod", "CONNECTION", "not available"),
    ],
)
def test_what_is_not_there_is_refused_with_the_reason(option: str, value: Any, reason: str) -> None:
    assert reason in refusal(factories.vserver, **{option: value})[option]
    assert not VServer.objects.exists()


def test_netscalers_saved_defaults_of_a_vserver_pass() -> None:
    made = factories.vserver(**{"-macmodeRetainvlan": "DISABLED", "-persistenceType": "NONE", "-soMethod": "NONE"})
    assert made.persistence_type == "NONE"


@pytest.mark.parametrize("field", ["syn_rate", "source_syn_rate"])
def test_udp_has_no_syns_to_limit(field: str) -> None:
    assert "gets no SYNs" in refusal(factories.vserver, service_type="UDP", **{field: 5})[field]


# Backups


def pair(**values: Any) -> tuple[VServer, VServer]:
    """A primary at 10.77.0.10 with server 1, and its backup at 10.77.0.20 with server 2; all checks UP."""
    backup = factories.vserver(factories.service(factories.server(2)), name="standby", address="10.77.0.20")
    primary = factories.vserver(factories.service(), backup_vserver=backup.name.upper(), **values)
    HealthState.objects.update(state=State.UP, response="echo")
    return primary, backup


def test_a_backups_services_are_checked_at_the_primarys_vip() -> None:
    primary, backup = pair()
    found = {(target.vip, target.server.name) for target in ProbeTarget.objects.select_related("server")}
    assert found == {("10.77.0.10", "Server1"), ("10.77.0.20", "Server2"), ("10.77.0.10", "Server2")}
    vservers.update(SYSTEM, primary, {"backup_vserver": "NONE"})
    assert not ProbeTarget.objects.filter(vip="10.77.0.10", server__name="Server2").exists()
    vservers.update(SYSTEM, primary, {"backup_vserver": backup})
    assert ProbeTarget.objects.filter(vip="10.77.0.10", server__name="Server2").exists()


def test_the_console_says_that_the_backup_serves() -> None:
    _primary, backup = pair()
    rows = {row["name"]: row for row in queries.overview()["vservers"]}
    assert rows["vserver_DSR"]["state_reason"] == "1 of 1 services UP"
    HealthState.objects.filter(service__server__name="Server1").update(state=State.DOWN)
    rows = {row["name"]: row for row in queries.overview()["vservers"]}
    assert (rows["vserver_DSR"]["state"], rows["vserver_DSR"]["state_reason"]) == (
        State.DOWN,
        "none of its services is UP; its clients go to standby, its backup",
    )
    vservers.disable(SYSTEM, backup)
    rows = {row["name"]: row for row in queries.overview()["vservers"]}
    assert rows["vserver_DSR"]["state_reason"] == "none of its services is UP"


def test_a_backup_whose_servers_do_not_carry_the_primarys_vip_is_seen_beforehand() -> None:
    pair()
    HealthState.objects.filter(target__vip="10.77.0.10", service__server__name="Server2").update(
        state=State.DOWN, response="no answer"
    )
    rows = {row["name"]: row for row in queries.overview()["services"]}
    assert rows["service_Server2_ANY"]["state_reason"] == "at 10.77.0.10: ping-default: no answer"


def test_backups_never_go_round_in_a_circle() -> None:
    primary, backup = pair()
    third = factories.vserver(name="third", address="10.77.0.30", backup_vserver=primary.name)
    assert "its own backup" in refusal(vservers.update, SYSTEM, third, {"backup_vserver": "third"})["backup_vserver"]
    texts = refusal(vservers.update, SYSTEM, backup, {"backup_vserver": third})
    assert texts["backup_vserver"] == ("Backups would go round in a circle: standby → third → vserver_DSR → standby.")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"service_type": "TCP"}, "“standby” is TCP, “v” is ANY"),
        ({"port": 80}, "“standby” has port 80, “v” has *"),
    ],
)
def test_a_backup_takes_the_same_packets(values: dict[str, Any], reason: str) -> None:
    factories.vserver(name="standby", address="10.77.0.20", **values)
    texts = refusal(factories.vserver, name="v", backup_vserver="standby")
    assert reason in texts["backup_vserver"]


def test_a_backup_of_every_port_and_protocol_fits_all() -> None:
    factories.vserver(name="standby", address="10.77.0.20")
    assert factories.vserver(service_type="TCP", port=80, backup_vserver="standby").backup_vserver is not None


def test_a_backup_is_not_deleted_while_it_is_one() -> None:
    primary, backup = pair()
    with pytest.raises(ValidationError, match="“standby” is the backup of vserver_DSR"):
        vservers.delete(SYSTEM, backup)
    assert consequences.of_deleting(load_world(), "vservers", backup.pk)[0].startswith(
        "It is the backup of vserver_DSR."
    )
    vservers.delete(SYSTEM, primary)
    vservers.delete(SYSTEM, backup)


def test_a_vserver_is_not_offered_as_its_own_backup(client: Client) -> None:
    primary, backup = pair()
    client.force_login(factories.owner())
    offered = client.get(f"/vservers/{primary.pk}/edit/").context["form"].fields["backup_vserver"].queryset
    assert list(offered) == [backup]


# Settings of all directors


def test_the_ttl_rule_is_changed_by_a_page_and_recorded(client: Client) -> None:
    client.force_login(factories.owner())
    revision = Installation.objects.get().revision
    answer = client.post("/settings/", {"ttl_rule": "on", "forwarding_mode": "AUTO"}, follow=True)
    assert "The settings were saved." in answer.content.decode()
    row = Installation.objects.get()
    assert (row.ttl_rule, row.revision) == (True, revision + 1)
    entry = AuditEntry.objects.get(kind="installation")
    assert (entry.actor_name, entry.before, entry.after) == ("owner", {"ttl_rule": False}, {"ttl_rule": True})
    assert "ttl_rule: False → True" in answer.content.decode()


def test_the_same_settings_again_are_no_change() -> None:
    installation.update(SYSTEM, {"ttl_rule": "NO"})
    assert not AuditEntry.objects.filter(kind="installation").exists()


@pytest.mark.parametrize("values", [{"ttl_rule": "perhaps"}, {"hash_key": "0" * 32}, {"revision": 7}])
def test_other_settings_and_other_values_are_refused(values: dict[str, Any]) -> None:
    assert list(refusal(installation.update, SYSTEM, values)) == list(values)
    assert Installation.objects.get().ttl_rule is False


def test_who_may_not_change_the_settings_sees_them_and_is_refused_on_the_record(client: Client) -> None:
    user = factories.outsider()
    client.force_login(user)
    page = client.get("/settings/").content.decode()
    assert "Your account may not change them" in page
    assert client.post("/settings/", {"ttl_rule": "on", "forwarding_mode": "AUTO"}).status_code == 403
    with pytest.raises(PermissionRefused):
        installation.update(Actor(user, "page"), {"ttl_rule": True})
    assert AuditEntry.objects.filter(kind="installation", verb="refuse").count() == 2
    assert Installation.objects.get().ttl_rule is False
