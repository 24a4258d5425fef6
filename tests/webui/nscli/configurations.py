"""Configurations of all objects for property tests, made by the actions, and what can be seen of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from hypothesis import strategies as st

from monitors.parameters import Parameter
from monitors.registry import KINDS
from tests.factories import SYSTEM
from webui.actions import eventtargets, installation, monitors, servers, servicegroups, services, vservers
from webui.actions.values import NOT_VALUES
from webui.events.kinds import KINDS as TARGETS
from webui.models import (
    EventTarget,
    HealthState,
    Installation,
    Monitor,
    ProbeTarget,
    Server,
    Service,
    ServiceGroup,
    ServiceGroupMember,
    ServiceGroupMonitorBinding,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
    VServerServiceGroupBinding,
)
from webui.models.sealed import opened
from webui.nscli.options import OWN

Draw = Callable[..., Any]  # hypothesis' own, be it from a composite strategy or from data()
FREE = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1, max_size=30).map(
    lambda text: text.strip() or "x"
)
NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_#. :@=-]{0,12}[A-Za-z0-9_#.:@=-]\Z")
# Of parameters that are checked, values that pass.
PARAMETERS: dict[str, list[Any]] = {
    "http_request": ["HEAD /", 'GET /health?a="b"', "OPTIONS *"],
    "resp_code": ["200", "200-299, 302"],
    "trofs_code": [0, 503],
    "trofs_string": ["", "maintenance now"],
    "custom_headers": ["", "Host: a.example\nX-Two: “2”", "A: b\\r\\nC: d"],
    "send": ["GET /", "HEAD /x y"[:7]],
    "recv": ["", 'all is "well"', "/o.k/"],
    "site_path": ["/Citrix/XenApp/", "/x"],
    "query": ["example.org", "a.example."],
    "ip_address": ["", "192.0.2.1, 192.0.2.2"],
    "base_dn": ["dc=example,dc=org"],
    "bind_dn": ["cn=probe,dc=example,dc=org"],
    "filter": ["(objectClass=*)", "(&(a=b)(c=d))"],
    "attribute": ["", "memberOf"],
    "eval_rule": ["MYSQL.RES.ATLEAST_ROWS_COUNT(1)", 'MYSQL.RES.ROW(0).TEXT_ELEM(1).EQ("ready")'],
    "group": ["", "news.group"],
    "mailbox": ["", "INBOX"],
    "rad_nas_id": ["", "nas 1"],
    "rad_nas_ip": ["", "192.0.2.9"],
    "rad_account_session": ["halfpipe-probe", "s 2"],
    "rad_framed_ip": ["", "192.0.2.8"],
    "rad_apn": ["", "internet"],
    "rad_msisdn": ["", "491234"],
    "snmp_oid": ["1.3.6.1.2.1.1.3.0", "1.3.6.1.4.1.2021.10.1.5.1"],
    "snmp_threshold": ["", "-5"],
    "script_name": ["check_it.sh"],
    "script_args": ["", "-a %a 'b c'"],
    "sni": ["", "a.example"],
    "verify": ["NONE"],
    "ca_certificates": [""],
    "sql_query": ["SELECT 1", "SELECT 'a\"b' -- c"],
    "sender": ["halfpipe@example.org"],
    "recipients": ["a@example.org, b@example.org"],
    "host": ["collector.example"],
    "url": ["https://hooks.example/x?token=abc"],
    "signing_secret": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    "secure_args": ["-p 'a b'", "x\\y"],
    "rad_key": ["shared secret", 'q{"}'],
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "comment": st.one_of(st.just(""), FREE),
    "mon_threshold": st.integers(0, 5),
    "netmask": st.sampled_from(["255.255.255.255", "255.255.255.0"]),
    "persist_mask": st.sampled_from(["255.255.255.255", "255.255.0.0"]),
    "source_syn_mask": st.sampled_from(["255.255.255.255", "255.0.0.0"]),
    "interval": st.integers(5, 300),
    "interval_unit": st.sampled_from(["SEC", "MIN"]),
    "resp_timeout": st.integers(1, 4),
    "down_time": st.integers(1, 100),
    "down_time_unit": st.sampled_from(["SEC", "MIN", "MSEC"]),
    "deviation": st.integers(0, 3),
    "failure_retries": st.integers(0, 3),
    "retries": st.integers(3, 127),
    "success_retries": st.integers(1, 32),
    "alert_retries": st.integers(0, 32),
    "resp_timeout_thresh": st.integers(0, 100),
    "give_up_hours": st.integers(1, 720),
    "timeout": st.integers(1, 1440),
    "clt_timeout": st.integers(0, 5000),
    "fail_open": st.integers(0, 99),
}


def own_values(draw: Draw, kind: str, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Values for some of an object's options."""
    found: dict[str, Any] = {}
    for option in OWN[kind]:
        if option.field in without or not draw(st.booleans()):
            continue
        if option.field in VALUES:
            found[option.field] = draw(VALUES[option.field])
        elif option.choices:
            found[option.field] = draw(st.sampled_from(option.choices))
        else:
            found[option.field] = draw(st.integers(1, 120))
    return found


