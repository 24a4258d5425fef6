"""Requests of all kinds, made from the API's own description: none breaks it, and each answer is as described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.test import Client
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from tests import factories
from webui.api.app import API

pytestmark = pytest.mark.django_db

API_DESCRIPTION = json.dumps(API.get_openapi_schema(path_prefix="/api/v1/"), default=str)


class NothingKeptError(Exception):
    """Takes back what a request did."""


@pytest.fixture
def session() -> str:
    """A superuser's session, with all kinds of objects to be asked for."""
    factories.vserver(factories.service(factories.server(1)), factories.service(factories.server(2)))
    client = Client()
    client.force_login(factories.owner())
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@pytest.fixture(autouse=True)
def _as_in_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The session stands for a token (that it needs a CSRF token is a test of its own), and keeps its connection."""
    monkeypatch.setattr("ninja.security.apikey.check_csrf", lambda _request: None)
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


schema = schemathesis.openapi.from_dict(json.loads(API_DESCRIPTION))
# Rules of several fields together, and of what is there already, are in no schema: such requests are refused by 422.
EXCLUDED = [positive_data_acceptance, ignored_auth, negative_data_rejection]
schema.app = get_wsgi_application()


@schema.parametrize()
@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_breaks_it(case: Any, session: str) -> None:
    try:
        with transaction.atomic():
            case.call_and_validate(
                cookies={settings.SESSION_COOKIE_NAME: session},
                headers={"Accept-Encoding": "identity"},  # its WSGI client asks for gzip and does not unpack it
                excluded_checks=EXCLUDED,
            )
            raise NothingKeptError
    except NothingKeptError:
        return
