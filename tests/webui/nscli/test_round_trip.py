"""What is exported imports to the same state."""

from __future__ import annotations

import pytest
from django.conf import settings as settings_module
from django.db import models, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitors.registry import KINDS
from tests.examples import examples
from tests.factories import SYSTEM
from tests.webui.nscli import configurations
from webui.actions import monitors
from webui.actions.values import NOT_VALUES
from webui.models import Monitor, ServiceMonitorBinding, VServerServiceBinding
from webui.nscli.conf import import_configuration
from webui.nscli.export import comparable, configuration, document
from webui.nscli.options import FOREIGN, OWN
from webui.nscli.session import commands
from webui.nscli.values import MODELS, reachable
from webui.options import REFUSED

pytestmark = pytest.mark.django_db


@given(st.data(), st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4))
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_configuration_comes_back_from_its_export(data: st.DataObject, kinds: list[str]) -> None:
    with transaction.atomic():
        configurations.fill(data.draw, kinds)
        before, text, plain = configurations.state(), document(), comparable(configuration())
        configurations.wipe()
        assert configurations.state().keys() == {"installation"}
        report = import_configuration(SYSTEM, text, apply=True)
        assert report.counts["refused"] == 0, [one for one in report.lines if one.outcome == "refused"]
        assert report.counts["ignored"] == 0
        assert report.done
        assert configurations.state() == before
        assert comparable(configuration()) == plain
        transaction.set_rollback(True)


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(data=st.data())
@settings(max_examples=examples(3), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_monitors_of_every_kind_come_back(kind: str, data: st.DataObject) -> None:
    with transaction.atomic():
        monitor = configurations.make_monitor(data.draw, kind, "m")
        assert monitor is not None, f"no example of a {kind} monitor passes its rules"
        before, text = configurations.state(), document()
        configurations.wipe()
        assert import_configuration(SYSTEM, text, apply=True).done
        assert configurations.state() == before
        transaction.set_rollback(True)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_every_field_of_a_model_has_an_option(kind: str) -> None:
    model = MODELS[kind]
    fields = {one.name for one in model._meta.concrete_fields if one.name not in NOT_VALUES}
    kept_by_kind = {"params", "secrets"} if kind in {"monitor", "eventtarget"} else set()
    assert fields - kept_by_kind == reachable(kind) - ({"port_end"} if "port_end" not in fields else set())


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_parameter_of_every_kind_has_an_option(name: str) -> None:
    add = commands().all["add", "lb", "monitor"]
    for one in KINDS[name].parameters:
        found = add.option(one.option.lower())
        assert found is not None, one.option
        assert found.field == one.name


def test_fields_of_bindings_have_options() -> None:
    def own(model: type[models.Model]) -> set[str]:
        return {one.name for one in model._meta.concrete_fields} - {"id"}

    bind = commands().all["bind", "service"]
    assert own(ServiceMonitorBinding) == {one.field for one in bind.options if one.field} | {"service"}
    bind = commands().all["bind", "lb", "vserver"]
    assert own(VServerServiceBinding) == {one.field for one in bind.options if one.field} | {"vserver", "service"}


def test_secrets_leave_the_installation_sealed_only() -> None:
    monitors.create(SYSTEM, {"name": "m", "monitor_type": "FTP", "user_name": "u", "password": "correct horse"})
    text = document()
    assert "correct horse" not in text
    assert "-encrypted" in text
    Monitor.objects.filter(name="m").delete()
    broken = text.replace("-password g", "-password h")
    report = import_configuration(SYSTEM, broken, apply=True)
    refused = [one for one in report.lines if one.outcome == "refused"]
    assert len(refused) == 1
    assert refused[0].why.startswith("[-password] was encrypted by another installation (or another SECRET_KEY)")
    assert "•••" in refused[0].line
    assert not report.done


def test_every_option_is_documented() -> None:
    text = (settings_module.BASE_DIR / "docs" / "nscli.md").read_text()
    missing = [f"{kind} -{one.name}" for kind, own in OWN.items() for one in own if f"`-{one.name}`" not in text]
    missing += [
        f"{kind} -{one.name}"
        for kind, found in FOREIGN.items()
        for one in found.values()
        if f"`-{one.name}`" not in text
    ]
    missing += [one for one in REFUSED if f"`-{one}`" not in text]
    assert missing == []
