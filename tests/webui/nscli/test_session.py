"""Lines and their answers, as NetScaler's users know them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monitors.registry import KINDS
from tests import factories
from tests.examples import examples
from webui.actions.base import Actor
from webui.choices import Interface, State
from webui.models import (
    AuditEntry,
    DirectorCounters,
    EventTarget,
    HealthState,
    Installation,
    Monitor,
    Server,
    Service,
    VServer,
)
from webui.nscli import saved
from webui.nscli.layout import elapsed, stamp, table
from webui.nscli.names import completions
from webui.nscli.session import DONE, Session, commands

pytestmark = pytest.mark.django_db

ARTICLE = """\
enable ns mode mbf
enable ns feature lb
add server Server1 10.0.0.100
add service service_Server1_ANY server1 ANY 80 -usip Yes
add lb vserver vserver_DSR ANY 10.0.0.11 80 -lbmethod SOURCEIPHASH -m MAC -sessionless ENABLED
bind lb vserver vserver_DSR service_Server1_ANY
set lb vserver vserver_DSR -connfailover STATELESS
""".splitlines()
OPERATOR = Actor(None, Interface.CLI, operator="ada")


@pytest.fixture
def session() -> Session:
    return Session(OPERATOR)


@pytest.fixture
def article(session: Session) -> Session:
    for line in ARTICLE:
        assert session.run(line).lines == (DONE,), line
    return session


def told(session: Session, line: str) -> str:
    answer = session.run(line)
    assert answer.ok, answer.text
    return "\n".join(answer.lines[:-1])


def error(session: Session, line: str) -> str:
    answer = session.run(line)
    assert not answer.ok
    assert len(answer.lines) == 1
    return answer.lines[0].removeprefix("ERROR: ")


@pytest.mark.usefixtures("article")
def test_the_lines_of_the_article_work_as_they_stand() -> None:
    vserver = VServer.objects.get()
    assert (vserver.name, vserver.address, vserver.port) == ("vserver_DSR", "10.0.0.11", 80)
    assert (vserver.lb_method, vserver.mode, vserver.sessionless) == ("SOURCEIPHASH", "MAC", "ENABLED")
    assert vserver.conn_failover == "STATELESS"
    service = Service.objects.get()
    assert (service.server.name, service.service_type, service.port, service.usip) == ("Server1", "ANY", 80, True)
    assert vserver.service_bindings.get().service == service
    assert set(AuditEntry.objects.values_list("actor_name", "interface")) == {("ada", "cli")}


def test_the_article_can_be_typed_in_any_case_and_short(session: Session) -> None:
    for line in ARTICLE:
        assert session.run(line.upper().replace("ADD LB VSERVER", "aDd VSERVER")).ok, line
    assert VServer.objects.get().name == "VSERVER_DSR"


def test_everything_can_be_set_unset_renamed_and_removed(article: Session) -> None:
    for line in (
        "set server server1 -IPAddress 10.0.0.101 -comment 'rack 7'",
        "rename server Server1 web1",
        "set service service_server1_any -monThreshold 2 -hashId 7 -downStateFlush DISABLED",
        "unset service service_server1_any -monThreshold -hashId",
        "set lb vserver vserver_DSR -backupVServer NONE -synRate 100 -ping DROP -failOpen 50 -whenDown REJECT",
        "unset vserver vserver_DSR -synRate -backupVServer",
        "add lb monitor m HTTP -interval 2 MIN -resptimeout 500 MSEC -httpRequest 'GET /x' -respCode 200-299 302",
        "set lb monitor m HTTP -interval 10 -secure YES -LRTM ENABLED -deviation 1 SEC",
        "bind service service_Server1_ANY -monitorName M -weight 5",
        "bind service service_Server1_ANY -monitorName m -monState DISABLED",
        "unset lb monitor m HTTP -resptimeout -httpRequest",
        "bind lb vserver vserver_DSR service_Server1_ANY -weight 9",
        "set lb vserver vserver_DSR -weight 10 service_Server1_ANY",
        "enable lb monitor service_Server1_ANY m",
        "disable lb monitor service_Server1_ANY",
        "disable service service_Server1_ANY 60",
        "enable service service_Server1_ANY",
        "disable server web1 30 -graceFul YES",
        "enable server web1",
        "disable lb vserver vserver_DSR",
        "set ns param -ttlRule ENABLED -forwardingMode tc",
        "unset ns param -forwardingMode",
        "add eventTarget hook WEBHOOK -url https://a.example/ -signingSecret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "disable eventTarget hook",
        "set eventTarget hook -alerts NO -giveUpHours 2",
    ):
        assert session_done(article, line), line
    assert Server.objects.get().comment == "rack 7"
    service, vserver, monitor = Service.objects.get(), VServer.objects.get(), Monitor.objects.get(name="m")
    assert (service.mon_threshold, service.hash_id, service.down_state_flush) == (0, None, "DISABLED")
    assert (vserver.syn_rate, vserver.ping, vserver.fail_open, vserver.state) == (0, "DROP", 50, "DISABLED")
    assert (monitor.interval, monitor.interval_unit, monitor.secure, monitor.resp_timeout) == (10, "MIN", True, 2)
    assert monitor.params["resp_code"] == "200-299, 302"
    assert monitor.params["http_request"] == "HEAD /"
    binding = service.monitor_bindings.get()
    assert (binding.monitor, binding.weight, binding.state) == (monitor, 5, "DISABLED")
    assert vserver.service_bindings.get().weight == 10
    assert (Installation.objects.get().ttl_rule, Installation.objects.get().forwarding_mode) == (True, "AUTO")
    assert (EventTarget.objects.get().state, EventTarget.objects.get().alerts) == ("DISABLED", False)
    for line in (
        "unbind service service_Server1_ANY -monitorName m",
        "rm lb monitor m HTTP",
        "unbind lb vserver vserver_DSR service_Server1_ANY",
        "rm lb vserver vserver_DSR",
        "rm service service_Server1_ANY",
        "rm server web1",
        "rm eventTarget hook",
    ):
        assert session_done(article, line), line
    assert not Server.objects.exists()


def session_done(session: Session, line: str) -> bool:
    answer = session.run(line)
    assert answer.ok, answer.text
    return answer.lines[-1] == DONE


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "add server s2 10.0.0.100",
            "Invalid argument value [IPAddress] 10.0.0.100 is the address of server “Server1”",
        ),
        ("add server SERVER1 10.0.0.7", "[name] There is a server “Server1” already"),
        ("add service s nobody ANY 80", "No such resource: server “nobody”"),
        ("add service s server1 HTTP 80", "[serviceType] Service type “HTTP” is refused"),
        ("add service s server1 ANY 70000", "[port]"),
        ("set service service_Server1_ANY -usip maybe", "[-usip] “maybe” is neither YES nor NO"),
        ("set service service_Server1_ANY -usip NO", "[-usip] Use source IP cannot be NO while"),
        ("set service service_Server1_ANY -CKA YES", "Argument [-cka] is refused: it belongs to a proxy"),
        ("set service service_Server1_ANY", "Nothing to set"),
        ("unset service service_Server1_ANY", "Nothing to unset"),
        ("add lb vserver v HTTP 10.0.0.12 80", "[serviceType]"),
        ("add lb vserver v ANY", "Required argument missing [IPAddress]"),
        ("set lb vserver vserver_DSR -lbMethod LEASTRESPONSETIME", "[-lbMethod]"),
        ("set lb vserver vserver_DSR -m IP", "[-m] Redirection mode “IP” is refused"),
        ("set lb vserver vserver_DSR -soMethod CONNECTION", "Argument [-somethod] is refused"),
        ("set lb vserver vserver_DSR -weight x service_Server1_ANY", "[-weight] “x” is not a whole number"),
        ("set lb vserver vserver_DSR -weight 101 service_Server1_ANY", "[-weight]"),
        ("bind lb vserver vserver_DSR service_Server1_ANY", "is bound to vserver “vserver_DSR” already"),
        ("bind lb vserver vserver_DSR -policyName p", "[-policyName] is refused: policies look into the content"),
        ("bind lb vserver vserver_DSR", "Required argument missing [serviceName]"),
        ("bind service service_Server1_ANY", "Required argument missing [-monitorName]"),
        ("bind service service_Server1_ANY -monitorName none", "No such resource: monitor “none”"),
        ("add lb monitor m FLY", "[type] “FLY” is no type of monitor"),
        ("add lb monitor m HTTP -send x", "[-send] “send” is a parameter of HTTP-ECV"),
        ("add lb monitor m HTTP -interval 1 HOUR", "Too many arguments [HOUR]"),
        ("add lb monitor m PING -retries 200", "[-retries] “200” is more than 127"),
        ("set lb monitor tcp-default TCP -retries 2", "built in"),
        ("set lb monitor tcp-default HTTP -retries 2", "is of type TCP, not HTTP"),
        ("rm server Server1", "still has services: service_Server1_ANY"),
        ("disable service service_Server1_ANY soon", "[delay] Delay “soon” is not a number of seconds"),
        ("disable service service_Server1_ANY -graceFul YES", "[-graceFul] Graceful without a delay"),
        ("disable ns mode MBF", "mode [MBF] cannot be disabled"),
        ("disable ns feature loadbalancing", "feature [LB] cannot be disabled"),
        ("add serviceGroup g HTTP", "[serviceType] Service type “HTTP” is refused"),
        ("add serviceGroup service_Server1_ANY ANY", "There is a service “service_Server1_ANY”"),
        ("bind serviceGroup g server1 80", "No such resource: service group “g”"),
        ("show server nobody", "No such resource: server “nobody”"),
        ("show ns savedConfig", "no configuration was saved yet"),
        ("batch -fileName /etc/passwd", "files are for manage.py ns"),
        ("source /etc/passwd", "files are for manage.py ns"),
        ("diff ns config /etc/passwd", "files are for manage.py ns"),
        ("stat service -ntimes 3", "Argument [-ntimes] is refused"),
        ("unset service service_Server1_ANY -CKA", "sets nothing here"),
        ("help fly", "No such command [fly]"),
    ],
)
def test_errors_name_the_option_the_value_and_the_rule(article: Session, line: str, text: str) -> None:
    before = Installation.objects.get().revision
    assert text in error(article, line)
    assert Installation.objects.get().revision == before


def test_options_without_effect_are_told_and_what_asks_for_nothing_passes(article: Session) -> None:
    line = "add server s2 10.0.0.2"
    assert told(article, line) == ""
    given = "-gslb NONE -maxClient 0 -maxReq 0 -cip DISABLED -usip YES -cltTimeout 120 -svrTimeout 120 -CKA NO -TCPB NO"
    warnings = told(article, f"add service srv_ftp s2 ANY * {given} -CMP NO")
    assert warnings.splitlines() == [
        "Warning: [-cltTimeout] is ignored: it gives way to the virtual server's",
        "Warning: [-svrTimeout] is ignored: it has no effect: replies are not seen",
    ]
    assert "feature [CS] does not exist here" in told(article, "enable ns feature LB CS")


def test_a_line_with_ranges_is_done_whole_or_not_at_all(session: Session) -> None:
    assert session.run("add server web[1-3] 10.0.0.[11-13]").ok
    assert list(Server.objects.values_list("name", "address")) == [(f"web{n}", f"10.0.0.1{n}") for n in (1, 2, 3)]
    assert session.run("add service svc[1-3] web[1-3] ANY 80").ok
    assert "10.0.0.12 is the address" in error(session, "add server other[1-3] 10.0.0.[12-14]")
    assert not Server.objects.filter(name__startswith="other").exists()
    assert "still has services" in error(session, "rm server web1 web2")
    assert session.run("rm service svc[1-3]").ok
    assert session.run("rm server web1 web2 web3").ok


@pytest.mark.usefixtures("article")
class TestPermissions:
    def of(self, user: User) -> Session:
        return Session(Actor(user, Interface.CLI, "192.0.2.7"))

    def test_who_may_nothing_is_told_so_and_the_attempt_is_kept(self) -> None:
        session = self.of(factories.outsider())
        for line in (
            "add server s[1-2] 10.0.0.[1-2]",
            "set server server1 -comment x",
            "rm service service_Server1_ANY",
            "bind lb vserver vserver_DSR service_Server1_ANY -weight 2",
            "disable lb monitor service_Server1_ANY",
            "set ns param -ttlRule ENABLED",
        ):
            before = AuditEntry.objects.count()
            assert error(session, line).startswith("Not authorized to execute this command: outsider may not ")
            assert AuditEntry.objects.count() == before + 2
            call, attempt = AuditEntry.objects.all()[:2]
            assert (call.verb, call.outcome, call.command) == ("call", "refused", line)
            assert (attempt.verb, attempt.interface, attempt.source_address) == ("refuse", "cli", "192.0.2.7")
            assert attempt.correlation == call.correlation
        assert session.run("show server").ok
        for line in ("save ns config", "show ns runningConfig", "show ns ns.conf", "diff ns config"):
            assert error(session, line).startswith("Not authorized to execute this command")

    def test_permissions_are_those_of_the_user(self) -> None:
        session = self.of(factories.member())
        assert session.run("set server server1 -comment x").ok
        assert error(session, "add server s 10.0.0.1").startswith("Not authorized")
        assert self.of(factories.owner()).run("save ns config").ok
        reader = User.objects.create_user("reader")
        reader.user_permissions.set(Permission.objects.filter(codename__in=["view_status", "export_configuration"]))
        assert self.of(reader).run("show ns ns.conf").ok
        assert not self.of(reader).run("save ns config").ok


def test_saved_and_running_configuration_are_told_apart(article: Session) -> None:
    assert "Config Changed since Last Save: TRUE" in told(article, "show ns config")
    assert saved.differs()
    assert told(article, "save config") == ""
    assert not saved.differs()
    row = Installation.objects.get()
    assert (row.saved_revision, row.saved_by) == (row.revision, "ada")
    assert told(article, "diff config") == "The configurations do not differ."
    article.run("set lb vserver vserver_DSR -comment 'new'")
    assert "Config Changed since Last Save: TRUE" in told(article, "show config")
    changed = told(article, "diff ns config").splitlines()
    assert [line[0] for line in changed] == ["-", "+", "@", "-", "+"]
    assert changed[-1].endswith("-connfailover STATELESS -comment new")
    before = Installation.objects.get().revision
    assert "-comment" not in told(article, "show ns savedConfig")
    article.run("rm lb vserver vserver_DSR")
    assert "vserver_DSR" in told(article, "show ns ns.conf")
    assert Installation.objects.get().revision == before + 1
    assert not VServer.objects.exists()


def test_secrets_are_in_no_history_audit_answer_or_configuration(session: Session) -> None:
    line = "add lb monitor m FTP -userName u -password 'correct horse'"
    assert session.run(line).ok
    assert session.history == []
    for one in ("show lb monitor m", "show ns runningConfig", "history"):
        assert "correct horse" not in session.run(one).text
    assert "correct" not in str(list(AuditEntry.objects.values()))
    answer = session.run("add lb monitor m FTP -userName u -password 'correct horse'")
    assert "correct" not in answer.text


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_screens_look_like_netscalers(path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A golden file: lines after “> ” are run, what follows is what they tell."""
    now = datetime(2026, 11, 24, 9, 30, 15, 390_000, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    monkeypatch.setattr("webui.world.timezone.now", lambda: now)
    monkeypatch.setattr("webui.world.freshness.refresh", lambda _rows: {})
    for line in ARTICLE:
        session.run(line)
    session.run("add lb monitor http HTTP -destPort 80 -respCode 200-299")
    session.run("bind service service_Server1_ANY -monitorName http -weight 2")
    HealthState.objects.update(
        state=State.UP,
        since=now - timedelta(hours=5, minutes=49, seconds=6),
        probes=57,
        failures=2,
        recent="PPFP",
        response="HTTP 200",
        response_time=0.0123,
    )
    figures = {"packets": 1200, "bytes": 90000, "packets_per_second": 12.5, "bits_per_second": 8000.0, "dropped": 3}
    payload = {
        "vservers": {str(VServer.objects.get().pk): {**figures, "dropped_per_second": 0.0}},
        "services": {str(Service.objects.get().pk): figures},
    }
    DirectorCounters.objects.create(director="d", taken_at=now, payload=payload)
    expected = path.read_text()
    asked = [line[2:] for line in expected.splitlines() if line.startswith("> ")]
    assert asked
    found = "".join(f"> {line}\n{session.run(line).text}" for line in asked)
    found = re.sub(r"(Changed Time: ).*", r"\1just now", found)  # told by the revision, whose clock is the machine's
    assert re.sub(r"[ \t]+$", "", found, flags=re.M) == re.sub(r"[ \t]+$", "", expected, flags=re.M)


def test_pieces_of_screens() -> None:
    now = datetime(2026, 11, 24, 9, 3, 5, tzinfo=UTC)
    assert stamp(now) == "Tue Nov 24 09:03:05 2026"
    assert stamp(now.replace(day=4)) == "Wed Nov  4 09:03:05 2026"
    assert elapsed(now - timedelta(days=2, milliseconds=7), now) == "2 days, 00:00:00.007"
    assert elapsed(now + timedelta(days=1), now) == "0 days, 00:00:00.000"
    assert table(["", "n"], [["a", "1"], ["bb", "22"]], right=frozenset({1})) == ["     n", "a    1", "bb  22"]


def test_commands_of_the_session(session: Session) -> None:
    assert told(session, "whoami") == "User: ada"
    assert session.run("exit").closes
    assert not session.run("sh ver").closes
    assert session.run("# nothing").silent
    assert told(session, "history").splitlines()[-1] == "4\thistory"
    assert "add lb vserver" in told(session, "help")
    assert "-lbMethod (SOURCEIPHASH" in told(session, "help add lb vserver")
    assert "Load Balancing" in told(session, "show ns feature")
    assert "MBF" in told(session, "show ns mode")


def test_files_run_files_in_bounds(tmp_path: Path) -> None:
    session = Session(OPERATOR, files=True)
    path = tmp_path / "a.conf"
    path.write_text("add server a 10.0.0.1\n# comment\nadd server b 10.0.0.1\nadd server c 10.0.0.3\n")
    assert "stopped at line 3: Invalid argument value [IPAddress]" in error(session, f"source {path}")
    assert not Server.objects.filter(name="c").exists()
    assert "2 lines of" in error(session, f"batch -fileName {path}")
    assert Server.objects.filter(name="c").exists()
    out = tmp_path / "out.txt"
    path.write_text("show server a\n")
    assert told(session, f"batch -fileName {path} -outfile {out}") == ""
    assert "10.0.0.1" in out.read_text()
    path.write_text(f"source {path}\n")
    assert "that is one too many" in error(session, f"source {path}")
    path.write_bytes(b"\xff")
    assert "it is no UTF-8 text" in error(session, f"source {path}")
    assert "No such file" in error(session, f"source {tmp_path / 'none'}")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sh", ["show"]),
        ("show lb ", ["monbindings", "monitor", "vserver"]),
        ("add lb vs", ["vserver"]),
        ("bind lb vserver ", ["vserver_DSR"]),
        ("bind lb vserver vserver_DSR serv", ["service_Server1_ANY"]),
        ("bind service service_Server1_ANY -monitorName ping", ["ping-default"]),
        ("set service service_Server1_ANY -us", ["-usip"]),
        ("set service service_Server1_ANY -usip ", ["YES", "NO"]),
        ("set lb vserver vserver_DSR -lbMethod SOURCE", ["SOURCEIPHASH"]),
        ("set lb vserver vserver_DSR -backupVServer v", ["vserver_DSR"]),
        ("add lb monitor m HTT", ["HTTP", "HTTP-ECV", "HTTPS"]),
        ("add lb monitor m HTTP -http", ["-httpRequest"]),
        ('show server "Ser', ["Server1"]),
        ("show server 'Ser", []),
        ("nothing like it ", []),
        ("add server s 10.0.0.1 -comment -", []),
    ],
)
def test_completion_offers_words_options_names_and_values(article: Session, line: str, offered: list[str]) -> None:
    found = [one.text for one in completions(line)]
    assert [one for one in found if one[0] != "-" or line.rsplit(" ", 1)[-1].startswith("-")][: len(offered)] == offered
    if not offered:
        assert found == []


