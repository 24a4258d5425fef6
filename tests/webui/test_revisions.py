"""Revisions: nothing is missing from them, and what they bring back is what was."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests import factories
from tests.examples import examples
from tests.factories import SYSTEM
from webui import revisions as reading
from webui.actions import (
    eventtargets,
    installation,
    monitors,
    renaming,
    revisions,
    servers,
    servicegroups,
    services,
    vservers,
)
from webui.actions.base import Actor
from webui.actions.errors import ConflictError, NotFoundError, PermissionRefused
from webui.journal import CONFIGURED, configured, plain
from webui.models import (
    AuditEntry,
    ConfigurationRevision,
    HealthState,
    Installation,
    Monitor,
    PendingConfirmation,
    RevisionRow,
    Server,
    Service,
    ServiceGroup,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
)

Everything = dict[tuple[str, int], dict[str, Any]]


def everything() -> Everything:
    """All that is configuration, read anew from every table."""
    return {
        (str(model._meta.model_name), row.pk): configured(str(model._meta.model_name), plain(row))
        for model in CONFIGURED
        for row in model._default_manager.all()
    }


def current() -> int:
    return Installation.objects.get().revision


class Changes(RuleBasedStateMachine):
    """Any actions one after the other; every revision can be brought back, and what differs is what really does."""

    @initialize()
    def begin(self) -> None:
        self.seen = {current(): everything()}

    def _note(self) -> None:
        self.seen[current()] = everything()

    def _do(self, action: Any, *arguments: Any, **named: Any) -> None:
        with suppress(ValidationError, NotFoundError):  # refused: the invariant sees that nothing was changed
            action(SYSTEM, *arguments, **named)
        self._note()

    def _any(self, model: Any, number: int) -> Any:
        rows = list(model.objects.order_by("pk"))
        return rows[number % len(rows)] if rows else None

    @rule(n=st.integers(1, 3))
    def add_server(self, n: int) -> None:
        self._do(servers.create, {"name": f"s{n}", "address": f"10.1.0.{n}"})

    @rule(which=st.integers(0, 9), port=st.sampled_from([80, 443]), name=st.sampled_from(["a", "b", "c"]))
    def add_service(self, which: int, port: int, name: str) -> None:
        if server := self._any(Server, which):
            self._do(services.create, {"name": name, "server": server, "service_type": "TCP", "port": port})

    @rule(n=st.integers(1, 2), which=st.integers(0, 9), backup=st.booleans())
    def add_vserver(self, n: int, which: int, backup: bool) -> None:
        given = {"name": f"v{n}", "address": f"10.2.0.{n}", "service_type": "TCP", "port": 80}
        self._do(vservers.create, given | ({"backup_vserver": self._any(VServer, which)} if backup else {}))

    @rule(name=st.sampled_from(["m1", "m2"]), secret=st.sampled_from(["", "one", "two"]))
    def add_monitor(self, name: str, secret: str) -> None:
        given = {"name": name, "monitor_type": "MYSQL", "user_name": "x", "database": "d", "sql_query": "select 1"}
        self._do(monitors.create, given | ({"password": secret} if secret else {}))

    @rule()
    def add_target(self) -> None:
        self._do(eventtargets.create, {"name": "t", "target_type": "SYSLOG", "host": "192.0.2.1"})

    @rule(model=st.sampled_from([Server, Service, VServer, Monitor]), which=st.integers(0, 9))
    def delete(self, model: Any, which: int) -> None:
        module = {Server: servers, Service: services, VServer: vservers, Monitor: monitors}[model]
        if row := self._any(model, which):
            self._do(module.delete, row)

    @rule(model=st.sampled_from([Server, Service, VServer, Monitor]), which=st.integers(0, 9), on=st.booleans())
    def switch(self, model: Any, which: int, on: bool) -> None:
        module = {Server: servers, Service: services, VServer: vservers, Monitor: monitors}[model]
        if row := self._any(model, which):
            self._do(module.enable if on else module.disable, row)

    @rule(which=st.integers(0, 9), other=st.integers(0, 9), weight=st.integers(1, 3))
    def bind(self, which: int, other: int, weight: int) -> None:
        vserver, service = self._any(VServer, which), self._any(Service, other)
        if vserver and service:
            self._do(vservers.bind_service, vserver, service, weight)
            self._do(vservers.set_weight, vserver, service, weight)

    @rule(which=st.integers(0, 9), other=st.integers(0, 9))
    def unbind(self, which: int, other: int) -> None:
        vserver, service = self._any(VServer, which), self._any(Service, other)
        if vserver and service:
            self._do(vservers.unbind_service, vserver, service)

    @rule(which=st.integers(0, 9), other=st.integers(0, 9), binds=st.booleans())
    def monitor(self, which: int, other: int, binds: bool) -> None:
        service, monitor = self._any(Service, which), self._any(Monitor, other)
        if service and monitor:
            self._do(services.bind_monitor if binds else services.unbind_monitor, service, monitor)

    @rule(
        model=st.sampled_from([Server, VServer]), which=st.integers(0, 9), name=st.sampled_from(["s1", "v1", "x", "y"])
    )
    def rename(self, model: Any, which: int, name: str) -> None:
        if row := self._any(model, which):
            self._do(renaming.rename, row, name)

    @rule(which=st.integers(0, 9), n=st.integers(1, 4))
    def move_server(self, which: int, n: int) -> None:
        if row := self._any(Server, which):
            self._do(servers.update, row, {"address": f"10.1.0.{n}", "comment": f"at {n}"})

    @rule(name=st.sampled_from(["g", "h"]), which=st.integers(0, 9), port=st.sampled_from(["*", 80]))
    def add_member(self, name: str, which: int, port: str | int) -> None:
        group, server = ServiceGroup.objects.filter(name=name).first(), self._any(Server, which)
        if group is None:
            self._do(servicegroups.create, {"name": name, "service_type": "TCP"})
        elif server:
            self._do(servicegroups.bind_member, group, server, port)

    @rule(which=st.integers(0, 9), other=st.integers(0, 9), binds=st.booleans())
    def use_group(self, which: int, other: int, binds: bool) -> None:
        group, vserver, monitor = (
            self._any(*one) for one in ((ServiceGroup, which), (VServer, other), (Monitor, other))
        )
        bind, unbind = servicegroups.bind_to_vserver, servicegroups.unbind_from_vserver
        if group and vserver:
            self._do(bind if binds else unbind, vserver, group)
        if group and monitor:
            self._do(servicegroups.bind_monitor if binds else servicegroups.unbind_monitor, group, monitor)

    @rule(which=st.integers(0, 9), what=st.sampled_from(["rename", "change", "disable", "unbind", "delete"]))
    def change_group(self, which: int, what: str) -> None:
        if not (group := self._any(ServiceGroup, which)):
            return
        member = group.members.select_related("service__server").first()
        if what == "rename":
            self._do(renaming.rename, group, "h" if group.name == "g" else "g")
        elif what == "change":
            self._do(servicegroups.update, group, {"mon_threshold": 1 - group.mon_threshold})
        elif what == "disable":
            self._do(servicegroups.disable, group)
        elif what == "unbind" and member:
            self._do(servicegroups.unbind_member, group, member.service.server, member.service.port or "*")
        elif what == "delete":
            self._do(servicegroups.delete, group)

    @invariant()
    def members_have_what_their_group_has(self) -> None:
        for group in ServiceGroup.objects.all():
            bound = set(group.vserver_bindings.values_list("vserver", flat=True))
            checked = set(group.monitor_bindings.values_list("monitor", flat=True))
            for member in group.members.select_related("service__server"):
                service = member.service
                assert service.name.startswith(f"{group.name}_{service.server.name}_")
                assert service.mon_threshold == group.mon_threshold
                assert set(service.vserver_bindings.values_list("vserver", flat=True)) == bound
                has = set(service.monitor_bindings.values_list("monitor", flat=True))
                assert has == (checked or {services.default_monitor(service).pk})

    @rule(on=st.booleans())
    def settings(self, on: bool) -> None:
        self._do(installation.update, {"ttl_rule": on})

    @rule(which=st.integers(0, 99))
    def roll_back(self, which: int) -> None:
        number = sorted(self.seen)[which % len(self.seen)]
        self._do(revisions.rollback, number)
        assert everything() == self.seen[number]
        assert set(HealthState.objects.values_list("service", "monitor")) <= set(
            ServiceMonitorBinding.objects.values_list("service", "monitor")
        )

    @invariant()
    def what_differs_is_told(self) -> None:
        if not hasattr(self, "seen"):
            return
        first, last = min(self.seen), current()
        told = {(one.kind, one.row): one for one in reading.difference(first, last)}
        then, now = self.seen[first], everything()
        assert set(told) == {key for key in then.keys() | now.keys() if then.get(key) != now.get(key)}
        for key, one in told.items():
            assert configured(one.kind, one.after) == now.get(key, {})
            assert configured(one.kind, one.before) == then.get(key, {})


class TestAnyChanges(TestCase):
    def test_every_revision_is_complete_and_can_be_brought_back(self) -> None:
        run_state_machine_as_test(
            Changes, settings=settings(max_examples=examples(25), stateful_step_count=25, deadline=None)
        )


@pytest.fixture
def built(db: None) -> VServer:
    return factories.vserver(factories.service(factories.server(1)), factories.service(factories.server(2)))


def test_every_model_of_the_configuration_is_in_the_journal(built: VServer) -> None:
    monitors.create(SYSTEM, {"name": "m", "monitor_type": "TCP"})
    eventtargets.create(SYSTEM, {"name": "t", "target_type": "SYSLOG", "host": "192.0.2.1"})
    installation.update(SYSTEM, {"ttl_rule": True})
    group = servicegroups.create(SYSTEM, {"name": "g", "service_type": "ANY"})
    servicegroups.bind_member(SYSTEM, group, Server.objects.all()[0], 443)
    servicegroups.bind_monitor(SYSTEM, group, "ping-default")
    other = vservers.create(SYSTEM, {"name": "v2", "address": "10.77.0.77", "service_type": "ANY", "port": 443})
    servicegroups.bind_to_vserver(SYSTEM, other, group)
    kinds = set(RevisionRow.objects.values_list("kind", flat=True))
    assert kinds == {str(model._meta.model_name) for model in CONFIGURED}


@pytest.mark.usefixtures("built")
def test_what_was_deleted_comes_back_with_its_bindings_and_checks() -> None:
    before, number = everything(), current()
    checks = HealthState.objects.count()
    vservers.delete(SYSTEM, VServer.objects.get())
    for one in Service.objects.all():
        services.delete(SYSTEM, one)
    assert HealthState.objects.count() == 0
    assert revisions.rollback(SYSTEM, number) == current() == number + 4
    assert everything() == before
    assert HealthState.objects.count() == checks
    newest = ConfigurationRevision.objects.first()
    assert newest is not None
    assert (newest.back_to, newest.summary) == (number, f"back to revision {number}")
    verbs = list(AuditEntry.objects.filter(revision=current()).values_list("verb", flat=True))
    assert verbs.count("create") == 3
    assert verbs.count("bind") == 4
    assert verbs.count("rollback") == 1


@pytest.mark.usefixtures("built")
def test_names_that_were_swapped_come_back() -> None:
    before, number = everything(), current()
    one, two = Server.objects.order_by("pk")
    for row, name in ((one, "x"), (two, "Server1"), (one, "Server2")):
        renaming.rename(SYSTEM, row, name)
    revisions.rollback(SYSTEM, number)
    assert everything() == before


def test_a_form_that_was_open_over_a_roll_back_is_told(built: VServer) -> None:
    number, version = current(), built.version
    vservers.update(SYSTEM, built, {"comment": "new"})
    revisions.rollback(SYSTEM, number)
    with pytest.raises(ConflictError, match="changed since you opened it"):
        vservers.update(SYSTEM, built, {"comment": "mine"}, version)


def test_a_roll_back_after_somebody_elses_change_is_refused_with_what_it_was(built: VServer) -> None:
    number = current()
    vservers.update(SYSTEM, built, {"comment": "new"})
    with pytest.raises(ConflictError) as caught:
        revisions.rollback(SYSTEM, number - 1, number)
    assert caught.value.changes == ["changed vserver vserver_DSR by tests"]
    assert current() == number + 1


@pytest.mark.usefixtures("built")
def test_what_cannot_be_rolled_back_is_refused_and_changes_nothing() -> None:
    before, number = everything(), current()
    with pytest.raises(ValidationError, match=f"Nothing differs between revision {number} and what runs now"):
        revisions.rollback(SYSTEM, number)
    with pytest.raises(NotFoundError, match=f"There is no revision {number + 1}: the configuration is known from 0 to"):
        revisions.rollback(SYSTEM, number + 1)
    with pytest.raises(PermissionRefused):
        revisions.rollback(factories.actor(factories.member()), 1)
    assert (everything(), current()) == (before, number)


def test_secrets_are_not_told_and_come_back(db: None) -> None:
    given = {"name": "m", "monitor_type": "MYSQL", "user_name": "x", "database": "d", "sql_query": "select 1"}
    monitor = monitors.create(SYSTEM, given | {"password": "first secret"})
    number = current()
    monitors.update(SYSTEM, monitor, {"password": "second secret"})
    (change,) = reading.difference(number, current())
    assert [(one.name, one.before, one.after) for one in change.fields()] == [("secrets", "•••", "changed")]
    sealed = Monitor.objects.get(pk=monitor.pk).secrets
    revisions.rollback(SYSTEM, number)
    assert Monitor.objects.get(pk=monitor.pk).secrets != sealed
    assert "secret" not in str(list(AuditEntry.objects.values_list("before", "after"))).replace("secrets", "")


def test_a_trial_that_nobody_confirms_is_rolled_back(built: VServer) -> None:
    before = everything()
    trial = revisions.begin_trial(SYSTEM, "5")
    vservers.disable(SYSTEM, built)
    assert revisions.expire() is False
    assert VServer.objects.get().state == "DISABLED"
    PendingConfirmation.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert revisions.expire() is True
    assert everything() == before
    assert not PendingConfirmation.objects.exists()
    assert trial.back_to == current() - 2
    assert AuditEntry.objects.filter(actor_name="commit-confirm", verb="rollback").count() == 1
    assert revisions.expire() is False


def test_a_trial_that_is_confirmed_stays(built: VServer) -> None:
    revisions.begin_trial(SYSTEM, 1)
    with pytest.raises(ValidationError, match="A trial by tests runs until"):
        revisions.begin_trial(SYSTEM, 1)
    vservers.disable(SYSTEM, built)
    revisions.confirm(SYSTEM)
    PendingConfirmation.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert revisions.expire() is False
    assert VServer.objects.get().state == "DISABLED"
    with pytest.raises(NotFoundError, match="no trial runs"):
        revisions.confirm(SYSTEM)


@pytest.mark.usefixtures("built")
def test_a_trial_without_a_change_just_ends() -> None:
    number = current()
    revisions.begin_trial(SYSTEM, 1)
    assert revisions.end_trial(SYSTEM) == current() == number


@pytest.mark.parametrize("minutes", ["", "0", "1441", "1.5", "-1", "x", True, None])
@pytest.mark.usefixtures("built")
def test_minutes_of_a_trial_that_are_none_are_refused(minutes: Any) -> None:
    with pytest.raises(ValidationError, match="is not a number of minutes from 1 to 1440"):
        revisions.begin_trial(SYSTEM, minutes)
    assert not PendingConfirmation.objects.exists()


def test_saving_marks_the_running_revision(built: VServer) -> None:
    assert reading.standing().saved is None
    assert revisions.save(SYSTEM) == current()
    assert reading.standing().is_saved
    vservers.disable(SYSTEM, built)
    standing = reading.standing()
    assert (standing.is_saved, standing.saved, standing.saved_by) == (False, current() - 1, "tests")
    with pytest.raises(PermissionRefused):
        revisions.save(factories.actor(factories.outsider()))


@pytest.fixture
def owner(client: Client, db: None) -> Client:
    client.force_login(factories.owner())
    return client


def test_the_pages_tell_compare_and_roll_back(owner: Client, built: VServer) -> None:
    number = current()
    vservers.disable(SYSTEM, built)
    page = owner.get(reverse("revisions")).content.decode()
    assert "disabled vserver vserver_DSR" in page
    page = owner.get(reverse("compare-revisions"), {"old": number, "new": number + 1}).content.decode()
    assert '<td data-label="Before">ENABLED</td><td data-label="After">DISABLED</td>' in page
    url = reverse("rollback", args=[number])
    assert f'name="expected" value="{number + 1}"' in owner.get(url).content.decode()
    assert owner.post(url, {"expected": number}).status_code == 409
    assert owner.post(url, {"expected": number + 1}).status_code == 302
    assert VServer.objects.get().state == "ENABLED"
    assert owner.get(reverse("rollback", args=[10**9])).status_code == 404
    for bad in ({"old": "x"}, {"old": -1}, {"old": 10**30}, {"old": 10**6}):
        assert owner.get(reverse("compare-revisions"), bad).status_code == 422


def test_both_revisions_that_are_not_known_are_told_and_nothing_is_compared(owner: Client, built: VServer) -> None:
    answer = owner.get(reverse("compare-revisions"), {"old": "x", "new": "99999"})
    assert answer.status_code == 422
    errors = answer.context["form"].errors
    assert errors["old"] == ["“x” is not a whole number."]
    assert errors["new"] == [f"There is no revision 99999: the configuration is known from 0 to {current()}."]
    assert "<h2>Not compared</h2>" in answer.content.decode()
    page = owner.get(reverse("rollback", args=[99999])).content.decode()
    assert "There is no revision 99999" in page
    assert "Nothing differs" not in page
    assert 'class="danger"' not in page


def test_what_is_added_or_deleted_is_shown_as_one_group_of_what_was_set(owner: Client, built: VServer) -> None:
    page = owner.get(reverse("compare-revisions"), {"old": "0", "new": str(current())}).content.decode()
    head = ' <strong>vserver_DSR</strong> <span class="what what-added">added</span></th>'
    assert page.count(head) == 1
    back = owner.get(reverse("rollback", args=[0])).content.decode()
    assert back.count(head.replace("added", "deleted")) == 2, "once in what changes, once in what follows from it"
    assert "<code>comment</code>" not in back, "it was never set"


def test_every_page_tells_of_a_trial_and_of_what_is_not_saved(owner: Client, built: VServer) -> None:
    assert owner.post(reverse("save-configuration")).status_code == 302
    assert ">unsaved</a>" not in owner.get("/vservers/").content.decode()
    assert owner.post(reverse("begin-trial"), {"minutes": "nonsense"}).status_code == 302
    assert "Trial:" not in owner.get("/vservers/").content.decode()
    owner.post(reverse("begin-trial"), {"minutes": "5"})
    vservers.disable(SYSTEM, built)
    page = owner.get("/vservers/").content.decode()
    assert "Trial:" in page
    assert re.search(r'is rolled back <time datetime="[^"]*" data-format="until">at \d\d:\d\d:\d\d</time> unless', page)
    assert ">unsaved</a>" in page
    assert owner.post(reverse("end-trial")).status_code == 302
    assert VServer.objects.get().state == "ENABLED"
    owner.post(reverse("begin-trial"), {"minutes": "5"})
    assert owner.post(reverse("confirm-trial")).status_code == 302
    assert not PendingConfirmation.objects.exists()


def test_who_may_not_roll_back_is_refused_and_sees_no_buttons(client: Client, built: VServer) -> None:
    client.force_login(factories.member())
    number = current()
    vservers.disable(SYSTEM, built)
    page = client.get(reverse("revisions")).content.decode()
    assert "bring back" not in page
    assert client.post(reverse("rollback", args=[number]), {"expected": number + 1}).status_code == 403
    for name in ("save-configuration", "begin-trial", "confirm-trial", "end-trial"):
        client.post(reverse(name), {"minutes": "5"})
    assert VServer.objects.get().state == "DISABLED"
    assert not PendingConfirmation.objects.exists()
    assert VServerServiceBinding.objects.count() == 2
    assert AuditEntry.objects.filter(verb="refuse").count() == 6  # the page of the history too


def test_the_list_goes_on_to_older_ones(owner: Client, built: VServer) -> None:
    for number in range(60):
        vservers.update(SYSTEM, built, {"comment": f"at {number}"})
    page = owner.get(reverse("revisions")).content.decode()
    older = current() - 49
    assert f'href="?before={older}"' in page
    assert f">{older - 1}</td>" in owner.get(reverse("revisions"), {"before": older}).content.decode().replace(" ", "")


@pytest.mark.django_db
def test_a_command_without_a_user_names_the_revision_as_far_as_it_fits() -> None:
    servers.create(Actor.system("\0" + "x" * 400), {"name": "long", "address": "10.77.0.99"})
    revision = ConfigurationRevision.objects.latest("number")
    assert revision.actor_name == "\ufffd" + "x" * 149
