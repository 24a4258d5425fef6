"""“Probe now” on the pages and on the command line: who may, what is offered, what is shown, what the audit says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import redis as redis_client
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from monitors import trying
from tests import factories
from tests.monitors.kinds.servers import by_hand, says
from tests.ports import free_port
from tests.redis_server import redis_server
from webui import queries, tries
from webui.actions import services
from webui.candidates import candidates
from webui.celery import app
from webui.models import AuditEntry, HealthState, HealthTransition, Installation, Monitor, ProbeTarget, Service
from webui.views.probing import bars

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def tickets(redis_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tickets that a worker would be given."""
    found: list[str] = []
    settings.REDIS_URL = redis_url
    monkeypatch.setattr(app, "send_task", lambda _name, args, **_options: found.extend(args))
    with redis_client.Redis.from_url(redis_url) as client:
        client.flushall()
    return found


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


@pytest.fixture
def monitor() -> Monitor:
    """Bound to service_Server1_ANY of vserver_DSR at 10.77.0.10, whose probe address is a port of loopback."""
    made = factories.monitor()
    service = factories.service()
    services.bind_monitor(factories.SYSTEM, service, made)
    factories.vserver(service)
    ProbeTarget.objects.update(address="127.0.0.1")
    Monitor.objects.filter(pk=made.pk).update(dest_port=free_port())
    made.refresh_from_db()
    return made


def choice(monitor: Monitor, number: int = 0) -> dict[str, str]:
    return {"choice": candidates(monitor)[number].key}


def part(client: Client, url: str, data: dict[str, str] | None = None) -> str:
    """What htmx gets."""
    header = {"HX-Request": "true"}
    answer = client.get(url, headers=header) if data is None else client.post(url, data, headers=header)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_probe_is_asked_for_and_its_steps_are_shown(owner: Client, monitor: Monitor, tickets: list[str]) -> None:
    url = reverse("probe", args=[monitor.pk])
    text = part(owner, url, choice(monitor))
    assert "Waiting for a worker …" in text
    result = reverse("probe-result", args=[monitor.pk, tickets[0]])
    assert f'hx-get="{result}"' in text
    assert "hx-get" in part(owner, result)
    assert trying.probe(tickets[0])
    _await_answer(tickets[0])
    text = part(owner, result)
    assert "hx-get" not in text
    assert re.search(r'class="state state-no">failed</span> connection refused', text)
    assert '<pre class="exchange">failed: connection refused</pre>' in text
    assert "no director has reported a path to Server1 (10.77.0.11)" in text
    assert "style=" not in text  # the policy forbids it
    whole = owner.get(result).content.decode()
    assert "<h1>Probe now: tcp-80</h1>" in whole
    assert "connection refused" in whole


def _await_answer(ticket: str) -> None:
    for _ in range(500):
        found = tries.look(ticket)
        assert found is not None
        if found["state"] not in {"waiting", "running"}:
            return
        _pause()
    pytest.fail("no answer within 5 s")


def _pause() -> None:
    import time  # noqa: PLC0415 - for this alone

    time.sleep(0.01)


def test_what_servers_send_is_text_on_the_page(owner: Client, monitor: Monitor, tickets: list[str]) -> None:
    Monitor.objects.filter(pk=monitor.pk).update(monitor_type="TCP-ECV", params={"send": "", "recv": "<b>hi</b>"})
    with by_hand(says(first=b"<script>alert(1)</script><b>hi</b>\x1b[2J")) as port:
        Monitor.objects.filter(pk=monitor.pk).update(dest_port=port)
        part(owner, reverse("probe", args=[monitor.pk]), choice(monitor))
        assert trying.probe(tickets[0])
        _await_answer(tickets[0])
    text = part(owner, reverse("probe-result", args=[monitor.pk, tickets[0]]))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>" not in text
    assert "\\x1b[2J" in text


def test_without_scripts_the_form_leads_to_a_page(owner: Client, monitor: Monitor, tickets: list[str]) -> None:
    answer = owner.post(reverse("probe", args=[monitor.pk]), choice(monitor))
    assert answer.status_code == 302
    assert answer.url == reverse("probe-result", args=[monitor.pk, tickets[0]])  # type: ignore[attr-defined]
    assert "Look again" in owner.get(answer.url).content.decode()  # type: ignore[attr-defined]