VOCABULARY = sorted(
    {word for command in commands().all.values() for word in command.words}
    | {f"-{one.name}" for command in commands().all.values() for one in command.options}
    | {"Server1", "service_Server1_ANY", "vserver_DSR", "ping-default", *KINDS, "ANY", "80", "*", "10.0.0.11", "YES"}
    | {"[1-3]", "a[1-2]", '"', "'", "q{", "-", "--", "0", "-1", "1e9", "9" * 30, "\\", "#", "NONE", "DISABLED", "٣"}
    | {"-encrypted", "-password", "x" * 300, "fe80::1%eth0", "255.255.255.255", "::", "ﬁ", "\u202e", "ENABLED"}
)


@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(VOCABULARY), max_size=9).map(" ".join)))
@example('add server "\\u{1}" 10.0.0.1')
@example("set service service_Server1_ANY -hashId 99999999999999999999999999")
@example("add lb monitor m FTP -password x -encrypted")
@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_typed_is_answered_by_done_or_an_error(line: str) -> None:
    with transaction.atomic():
        session = Session(OPERATOR)
        for one in ARTICLE:
            session.run(one)
        answer = session.run(line)
        if answer.silent:
            assert not answer.lines
        elif answer.ok:
            assert answer.lines[-1] == DONE
        else:
            assert len(answer.lines) == 1
            assert re.fullmatch(r"ERROR: \S[^\n]*", answer.lines[0])
        completions(line)
        transaction.set_rollback(True)


def test_a_session_remembers_its_own_lines_alone(article: Session) -> None:
    assert Session(Actor(None, Interface.CLI, operator="eve")).history == []
    assert article.history == ARTICLE
