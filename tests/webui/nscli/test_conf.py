"""Import of whole files: every line has an outcome, and all of it or nothing is done."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import factories
from tests.examples import examples
from tests.factories import SYSTEM
from webui.actions.base import Actor
from webui.choices import Interface
from webui.models import AuditEntry, Installation, Server, Service, VServer
from webui.nscli.conf import Report, import_configuration
from webui.nscli.errors import CliError
from webui.nscli.families import FAMILIES, family

pytestmark = pytest.mark.django_db

# As a NetScaler VPX writes it, shortened.
REAL = r"""
#NS13.0 Build 79.64
# Last modified by `save config`, Sat May  7 12:22:28 2022
set ns config -IPAddress 192.168.1.10 -netmask 255.255.255.0
enable ns feature WL SP LB CS SSL
enable ns mode FR L3 MBF Edge USNIP PMTUD
set system parameter -natPcbForceFlushLimit 4294967295
set system user nsroot 1234567890abcdef -encrypted -hashmethod SHA512
add ns ip 10.0.0.5 255.255.255.0 -vServer DISABLED
add route 0.0.0.0 0.0.0.0 10.0.0.1
set ns rpcNode 10.0.0.5 -password deadbeef -encrypted -encryptmethod ENCMTHD_3 -srcIP 10.0.0.5
add ssl certKey ns-server-certificate -cert ns-server.cert -key ns-server.key
add server web1 10.0.0.21
add server web2 10.0.0.22
add server proxy1 10.0.0.31 -comment "it is \"old\""
add service svc_web1 web1 ANY * -gslb NONE -maxClient 0 -maxReq 0 -cip DISABLED -usip YES -useproxyport YES -CKA NO
add service svc_web2 web2 ANY * -gslb NONE -maxClient 0 -maxReq 0 -cip DISABLED -usip YES -useproxyport YES -CKA NO
add service svc_proxy proxy1 HTTP 80 -gslb NONE -maxClient 0 -cip ENABLED X-Forwarded-For -usip NO -CKA NO -CMP YES
add lb monitor mon_web TCP -LRTM DISABLED -destPort 80 -interval 10 -resptimeout 3 -devno 1001
add lb monitor mon_http HTTP -respCode 200 -httpRequest "HEAD /health" -LRTM DISABLED
add lb vserver vs_dsr ANY 10.0.0.100 * -persistenceType NONE -lbMethod SOURCEIPHASH -m MAC -cltTimeout 120
add lb vserver vs_http HTTP 10.0.0.101 80 -persistenceType COOKIEINSERT -timeout 0 -cltTimeout 180
set lb parameter -sessionsThreshold 150000
bind lb vserver vs_dsr svc_web1
bind lb vserver vs_dsr svc_web2 -weight 2
bind lb vserver vs_http svc_proxy
bind lb vserver vs_http -policyName redirect_pol -priority 100 -gotoPriorityExpression END -type REQUEST
bind service svc_web1 -monitorName mon_web
bind service svc_web2 -monitorName mon_web
bind service svc_proxy -monitorName mon_http
set ns param -timezone "GMT+01:00-CET-Europe/Amsterdam"
show ns version
"""


def outcomes(report: Report) -> list[str]:
    return [one.outcome for one in report.lines]


def test_a_real_file_is_applied_where_it_is_about_direct_server_return() -> None:
    report = import_configuration(SYSTEM, REAL, apply=True)
    assert report.netscaler
    assert report.done
    assert report.counts == {"applied": 12, "ignored": 17, "refused": 0}
    vserver = VServer.objects.get()
    # What the line does not name is as NetScaler has it.
    assert (vserver.name, vserver.sessionless) == ("vs_dsr", "DISABLED")
    assert set(vserver.service_bindings.values_list("service__name", "weight")) == {("svc_web1", 1), ("svc_web2", 2)}
    assert set(Server.objects.values_list("name", flat=True)) == {"web1", "web2"}
    why = {one.line.split(" -")[0]: one.why for one in report.lines if one.outcome == "ignored"}
    assert why["add ns ip 10.0.0.5 255.255.255.0"].startswith("ns ip: addresses, interfaces and routes")
    assert why["add lb vserver vs_http HTTP 10.0.0.101 80"].startswith("its redirection mode is IP")
    assert why["add service svc_proxy proxy1 HTTP 80"].startswith("only virtual servers without direct server return")
    assert why["add lb monitor mon_http HTTP"] == why["add server proxy1 10.0.0.31"]
    assert why["show ns version"] == "it changes nothing"
    text = str(report)
    assert "deadbeef" not in text
    assert "1234567890abcdef" not in text


def test_a_dry_run_tells_the_same_and_changes_nothing() -> None:
    dry = import_configuration(SYSTEM, REAL)
    assert not Server.objects.exists()
    assert not AuditEntry.objects.exists()
    assert Installation.objects.get().revision == 0
    assert not dry.done
    assert dry.summary == "12 applied, 17 ignored, 0 refused: nothing was changed."
    assert import_configuration(SYSTEM, REAL, apply=True).lines == dry.lines


@pytest.mark.parametrize(
    "line", ["add server b 10.0.0.1", "ax server b 10.0.0.2", "add sever b 1", 'add server "b', "x"]
)
def test_one_refused_line_leaves_everything_as_it_was(line: str) -> None:
    text = f"add server a 10.0.0.1\n{line}\nadd server c 10.0.0.3\n"
    report = import_configuration(SYSTEM, text, apply=True)
    assert outcomes(report) == ["applied", "refused", "applied"]
    assert (report.done, Server.objects.count(), Installation.objects.get().revision) == (False, 0, 0)
    skipped = import_configuration(SYSTEM, text, apply=True, skip_refused=True)
    assert skipped.done
    assert set(Server.objects.values_list("name", flat=True)) == {"a", "c"}


def test_members_of_a_service_group_have_all_that_it_has_whatever_the_order() -> None:
    text = """