def test_the_attempt_is_in_the_audit_and_no_state_or_revision_changes(
    owner: Client, monitor: Monitor, tickets: list[str]
) -> None:
    before = list(HealthState.objects.values()), Installation.objects.get().revision
    part(owner, reverse("probe", args=[monitor.pk]), choice(monitor))
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.verb, entry.actor_name, entry.kind, entry.object_name) == ("probed", "owner", "monitor", "tcp-80")
    assert (entry.before, entry.revision) == (None, None)
    assert entry.after == {"service": "service_Server1_ANY", "vip": "10.77.0.10"}
    assert (list(HealthState.objects.values()), Installation.objects.get().revision) == before
    assert not HealthTransition.objects.exists()
    told = queries.change_rows("monitor", monitor.pk)[0]
    assert (told["what"], told["note"]) == ("probed monitor tcp-80", "service_Server1_ANY at 10.77.0.10")
    assert all("probed" not in row["what"] for row in queries.change_rows())  # of the configuration


def test_whoever_may_not_change_monitors_may_not_probe_and_the_attempt_is_noted(
    client: Client, monitor: Monitor, tickets: list[str]
) -> None:
    client.force_login(factories.outsider())
    url = reverse("probe", args=[monitor.pk])
    assert client.get(url).status_code == 403
    assert client.post(url, choice(monitor)).status_code == 403
    assert tickets == []
    entry = AuditEntry.objects.filter(verb="refuse").first()
    assert entry is not None
    assert entry.reason == "outsider may not change a monitor: the permission webui.change_monitor is missing."
    service = Service.objects.get()
    for page in (reverse("detail", args=["monitors", monitor.pk]), reverse("detail", args=["services", service.pk])):
        assert "Probe now" not in client.get(page).content.decode()


def test_a_result_is_its_requesters_alone(owner: Client, monitor: Monitor, tickets: list[str]) -> None:
    part(owner, reverse("probe", args=[monitor.pk]), choice(monitor))
    other = Client()
    other.force_login(factories.member())
    assert other.get(reverse("probe-result", args=[monitor.pk, tickets[0]])).status_code == 404
    assert owner.get(reverse("probe-result", args=[monitor.pk, "elsewhere"])).status_code == 404
    another = factories.monitor("another")
    assert owner.get(reverse("probe-result", args=[another.pk, tickets[0]])).status_code == 404


def test_a_second_probe_waits_for_the_first(owner: Client, monitor: Monitor, tickets: list[str]) -> None:
    url = reverse("probe", args=[monitor.pk])
    part(owner, url, choice(monitor))
    assert "Your last probe is still running" in part(owner, url, choice(monitor))
    assert owner.post(url, choice(monitor)).status_code == 409
    assert len(tickets) == 1


@pytest.mark.parametrize("key", ["", "1", "x-y", "99999-1", "1-99999", f"{10**30}-{10**30}"])
def test_a_choice_that_is_not_there_is_told(owner: Client, monitor: Monitor, tickets: list[str], key: str) -> None:
    answer = owner.post(reverse("probe", args=[monitor.pk]), {"choice": key})
    assert answer.status_code == 422
    assert "what was chosen is not there" in answer.content.decode()
    assert tickets == []


def test_a_probe_address_of_another_server_is_refused(owner: Client, monitor: Monitor, tickets: list[str]) -> None:
    mine, other = Service.objects.get(), factories.service(factories.server(2))
    factories.vserver(other, name="other", address="10.77.0.20")
    foreign = ProbeTarget.objects.get(vip="10.77.0.20")
    answer = owner.post(reverse("probe", args=[monitor.pk]), {"choice": f"{mine.pk}-{foreign.pk}"})
    assert answer.status_code == 422
    assert "is not at VIP 10.77.0.20, but at 10.77.0.10" in answer.content.decode()
    assert tickets == []


def test_redis_that_is_away_is_told_on_the_page(owner: Client, monitor: Monitor) -> None:
    url = reverse("probe", args=[monitor.pk])
    assert "Redis does not answer, so no worker can be asked" in part(owner, url, choice(monitor))
    assert owner.post(url, choice(monitor)).status_code == 503
    assert "the result cannot be read" in part(owner, reverse("probe-result", args=[monitor.pk, "ticket"]))


def test_bound_services_are_offered_before_those_that_are_not(owner: Client, monitor: Monitor) -> None:
    factories.vserver(factories.service(factories.server(2), name="a_service"), name="other", address="10.77.0.20")
    factories.service(factories.server(3), name="without_vip")
    offered = [(one.service.name, one.target.vip, one.is_bound) for one in candidates(monitor)]
    assert offered == [("service_Server1_ANY", "10.77.0.10", True), ("a_service", "10.77.0.20", False)]
    text = owner.get(reverse("detail", args=["monitors", monitor.pk])).content.decode()
    assert text.index('optgroup label="Bound"') < text.index('optgroup label="Not bound yet"')
    assert "without_vip" not in text