def parameter_values(draw: Draw, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Values for a kind's parameters."""
    found: dict[str, Any] = {}
    for one in parameters:
        if not one.required and not draw(st.booleans()):
            continue
        if one.name in PARAMETERS:
            found[one.name] = draw(st.sampled_from(PARAMETERS[one.name]))
        elif one.choices:
            found[one.name] = draw(st.sampled_from(one.choices))
        elif one.kind == "switch":
            found[one.name] = draw(st.booleans())
        elif one.kind == "integer":
            found[one.name] = draw(st.integers(one.low, min(one.high, 100)))
        else:
            found[one.name] = draw(FREE)
    return found


def make(action: Any, *attempts: dict[str, Any]) -> Any:
    """The first of these that the rules allow; None when none is."""
    for values in attempts:
        try:
            with transaction.atomic():
                return action(values)
        except ValidationError:
            continue
    return None


def fill(draw: Draw, kinds: list[str]) -> None:
    """Make a configuration, with monitors of these kinds."""
    settings = own_values(draw, "installation")
    if settings:
        installation.update(SYSTEM, settings)
    names = [f"{draw(NAMES)}{number}" for number in range(12)]
    machines = [
        servers.create(
            SYSTEM,
            {"name": names[number], "address": draw(st.sampled_from([f"10.1.0.{number + 1}", f"fd00::{number + 1}"]))}
            | own_values(draw, "server"),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    checks = [
        make_monitor(draw, kind, f"{name}{index}") for index, (kind, name) in enumerate(zip(kinds, names, strict=False))
    ]
    offered = [_service(draw, draw(st.sampled_from(machines)), name) for name in names[: draw(st.integers(0, 4))]]
    virtual = [_vserver(draw, number, names[number]) for number in range(draw(st.integers(0, 3)))]
    _bind(draw, [one for one in offered if one], [one for one in checks if one])
    _serve(draw, [one for one in virtual if one], [one for one in offered if one], [one for one in checks if one])
    if draw(st.booleans()):
        _group(draw, machines, [one for one in virtual if one], [one for one in checks if one], f"g{names[0]}")
    for number, name in enumerate(TARGETS):
        values = {"name": f"{names[number]} t", "target_type": name} | parameter_values(draw, TARGETS[name].parameters)
        make(lambda v: eventtargets.create(SYSTEM, v), values | own_values(draw, "eventtarget"), values)


def _bind(draw: Draw, offered: list[Service], checks: list[Monitor]) -> None:
    for service in offered:
        for monitor in draw(st.lists(st.sampled_from([*checks, None]), max_size=2, unique=True)):
            weight, state = draw(st.integers(1, 100)), draw(st.sampled_from(["ENABLED", "DISABLED"]))
            make(lambda _v: monitor and services.bind_monitor(SYSTEM, service, monitor, weight, state), {})  # noqa: B023
        if draw(st.booleans()):
            stand_in = services.default_monitor(service)
            make(lambda _v: services.bind_monitor(SYSTEM, service, stand_in, 7), {})  # noqa: B023
            if draw(st.booleans()):
                services.set_monitor_binding(SYSTEM, service, stand_in, weight=3)


def _group(draw: Draw, machines: list[Server], virtual: list[VServer], checks: list[Monitor], name: str) -> None:
    place = {"name": name, "service_type": draw(st.sampled_from(["ANY", "TCP", "UDP"]))}
    group = make(lambda v: servicegroups.create(SYSTEM, v), place | own_values(draw, "servicegroup"), place)
    if group is None:
        return
    for server in machines:
        port, weight = draw(st.sampled_from(["*", 80, 443])), draw(st.sampled_from([1, 7]))
        own = draw(st.sampled_from([{}, {"state": "DISABLED"}, {"state": "ENABLED", "hash_id": 4_000_000_000}]))
        make(lambda v: servicegroups.bind_member(SYSTEM, group, server, port, weight=weight, values=v), own, {})  # noqa: B023
    for monitor in checks:
        make(lambda _v: servicegroups.bind_monitor(SYSTEM, group, monitor, 5, "DISABLED"), {})  # noqa: B023
    for vserver in virtual:
        make(lambda _v: servicegroups.bind_to_vserver(SYSTEM, vserver, group), {})  # noqa: B023


def _serve(draw: Draw, virtual: list[VServer], offered: list[Service], checks: list[Monitor]) -> None:
    for vserver in virtual:
        backup = draw(st.sampled_from(virtual))
        make(lambda _v: vservers.update(SYSTEM, vserver, {"backup_vserver": backup}), {})  # noqa: B023
        for service in offered:
            weight = draw(st.integers(1, 100))
            make(lambda _v: vservers.bind_service(SYSTEM, vserver, service, weight), {})  # noqa: B023
        vserver.refresh_from_db()
        for monitor in checks:
            if draw(st.booleans()):
                make(lambda _v: monitors.update(SYSTEM, monitor, {"dest_ip": vserver.address}), {})  # noqa: B023


def make_monitor(draw: Draw, kind: str, name: str) -> Monitor | None:
    values = {"name": name, "monitor_type": kind} | parameter_values(draw, KINDS[kind].parameters)
    own = own_values(draw, "monitor", frozenset({"dest_ip", "resp_timeout_unit", "deviation_unit"}))
    bare = {"name": name, "monitor_type": kind}
    required = [one for one in KINDS[kind].parameters if one.required and not one.default]
    least = {one.name: PARAMETERS.get(one.name, ["x"])[0] for one in required}
    found: Monitor | None = make(lambda v: monitors.create(SYSTEM, v), values | own, values, bare | own, bare | least)
    return found


def _service(draw: Draw, server: Server, name: str) -> Service | None:
    place = {
        "name": f"s{name}",
        "server": server,
        "service_type": draw(st.sampled_from(["ANY", "TCP", "UDP"])),
        "port": draw(st.sampled_from(["*", 80, 443])),
    }
    found: Service | None = make(lambda v: services.create(SYSTEM, v), place | own_values(draw, "service"), place)
    return found


def _vserver(draw: Draw, number: int, name: str) -> VServer | None:
    place = {
        "name": name,
        "service_type": draw(st.sampled_from(["ANY", "TCP", "UDP"])),
        "address": draw(st.sampled_from(["10.2.0.1", "10.2.0.2", "fd02::1"])),
        "port": draw(st.sampled_from(["*", "80", "80-443", "443"])),
    }
    options = own_values(draw, "vserver", frozenset({"backup_vserver"}))
    found: VServer | None = make(lambda v: vservers.create(SYSTEM, v), place | options, place)
    return found


def state() -> dict[str, Any]:
    """All that was configured, without numbers of rows."""
    found: dict[str, Any] = {}
    for model in (Server, Service, ServiceGroup, VServer, EventTarget):
        for row in model._default_manager.all():
            found[f"{model.__name__} {row.name}"] = _values(row)
    for monitor in Monitor.objects.filter(built_in=False):
        found[f"Monitor {monitor.name}"] = _values(monitor)
    for bound in ServiceMonitorBinding.objects.all():
        found[f"{bound.service.name} – {bound.monitor.name}"] = (bound.weight, bound.state)
    for binding in VServerServiceBinding.objects.all():
        found[f"{binding.vserver.name} = {binding.service.name}"] = binding.weight
    for member in ServiceGroupMember.objects.all():
        found[f"{member.group.name} ∋ {member.service.name}"] = member.weight
    for checked in ServiceGroupMonitorBinding.objects.all():
        found[f"{checked.group.name} – {checked.monitor.name}"] = (checked.weight, checked.state)
    for served in VServerServiceGroupBinding.objects.all():
        found[f"{served.vserver.name} = {served.group.name}"] = True
    settings = Installation.objects.get(pk=1)
    return found | {"installation": (settings.ttl_rule, settings.forwarding_mode)}


def _values(row: models.Model) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in row._meta.concrete_fields:
        if one.name not in NOT_VALUES:
            value = getattr(row, one.name)
            values[one.name] = opened(value) if one.name == "secrets" else str(value) if one.is_relation else value
    return values


def wipe() -> None:
    """Delete the configuration, past every rule."""
    VServer.objects.update(backup_vserver=None)
    ServiceGroup.objects.all().delete()
    for model in (HealthState, ProbeTarget, VServerServiceBinding, ServiceMonitorBinding, VServer, Service, Server):
        model._default_manager.all().delete()
    EventTarget.objects.all().delete()
    Monitor.objects.filter(built_in=False).delete()
    Installation.objects.update(ttl_rule=False, forwarding_mode="AUTO")
