"""Monitors of every kind in the console: parameters, secrets at rest, forms, details and the audit."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitors import store
from monitors.check import Check
from tests import factories
from webui import details
from webui.actions import monitors, services, vservers
from webui.models import AuditEntry, HealthState, Monitor
from webui.models.health import SHARDS
from webui.models.sealed import CannotOpenError, opened, seal
from webui.views.objects import Difference

pytestmark = pytest.mark.django_db

SYSTEM = factories.SYSTEM
SECRET = "correct horse battery"


def make(kind: str, name: str = "m", **values: Any) -> Monitor:
    return monitors.create(SYSTEM, {"name": name, "monitor_type": kind} | values)


def refusal(kind: str, **values: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        make(kind, **values)
    return {name: " ".join(texts) for name, texts in caught.value.message_dict.items()}


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def test_parameters_are_given_in_either_spelling_and_completed_by_defaults() -> None:
    monitor = make("http", httpRequest="GET /health", resp_code="200-204")
    assert monitor.monitor_type == "HTTP"
    assert monitor.params == {
        "http_request": "GET /health",
        "resp_code": "200-204",
        "trofs_code": 0,
        "custom_headers": "",
    }


def test_wrong_parameters_are_refused_each_by_its_name() -> None:
    texts = refusal("HTTP", http_request="GET /a b", resp_code="9", interval=0)
    assert texts.keys() == {"http_request", "resp_code", "interval"}
    words = refusal("HTTP", send="x")["send"]
    assert words.startswith("“send” is a parameter of HTTP-ECV, TCP-ECV")
    assert words.endswith(", not of HTTP.")
    assert "is not an option of a monitor" in refusal("HTTP", colour="red")["colour"]
    assert refusal("FTP-EXTENDED") == {"file_name": "File name is required."}
    assert not Monitor.objects.filter(name="m").exists()


def test_rules_of_the_common_parameters() -> None:
    assert refusal("PING", secure=True) == {"secure": "PING checks cannot go through TLS."}
    assert make("TLS", "tls").secure
    assert "learn response times too" in refusal("TCP", dest_port=80, deviation=2)["deviation"]
    assert refusal("TCP", alert_retries=33).keys() == {"alert_retries"}
    assert "no virtual server has that address" in refusal("TCP", dest_ip="10.77.0.10")["dest_ip"]


def test_a_destination_other_than_the_vip_is_refused_wherever_it_would_come_about() -> None:
    service = factories.service()
    vserver = factories.vserver(service)
    at_vip = make("TCP", "at-vip", dest_port=80, dest_ip="10.77.0.10")
    services.bind_monitor(SYSTEM, service, at_vip)
    with pytest.raises(ValidationError, match=r"would be asked to check 10\.77\.0\.20"):
        vservers.bind_service(SYSTEM, factories.vserver(name="other", address="10.77.0.20"), service)
    with pytest.raises(ValidationError, match=r"always: destination IP 10\.77\.0\.20 is refused"):
        monitors.update(SYSTEM, at_vip, {"dest_ip": "10.77.0.20"})
    elsewhere = make("TCP", "elsewhere", dest_port=80, dest_ip="10.77.0.20")
    with pytest.raises(ValidationError, match=r"the service is checked at 10\.77\.0\.10"):
        services.bind_monitor(SYSTEM, service, elsewhere)
    assert vserver.address == "10.77.0.10"


def test_secrets_are_ciphertext_in_the_row_and_open_again(settings: Any) -> None:
    token = seal({"password": SECRET, "empty": ""})
    assert SECRET not in token
    assert opened(token) == {"password": SECRET}
    assert seal({}) == ""
    assert seal({"password": SECRET}) != token
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another key, as long as one has to be"
    with pytest.raises(CannotOpenError, match="SECRET_KEY has changed"):
        opened(token)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert opened(token) == {"password": SECRET}
    with pytest.raises(CannotOpenError):
        opened(token[:-8])


def test_a_secret_is_in_no_row_audit_message_page_or_log(owner: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monitor = make("FTP", user_name="probe", password=SECRET)
    monitors.update(SYSTEM, monitor, {"password": SECRET + "2"})
    monitor.refresh_from_db()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM webui_monitor")
        assert SECRET not in str(cursor.fetchall())
    assert SECRET not in json.dumps(list(AuditEntry.objects.values("before", "after")))
    for name in ("detail", "edit"):
        assert SECRET not in owner.get(reverse(name, args=["monitors", monitor.pk])).content.decode()
    assert SECRET not in caplog.text
    assert SECRET not in str(vars(monitor))


def test_the_audit_shows_parameters_and_that_a_secret_changed() -> None:
    monitor = make("FTP", user_name="probe", password=SECRET)
    created = AuditEntry.objects.get(object_id=monitor.pk, verb="create").after or {}
    assert (created["user_name"], created["password"]) == ("probe", "•••")
    monitors.update(SYSTEM, monitor, {"user_name": "other", "password": "new"})
    changed = AuditEntry.objects.filter(object_id=monitor.pk).first()
    assert changed is not None
    assert changed.before == {"user_name": "probe", "password": "•••"}
    assert changed.after == {"user_name": "other", "password": "changed"}
    monitors.update(SYSTEM, monitor, {"password": ""})
    removed = AuditEntry.objects.filter(object_id=monitor.pk).first()
    assert removed is not None
    assert removed.after == {"password": "removed"}


def test_the_same_secret_again_is_no_change() -> None:
    monitor = make("FTP", password=SECRET)
    monitors.update(SYSTEM, monitor, {"password": SECRET})
    monitors.update(SYSTEM, monitor, {"interval": 5})
    monitor.refresh_from_db()
    assert monitor.version == 1
    assert opened(monitor.secrets) == {"password": SECRET}


def _checked(monitor: Monitor) -> HealthState:
    service = factories.service(service_type="TCP", port=8080)
    services.bind_monitor(SYSTEM, service, monitor)
    factories.vserver(service, service_type="TCP", port=8080)
    HealthState.objects.update(recent="PPP")
    return HealthState.objects.get(monitor=monitor)


def test_a_changed_parameter_or_secret_is_another_question() -> None:
    monitor = make("FTP", password=SECRET)
    state = _checked(monitor)
    for values, recent in (({"interval": 7}, "PPP"), ({"user_name": "x"}, ""), ({"password": "y"}, "")):
        HealthState.objects.update(recent="PPP")
        monitors.update(SYSTEM, monitor, values)
        state.refresh_from_db()
        assert state.recent == recent, values


def test_a_check_has_the_parameters_and_the_secret_in_memory_only() -> None:
    _checked(make("FTP", user_name="probe", password=SECRET, secure=True))
    ((plan, _known),) = store.load(range(SHARDS), timezone.now())
    assert dict(plan.spec.params) == {"user_name": "probe", "password": SECRET}
    assert (plan.spec.port, plan.spec.secure, plan.spec.problem) == (8080, True, "")
    assert SECRET not in repr(plan)


def test_without_its_key_a_monitor_fails_its_checks_with_the_reason_and_can_be_mended(settings: Any) -> None:
    monitor = make("FTP", password=SECRET)
    _checked(monitor)
    settings.SECRET_KEY = "another key, as long as one has to be"
    ((plan, _known),) = store.load(range(SHARDS), timezone.now())
    assert plan.spec.problem == "The stored secrets cannot be decrypted: SECRET_KEY has changed since."
    monitors.update(SYSTEM, monitor, {"password": "new"})
    monitor.refresh_from_db()
    assert opened(monitor.secrets) == {"password": "new"}


def test_the_detail_page_lists_parameters_and_only_that_a_secret_is_set() -> None:
    monitor = make("FTP", user_name="probe", password=SECRET)
    facts = dict(details.detail("monitors", monitor.pk).facts)
    assert facts["User name"] == "probe"
    assert facts["Password"] == "••• set"
    assert facts["Type"] == "FTP (login)"
    monitors.update(SYSTEM, monitor, {"password": ""})
    assert dict(details.detail("monitors", monitor.pk).facts)["Password"] == "not set"


def test_the_command_for_the_director_fits_the_kind() -> None:
    state = _checked(make("HTTPS", dest_port=8443))

    def command() -> str:
        tables = {table.name: table for table in details.detail("monitors", state.monitor_id).tables}
        return str(tables["health"].rows[0]["command"])

    assert command() == f"curl -vk https://{state.target.address}:8443/"
    Monitor.objects.filter(pk=state.monitor_id).update(monitor_type="POP3", secure=False, dest_port=0)
    assert command() == f"curl -v telnet://{state.target.address}:8080"
    Monitor.objects.filter(pk=state.monitor_id).update(secure=True)
    assert command() == f"openssl s_client -connect {state.target.address}:8080"


def test_times_have_units_in_netscalers_spellings() -> None:
    monitor = make("TCP", dest_port=80, interval="500 MSEC", respTimeout="200ms", downTime="2 min", units1="MSEC")
    assert (monitor.seconds("interval"), monitor.seconds("resp_timeout")) == (0.5, 0.2)
    assert (monitor.seconds("down_time"), monitor.deviation_unit) == (120.0, "MSEC")
    monitors.update(SYSTEM, monitor, {"units3": "SEC", "interval": 3})
    monitor.refresh_from_db()
    assert (monitor.time_text("interval"), monitor.seconds("interval")) == ("3 s", 3.0)
    monitors.update(SYSTEM, monitor, {"interval": "900"})  # the unit stays
    monitor.refresh_from_db()
    assert monitor.time_text("interval") == "900 s"


def test_times_keep_their_order_and_limits_whatever_their_unit() -> None:
    given: dict[str, Any] = {"dest_port": 80}
    words = refusal("TCP", interval="500 MSEC", **given)["resp_timeout"]
    assert words == "The response timeout (2 s) must be shorter than the interval (500 ms)."
    assert "shorter than 200 ms" in refusal("TCP", interval="199 MSEC", resp_timeout="9 MSEC", **given)["interval"]
    assert "more than 20940 s" in refusal("TCP", interval="350 MIN", **given)["interval"]
    assert make("TCP", "long", interval="349 MIN", **given)
    assert "more than 20939 s" in refusal("TCP", down_time="20940000 MSEC", **given)["down_time"]
    assert refusal("TCP", interval="5 HOURS", **given).keys() == {"interval_unit"}
    words = refusal("TCP", retry_interval="6 SEC", **given)["retry_interval"]
    assert words == "The retry interval (6 s) is longer than the interval (5 s)."
    assert "shorter than 200 ms" in refusal("TCP", retry_interval="199 MSEC", **given)["retry_interval"]
    assert refusal("TCP", resp_timeout_thresh=101, **given).keys() == {"resp_timeout_thresh"}


def test_a_check_is_in_seconds_whatever_the_units() -> None:
    _checked(
        make(
            "TCP",
            interval="2 MIN",
            resp_timeout="1500 MSEC",
            down_time="90 SEC",
            resp_timeout_thresh=80,
            retry_interval="300 MSEC",
        )
    )
    ((plan, _known),) = store.load(range(SHARDS), timezone.now())
    assert (plan.spec.timeout, plan.thresholds.interval, plan.thresholds.down_time) == (1.5, 120.0, 90.0)
    assert plan.thresholds.slow_after == pytest.approx(1.2)
    assert plan.thresholds.retry_interval == 0.3


def test_a_deviation_in_milliseconds_is_added_to_the_average() -> None:
    state = _checked(make("TCP", lrtm=True, deviation="50 MSEC"))
    HealthState.objects.filter(pk=state.pk).update(average_time=0.02)
    ((plan, known),) = store.load(range(SHARDS), timezone.now())
    assert Check(plan, known, 0.0, first=True).spec.timeout == pytest.approx(0.07)


def test_options_without_a_meaning_here_are_refused_with_a_reason() -> None:
    assert "by its MAC address" in refusal("TCP", dest_port=80, ipTunnel="YES")["ipTunnel"]
    assert "server name (SNI)" in refusal("TCP", dest_port=80, sslProfile="p")["sslProfile"]
    assert make("USER", script_name="check", dispatcherIP="127.0.0.1", dispatcherPort="3013")


FORM = {
    "name": "web",
    "monitor_type": "HTTP",
    "interval": "5",
    "resp_timeout": "2",
    "retries": "3",
    "failure_retries": "0",
    "success_retries": "1",
    "alert_retries": "0",
    "resp_timeout_thresh": "0",
    "trofs_code": "0",
    "deviation": "0",
    "retry_interval": "0",
    "down_time": "30",
    "dest_ip": "",
    "dest_port": "",
    "state": "ENABLED",
}


def test_the_kind_is_asked_for_first_then_its_form_comes(owner: Client) -> None:
    first = owner.get("/monitors/add/").content.decode()
    assert '<option value="HTTP-ECV">' in first
    assert 'name="interval"' not in first
    for query in ("kind=http", "monitor_type=HTTP"):
        page = owner.get(f"/monitors/add/?{query}").content.decode()
        assert 'name="http_request" value="HEAD /"' in page
        assert "Status codes that pass" in page
        assert 'name="password"' not in page
    assert 'name="secure"' not in owner.get("/monitors/add/?kind=PING").content.decode()


def test_a_monitor_is_added_and_changed_through_the_form_of_its_kind(owner: Client) -> None:
    given = FORM | {"http_request": "GET /x", "resp_code": "200", "custom_headers": "Host: a\r\nX-B: c"}
    assert owner.post("/monitors/add/?kind=HTTP", given).status_code == 302
    monitor = Monitor.objects.get(name="web")
    assert monitor.params["http_request"] == "GET /x"
    edit = reverse("edit", args=["monitors", monitor.pk])
    assert 'name="http_request" value="GET /x"' in owner.get(edit).content.decode()
    owner.post(edit, given | {"http_request": "GET /y", "monitor_type": "TCP", "version": monitor.version})
    monitor.refresh_from_db()
    assert (monitor.monitor_type, monitor.params["http_request"], monitor.version) == ("HTTP", "GET /y", 2)


def test_units_are_chosen_beside_their_number(owner: Client) -> None:
    page = owner.get("/monitors/add/?kind=TCP").content.decode()
    assert 'name="interval_unit"' in page
    assert 'aria-label="Unit of the response timeout"' in page
    given = FORM | {"monitor_type": "TCP", "dest_port": "80", "interval": "1500", "interval_unit": "MSEC"}
    answer = owner.post("/monitors/add/?kind=TCP", given)
    assert answer.status_code == 422
    assert "(2 s) must be shorter than the interval (1500 ms)" in str(answer.context["form"].errors["resp_timeout"])
    given |= {"resp_timeout": "700", "resp_timeout_unit": "MSEC"}
    assert owner.post("/monitors/add/?kind=TCP", given).status_code == 302
    monitor = Monitor.objects.get(name="web")
    assert (monitor.time_text("interval"), monitor.time_text("resp_timeout")) == ("1500 ms", "700 ms")
    edit = owner.get(reverse("edit", args=["monitors", monitor.pk])).content.decode()
    assert '<option value="MSEC" selected>' in edit
    facts = dict(details.detail("monitors", monitor.pk).facts)
    assert (facts["Interval"], facts["Response timeout"]) == ("1500 ms", "700 ms")


def test_errors_of_parameters_land_on_their_fields(owner: Client) -> None:
    answer = owner.post("/monitors/add/", FORM | {"http_request": "GET /a b", "resp_code": "x", "custom_headers": ""})
    assert answer.status_code == 422
    assert answer.context["form"].errors.keys() == {"http_request", "resp_code"}


def test_a_password_field_left_empty_keeps_the_password_and_a_box_removes_it(owner: Client) -> None:
    given = FORM | {"monitor_type": "FTP", "user_name": "probe", "password": SECRET}
    owner.post("/monitors/add/?kind=FTP", given)
    monitor = Monitor.objects.get(name="web")
    assert opened(monitor.secrets) == {"password": SECRET}
    edit = reverse("edit", args=["monitors", monitor.pk])
    page = owner.get(edit).content.decode()
    assert "Set; leave it empty to keep it." in page
    assert 'type="password"' in page
    owner.post(edit, given | {"password": "", "user_name": "other", "version": monitor.version})
    monitor.refresh_from_db()
    assert (monitor.params["user_name"], opened(monitor.secrets)) == ("other", {"password": SECRET})
    owner.post(edit, given | {"password": "", "password_remove": "on", "version": monitor.version})
    monitor.refresh_from_db()
    assert monitor.secrets == ""


def test_a_conflict_compares_parameters_and_shows_no_secret(owner: Client) -> None:
    monitor = make("FTP", "web", user_name="probe", password=SECRET)
    monitors.update(SYSTEM, monitor, {"user_name": "theirs"})
    given = FORM | {"monitor_type": "FTP", "user_name": "ours", "password": "ours too", "version": "1"}
    answer = owner.post(reverse("edit", args=["monitors", monitor.pk]), given)
    assert answer.status_code == 409
    assert answer.context["differences"] == [
        Difference("User name", "probe", "theirs", "ours", "both"),
        Difference("Password", "set", "set", "another one", "you"),
    ]
    assert "ours too" not in answer.content.decode()
    assert SECRET not in answer.content.decode()


def test_only_monitors_that_know_a_port_are_offered_to_a_service_of_any_port(owner: Client) -> None:
    make("FTP", "has-a-default")
    make("TCP-ECV", "has-none", recv="x")
    service = factories.service()
    answer = owner.get(reverse("detail", args=["services", service.pk]))
    table = next(table for table in answer.context["detail"].tables if table.name == "monitors")
    offered = [one.name for one in table.bind.form.fields["monitor"].queryset]
    assert "has-a-default" in offered
    assert "has-none" not in offered