def test_offering_takes_five_queries_however_many_there_are(monitor: Monitor, django_assert_num_queries: Any) -> None:
    for number in (2, 3, 4):
        service = factories.service(factories.server(number))
        factories.vserver(service, name=f"v{number}", address=f"10.77.0.{100 + number}")
    with django_assert_num_queries(5):
        assert len(candidates(monitor)) == 4


def test_looking_again_reads_no_services(
    owner: Client, monitor: Monitor, tickets: list[str], django_assert_max_num_queries: Any
) -> None:
    part(owner, reverse("probe", args=[monitor.pk]), choice(monitor))
    with django_assert_max_num_queries(4):  # session, user, monitor
        part(owner, reverse("probe-result", args=[monitor.pk, tickets[0]]))


def test_without_anything_to_probe_the_page_says_why(owner: Client) -> None:
    made = factories.monitor()
    text = owner.get(reverse("detail", args=["monitors", made.pk])).content.decode()
    assert "Nothing to probe: no service is bound to a virtual server" in text
    assert 'name="choice"' not in text
    built_in = Monitor.objects.filter(built_in=True).first()
    assert built_in is not None
    assert "Nothing to probe" in owner.get(reverse("detail", args=["monitors", built_in.pk])).content.decode()


def test_each_binding_leads_to_its_probe_chosen_beforehand(owner: Client, monitor: Monitor) -> None:
    target = ProbeTarget.objects.get()
    service = Service.objects.get()
    url = f"{reverse('probe', args=[monitor.pk])}?choice={service.pk}-{target.pk}"
    text = owner.get(reverse("detail", args=["services", service.pk])).content.decode()
    assert f'href="{url}"' in text
    assert f"curl -v http://127.0.0.1:{monitor.dest_port}/" in text  # the same by hand
    assert f'<option value="{service.pk}-{target.pk}" selected>' in owner.get(url).content.decode()


def test_bars_lie_within_the_whole_and_are_never_invisible() -> None:
    def step(at: float, took: float) -> tries.StepRow:
        return tries.StepRow(what="s", at=at, took=took, text="", size=None, cut=0)

    found = [bar for _step, bar in bars([step(0, 0), step(1, 1), step(4, 3), step(4, 0)])]
    assert [(bar.x, bar.width) for bar in found] == [(0, 6), (0, 250), (250, 750), (994, 6)]
    assert bars([]) == []


def command(*words: str) -> tuple[str, int]:
    """Output and exit code."""
    out, code = StringIO(), 0
    try:
        call_command("probe", *words, stdout=out)
    except SystemExit as error:
        code = int(str(error.code))
    return out.getvalue(), code


def test_the_command_prints_the_steps_and_ends_by_the_verdict(monitor: Monitor) -> None:
    text, code = command("TCP-80", "service_server1_any")
    assert code == 1
    lines = text.splitlines()
    assert re.match(r" +\d+\.\d ms  resolve: 10\.77\.0\.10 by way of 127\.0\.0\.1: no director has reported", lines[0])
    assert lines[-1].endswith("verdict: failed: connection refused")
    with by_hand(says(first=b"hello\r\n")) as port:
        Monitor.objects.filter(pk=monitor.pk).update(dest_port=port)
        text, code = command("tcp-80", "service_Server1_ANY", "--vip", "10.77.0.10")
    assert code == 0
    assert "TCP handshake done" in text
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.verb, entry.actor_name, entry.interface) == ("probed", "probe", "system")


def test_the_command_says_what_is_wrong_with_its_words(monitor: Monitor) -> None:
    cases = {
        ("nobody", "service_Server1_ANY"): "No such resource: monitor “nobody”",
        ("tcp-80", "nobody"): "No such resource: service “nobody”",
    }
    for words, wanted in cases.items():
        with pytest.raises(CommandError, match=wanted):
            command(*words)
    with pytest.raises(CommandError, match=r"is not at VIP 10\.77\.0\.99, but at 10\.77\.0\.10"):
        command("tcp-80", "service_Server1_ANY", "--vip", "10.77.0.99")
    factories.vserver(Service.objects.get(), name="second", address="10.77.0.20")
    with pytest.raises(CommandError, match=r"several VIPs; name one of 10\.77\.0\.10, 10\.77\.0\.20"):
        command("tcp-80", "service_Server1_ANY")
    factories.service(factories.server(2), name="lonely")
    with pytest.raises(CommandError, match="bound to no virtual server"):
        command("tcp-80", "lonely")
