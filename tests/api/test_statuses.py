"""What is wrong by itself is 422, what only the rest of the configuration forbids is 409; each says field and value."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests import factories
from tests.api.client import Api
from webui.models import EventTarget, Installation, Monitor, VServer

pytestmark = pytest.mark.django_db
TARGET = {"name": "t", "target_type": "SYSLOG"}


@pytest.fixture
def api(client: Client) -> Api:
    """With Server1, its service on any port, bound to vserver_DSR, and Server2."""
    factories.vserver(factories.service(factories.server(1)))
    factories.server(2)
    client.force_login(factories.owner())
    return Api(client)


@pytest.mark.parametrize(
    ("asked", "field", "value"),
    [
        (("POST", "/servers", {"name": "x", "address": "999.1.1.1"}), "address", "999.1.1.1"),
        (("POST", "/servers", {"name": "x", "address": "127.0.0.1"}), "address", "127.0.0.1"),
        (("POST", "/servers", {"name": "x ", "address": "10.0.0.1"}), "name", "x "),
        (("POST", "/servers", {"name": "1x", "address": "10.0.0.1"}), "name", "1x"),
        (("PATCH", "/servers/Server1", {"state": None}), "state", ""),
        (("PATCH", "/servers/Server1", {"comment": "a\0b"}), "comment", "a\0b"),
        (("PATCH", "/vservers/vserver_DSR", {"persist_mask": "0.0.0.0"}), "persist_mask", "0.0.0.0"),
        (("PATCH", "/vservers/vserver_DSR", {"timeout": 1.5}), "timeout", "1.5"),
        (("PATCH", "/settings", {"ttl_rule": None}), "ttl_rule", ""),
        (("POST", "/monitors", {"name": "m", "monitor_type": "NOSUCH"}), "monitor_type", "NOSUCH"),
        (("POST", "/monitors", {"name": "m", "monitor_type": "HTTP", "params": {"colour": "red"}}), "colour", "colour"),
        (("POST", "/monitors", {"name": "m", "monitor_type": "DNS", "params": {"query": 5}}), "query", "5"),
        (("POST", "/eventtargets", TARGET | {"params": {"host": "a", "port": "5"}}), "port", "5"),
        (("POST", "/eventtargets", TARGET | {"params": {"host": "a", "transport": "tcp"}}), "transport", "tcp"),
        (("GET", "/vservers/vserver_DSR/statistics?range=1y", None), "range", "1y"),
        (("GET", "/explain?client=10.0.0.300&vip=10.0.0.1", None), "client", "10.0.0.300"),
        (("GET", "/audit?since=yesterday", None), "from", "yesterday"),
        (("GET", "/audit?verb=dance", None), "verb", "dance"),
    ],
)
def test_what_is_wrong_by_itself_is_422(api: Api, asked: tuple[str, str, Any], field: str, value: str) -> None:
    method, path, body = asked
    before = Installation.objects.get().revision
    told = api(method, path, body)
    assert (api.status, [one["field"] for one in told["errors"]]) == (422, [field]), told
    assert value in told["errors"][0]["message"]
    assert Installation.objects.get().revision == before


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        (("POST", "/servers", {"name": "server1", "address": "10.0.0.1"}), "name", "“Server1” already"),
        (("POST", "/servers", {"name": "x", "address": "10.77.0.11"}), "address", "of server “Server1” already"),
        (("POST", "/servers", {"name": "10.0.0.1", "address": "10.0.0.2"}), "name", "which is 10.0.0.2"),
        (("DELETE", "/servers/Server1", None), "", "still has services"),
        (("POST", "/servers/Server1/rename", {"name": "Server1"}), "name", "its name already"),
        (("POST", "/vservers", {"name": "v", "address": "10.77.0.11"}), "address", "own address of server"),
        (("PATCH", "/vservers/vserver_DSR", {"lb_method": "LEASTCONNECTION"}), "lb_method", "sessionless"),
        (("PATCH", "/vservers/vserver_DSR", {"syn_burst": 5}), "syn_burst", "without a limit"),
        (("PATCH", "/services/service_Server1_ANY", {"usip": False}), "usip", "bound to vserver_DSR"),
        (("POST", "/services/service_Server1_ANY/disable", {"graceful": True}), "graceful", "sessionless"),
        (("POST", "/monitors", {"name": "m", "monitor_type": "PING", "dest_port": 80}), "dest_port", "has no port"),
        (("PATCH", "/monitors/ping-default", {"interval": 9}), "", "built in"),
        (("POST", "/revisions/3/rollback", {}), "", ""),
    ],
)
def test_what_the_rest_of_the_configuration_forbids_is_409(
    api: Api, asked: tuple[str, str, Any], field: str, words: str
) -> None:
    method, path, body = asked
    if path.startswith("/revisions"):
        path = f"/revisions/{Installation.objects.get().revision}/rollback"
    before = Installation.objects.get().revision
    told = api(method, path, body)
    assert (api.status, told["status"], told["title"]) == (409, 409, "It conflicts with what is there"), told
    assert field in [one["field"] for one in told["errors"]]
    assert words in told["detail"]
    assert Installation.objects.get().revision == before


def test_both_kinds_at_once_are_422_as_the_request_must_change_first(api: Api) -> None:
    told = api("POST", "/servers", {"name": "Server1", "address": "127.0.0.1"})
    assert (api.status, {one["field"] for one in told["errors"]}) == (422, {"name", "address"})


def test_a_secret_of_the_wrong_type_is_not_repeated(api: Api) -> None:
    api("POST", "/monitors", {"name": "m", "monitor_type": "MYSQL", "secrets": {"password": 12345678}})
    assert api.status == 422
    assert "12345678" not in api.answer.content.decode()


def test_a_whole_number_may_be_written_with_a_point(api: Api) -> None:
    api.client.patch("/api/v1/vservers/vserver_DSR", '{"timeout": 7.0}', content_type="application/json")
    assert VServer.objects.get().timeout == 7


def test_parameters_of_event_targets_and_monitors_stand_in_params(api: Api) -> None:
    made = api("POST", "/eventtargets", TARGET | {"params": {"host": "192.0.2.50", "port": 514}})
    assert (api.status, made["params"]["host"], made["params"]["port"]) == (201, "192.0.2.50", 514)
    made = api("PATCH", "/eventtargets/t", {"params": {"transport": "TCP"}})
    assert (api.status, made["params"]["transport"], made["params"]["host"]) == (200, "TCP", "192.0.2.50")
    assert EventTarget.objects.get().params["transport"] == "TCP"
    api("POST", "/monitors", {"name": "m", "monitor_type": "HTTP", "params": {"http_request": "GET /up"}})
    assert (api.status, Monitor.objects.get(name="m").params["http_request"]) == (201, "GET /up")


def test_the_examples_of_the_description_are_taken(client: Client) -> None:
    client.force_login(factories.owner())
    api = Api(client)
    found = api("GET", "/openapi.json")["components"]["schemas"]
    for model, slug in (
        ("Server", "servers"),
        ("Service", "services"),
        ("ServiceGroup", "servicegroups"),
        ("VServer", "vservers"),
        ("Monitor", "monitors"),
        ("EventTarget", "eventtargets"),
    ):
        (example,) = found[f"New{model}"]["examples"]
        made = api("POST", f"/{slug}", example)
        assert (api.status, made["name"]) == (201, example["name"]), made