add server web1 10.0.0.21
add server web2 10.0.0.22
add serviceGroup g ANY -usip YES -maxClient 0 -comment "of the group"
add lb monitor m PING
add lb vserver v ANY 10.0.0.100 *
bind serviceGroup g web1 * -weight 3
bind lb vserver v g
bind serviceGroup g -monitorName m -weight 2
bind serviceGroup g web2 * -state DISABLED -hashId 7
set serviceGroup g -downStateFlush DISABLED
bind serviceGroup g nobody 80
disable serviceGroup g web1 *
bind serviceGroup g web1 *
"""
    report = import_configuration(SYSTEM, text, apply=True, skip_refused=True)
    assert [one.line for one in report.lines if one.outcome == "refused"] == [
        "bind serviceGroup g nobody 80",
        "bind serviceGroup g web1 *",
    ]
    first, second = Service.objects.order_by("name")
    assert (first.name, second.name) == ("g_web1_any", "g_web2_any")
    assert (first.comment, first.down_state_flush, first.state) == ("of the group", "DISABLED", "DISABLED")
    assert (second.state, second.hash_id) == ("DISABLED", 7)
    for service in (first, second):
        assert [(one.monitor.name, one.weight) for one in service.monitor_bindings.all()] == [("m", 2)]
    weights = dict(VServer.objects.get().service_bindings.values_list("service__name", "weight"))
    assert weights == {"g_web1_any": 3, "g_web2_any": 1}


def test_the_attempt_of_who_may_not_is_kept_though_the_rest_is_taken_back() -> None:
    user = factories.outsider()
    report = import_configuration(Actor(user, Interface.CLI), "add server a 10.0.0.1", apply=True)
    assert report.lines[0].why.startswith("Not authorized to execute this command: outsider may not add a server")
    assert [entry.verb for entry in AuditEntry.objects.all()] == ["call", "refuse"]
    user.user_permissions.add(Permission.objects.get(codename="add_server"))
    allowed = Actor(type(user).objects.get(pk=user.pk), Interface.CLI)
    assert import_configuration(allowed, "add server a 10.0.0.1", apply=True).done


def test_lines_that_run_other_files_or_are_too_much_are_refused() -> None:
    report = import_configuration(SYSTEM, "source /etc/passwd\nbatch -fileName x\n")
    assert outcomes(report) == ["refused", "refused"]
    with pytest.raises(CliError, match="at most"):
        import_configuration(SYSTEM, "#" * (9 * 1024 * 1024))


@pytest.mark.parametrize(
    "words", [("ns", "ip"), ("ssl", "certkey"), ("cs", "vserver"), ("vpn", "vserver"), ("lb", "parameter")]
)
def test_families_that_are_ignored_say_why(words: tuple[str, ...]) -> None:
    found = family(["add", *words, "x"])
    assert found is not None
    assert found[1] in FAMILIES.values()
    assert family(["fly", *words]) is None
    assert family(["add", "nothing", "like"]) is None


LINES = st.sampled_from([line for line in REAL.splitlines() if line])


@given(st.lists(st.one_of(LINES, st.text(max_size=40)), max_size=12).map("\n".join), st.booleans(), st.booleans())
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_a_dry_run_reports_every_line_and_changes_nothing(
    text: str, skip: bool, netscaler: bool
) -> None:
    report = import_configuration(SYSTEM, text, skip_refused=skip, netscaler=netscaler)
    assert all(one.outcome in {"applied", "ignored", "refused"} for one in report.lines)
    assert all(one.why for one in report.lines if one.outcome != "applied")
    assert Installation.objects.get().revision == 0
    assert not Server.objects.exists()
