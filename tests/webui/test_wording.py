"""Errors of single values: the field, the value and the rule are in each, on forms and from rows alike."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from tests import factories
from tests.factories import SYSTEM
from webui.actions import monitors, vservers
from webui.forms import VServerForm
from webui.models import Monitor
from webui.monitor_form import MonitorForm
from webui.wording import LONGEST, quoted

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"interval": "abc"}, {"interval": ["“abc” is not a whole number."]}),
        ({"interval": "-1"}, {"interval": ["“-1” is less than 0."]}),
        ({"interval_unit": "HOUR"}, {"interval": ["“HOUR” is none of SEC, MSEC, MIN."]}),
        ({"retries": "1.5"}, {"retries": ["“1.5” is not a whole number."]}),
        ({"trofs_code": "99999"}, {"trofs_code": ["“99999” is more than 599."]}),
        ({"dest_ip": "1.2.3"}, {"dest_ip": ["“1.2.3” is not an IPv4 or IPv6 address."]}),
        ({"state": "maybe"}, {"state": ["“maybe” is none of ENABLED, DISABLED."]}),
    ],
)
def test_a_monitor_form_names_the_value_and_the_rule(given: dict[str, str], said: dict[str, list[str]]) -> None:
    first = MonitorForm(initial={"monitor_type": "HTTP"})
    base = {name: first[name].value() for name in first.fields}
    base |= {"name": "m", "monitor_type": "HTTP", "state": "ENABLED"}
    for name in ("interval", "resp_timeout", "down_time", "deviation", "retry_interval"):
        base[name], base[f"{name}_unit"] = str(base[name]).split()
    assert MonitorForm(base).errors == {}
    assert MonitorForm(base | given).errors == said


def test_a_choice_of_an_object_that_is_gone_is_said_to_be_so() -> None:
    assert VServerForm({"backup_vserver": "4711"}).errors["backup_vserver"] == [
        "“4711” is not among the choices (any more)."
    ]


def test_rows_say_the_same_as_forms() -> None:
    vserver = factories.vserver()
    with pytest.raises(ValidationError) as caught:
        vservers.update(SYSTEM, vserver, {"fail_open": 100, "address": "1.2.3", "lb_method": "NONSENSE", "timeout": 0})
    told = caught.value.message_dict
    assert told["fail_open"] == ["“100” is more than 99."]
    assert told["address"] == ["“1.2.3” is not an IPv4 or IPv6 address."]
    assert told["timeout"] == ["“0” is less than 1."]
    assert told["lb_method"][0].startswith("“NONSENSE” is none of SOURCEIPHASH, ")


def test_the_request_of_a_monitor_is_no_single_word_but_a_method() -> None:
    for text in ("x", "index", "FETCH"):
        with pytest.raises(ValidationError, match=f"“{text}” is no request"):
            monitors.create(SYSTEM, {"name": "m", "monitor_type": "HTTP", "http_request": text})
    assert not Monitor.objects.filter(name="m").exists()
    monitors.create(SYSTEM, {"name": "m", "monitor_type": "HTTP", "http_request": "head"})


def test_a_long_value_is_cut() -> None:
    assert quoted("a" * LONGEST) == f"“{'a' * LONGEST}”"
    assert quoted("a" * (LONGEST + 1)) == f"“{'a' * LONGEST}…”"
