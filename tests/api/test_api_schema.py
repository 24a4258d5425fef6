"""Requests of all kinds, made from the API's own description: none breaks it, and each answer is as described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.config import SchemathesisConfig

from tests import factories
from tests.examples import examples
from webui.actions import account, eventtargets, monitors, servicegroups
from webui.api.app import API

pytestmark = pytest.mark.django_db

API_DESCRIPTION = json.dumps(API.get_openapi_schema(path_prefix="/api/v1/"), default=str)


class NothingKeptError(Exception):
    """Takes back what a request did."""


@pytest.fixture
def token() -> str:
    """A superuser's, with all kinds of objects to be asked for."""
    factories.vserver(factories.service(factories.server(1)), factories.service(factories.server(2)))
    monitors.create(factories.SYSTEM, {"name": "web", "monitor_type": "HTTP"})
    eventtargets.create(
        factories.SYSTEM, {"name": "collector", "target_type": "SYSLOG", "params": {"host": "192.0.2.50"}}
    )
    group = servicegroups.create(factories.SYSTEM, {"name": "group", "service_type": "TCP"})
    servicegroups.bind_member(factories.SYSTEM, group, "Server1", 80)
    _row, raw = account.make_token(factories.actor(factories.owner()), {"name": "t", "scope": "superuser", "days": 1})
    return raw


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """Requests keep the test's connection."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


# A request that the schema allows is done, or there is no such object (404), or it conflicts with what is configured
# (409): rules of several objects or fields are in no schema. What is wrong by itself (422) the schema must forbid.
ACCEPTED = ["2xx", "404", "409"]
# Where more may be answered, and why.
MORE: dict[str, tuple[str, str]] = {
    "webui_api_configuration_rollback": ("412", "the revision that the body expects is not the one that runs"),
    "webui_api_reading_explain": ("422", "addresses of one family; ports for protocols that have ports alone"),
    **dict.fromkeys(
        ("make_monitors", "change_monitors", "make_eventtargets", "change_eventtargets"),
        ("422", "parameters with a syntax of their own, as of LDAP filters or mail, and a change of them by the type"),
    ),
}
CONFIG = {
    "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
    "operations": [
        {
            "include-operation-id": operation,
            "checks": {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, status]}},
        }
        for operation, (status, _why) in MORE.items()
    ],
}
# What there is, by parameter, and by kind where it is called “name”.
THERE: dict[str, Any] = {
    "vservers": "vserver_DSR",
    "services": "service_Server1_ANY",
    "servicegroups": "group",
    "servers": "Server1",
    "monitors": "web",
    "eventtargets": "collector",
    "vserver": "vserver_DSR",
    "service": "service_Server2_ANY",
    "group": "group",
    "server": "Server1",
    "monitor": "web",
    "port": 80,
}


def with_names(description: str) -> dict[str, Any]:
    """The description, but names in paths are often of what there is: made-up ones are answered by 404 alone."""
    found: dict[str, Any] = json.loads(description)
    for path, operations in found["paths"].items():
        kind = path.split("/")[3]
        for operation in operations.values():
            for one in operation.get("parameters", []):
                known = THERE.get(kind if one["name"] == "name" else one["name"])
                if one["in"] == "path" and known is not None:
                    one["schema"] = {"anyOf": [{"enum": [known]}, one["schema"]]}
    return found


schema = schemathesis.openapi.from_dict(with_names(API_DESCRIPTION), config=SchemathesisConfig.from_dict(CONFIG))
schema.app = get_wsgi_application()


@schema.parametrize()
@hypothesis_settings(max_examples=examples(10), deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_breaks_it(case: Any, token: str) -> None:
    try:
        with transaction.atomic():
            case.call_and_validate(
                # Its WSGI client asks for gzip and does not unpack it.
                headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
            )
            raise NothingKeptError
    except NothingKeptError:
        return
