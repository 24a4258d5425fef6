"""Steps and tables in words, one line each: what previews show, the worker logs and golden files hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import IntFlag
from hashlib import blake2b
from typing import Any

from dataplane.hashing import ring_ids
from dataplane.steps import ORDER, Delete, Step, Table, entries
from dataplane.tables import (
    ForwarderSettings,
    PolicyEntry,
    PortPrefix,
    ProbeOut,
    ServiceEntry,
    ServiceFlag,
    SynLimit,
    Tables,
    VServerEntry,
    VServerKey,
    WhenDown,
)

_PROTOCOLS = {0: "any", 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
_LISTED_SERVICES = 8
_TEXT_ORDER = {table: number for number, table in enumerate(Table)}


def describe(steps: Iterable[Step], observed: Tables) -> str:
    """One line for each step, sorted by map and key: + adds, ~ changes what ``observed`` holds, - removes."""
    ordered = sorted(steps, key=lambda step: (_TEXT_ORDER[step.table], ORDER[step.table](step.key)))
    return "".join(f"{_step_text(step, observed)}\n" for step in ordered)


def subject(step: Step) -> str:
    """What a step is about, in words: "vserver 10.77.0.10 tcp/80"."""
    return _SUBJECT[step.table](step.key)


def dump(tables: Tables) -> str:
    """One line for each entry, sorted by map and key. Secrets appear as fingerprints only."""
    lines = []
    for table in Table:
        content = entries(tables, table)
        lines += [_entry_text(table, key, content[key]) for key in sorted(content, key=ORDER[table])]
    return "".join(f"{line}\n" for line in lines)


def _vserver_subject(key: VServerKey) -> str:
    ports = f"{key.port}-{key.port_end}" if key.port_end else key.port or "*"
    return f"vserver {key.address} {_PROTOCOLS.get(key.protocol, str(key.protocol))}/{ports}"


def _prefix_subject(key: PortPrefix) -> str:
    last = key.port + (1 << 16 - key.bits) - 1
    return f"ports {key.address} {_PROTOCOLS.get(key.protocol, str(key.protocol))}/{key.port}-{last}"


_SUBJECT: dict[Table, Callable[[Any], str]] = {
    Table.SETTINGS: lambda _: "settings",
    Table.INTERFACES: "interface {}".format,
    Table.SERVICES: "service {}".format,
    Table.POLICIES: "policy {}".format,
    Table.RINGS: "ring {}".format,
    Table.CLOSED: lambda key: f"service {key.service} closed to vserver row {key.vserver}",
    Table.VSERVERS: _vserver_subject,
    Table.PORT_PREFIXES: _prefix_subject,
    Table.VIPS: "vip {}".format,
    Table.PROBES_OUT: "probe out {}".format,
    Table.PROBES_IN: lambda key: f"probe in {key.vip} from {_mac(key.mac)}",
}


def _settings_text(value: ForwarderSettings) -> str:
    key = "none" if not any(value.hash_key) else f"fingerprint {_fingerprint(value.hash_key)}"
    probing = f"to ifindex {value.probe_ifindex} {_mac(value.probe_mac)}" if value.probe_ifindex else "off"
    rules = f" rules {'+'.join(_flag_names(value.flags))}" if value.flags else ""
    return f" hash key {key} probing {probing}{rules}"


def _service_text(value: ServiceEntry) -> str:
    closed = " closed to some vservers" if ServiceFlag.CLOSED in value.flags else ""
    return f" config {value.config_id} {_hop(value.ifindex, value.mac, value.source_mac)}{closed}"


def _policy_text(value: PolicyEntry) -> str:
    return (
        f" config {value.config_id} idle {value.idle_timeout} s persist {value.persist_timeout} s"
        f" mask {value.persist_mask}{_syn_text(value.syn)}{' rejects' if value.when_down is WhenDown.REJECT else ''}"
    )


def _syn_text(value: SynLimit | None) -> str:
    if value is None:
        return ""
    return (
        f" SYNs {value.rate}/s burst {value.burst}, of a network {value.source_rate}/s burst {value.source_burst}"
        f" mask {value.source_mask}"
    )


def _ring_text(value: bytes) -> str:
    return f": {_shares(value)}, fingerprint {_fingerprint(value)}"


def _shares(ring: bytes) -> str:
    """Services of a ring with their slots, in order of service id."""
    counts = Counter(ring_ids(ring))
    empty = counts.pop(0, 0)
    shares = [counts[service_id] for service_id in sorted(counts)]
    text = f"{len(shares)} service{'' if len(shares) == 1 else 's'}"
    if len(shares) > _LISTED_SERVICES:
        text += f" {min(shares)} to {max(shares)} slots each"
    elif shares:
        text += f" {'/'.join(map(str, shares))} slots"
    return f"{text}, {empty} slots empty" if empty else text


def _vserver_text(value: VServerEntry) -> str:
    fields = "+".join(_flag_names(value.hash_fields)) or "nothing"
    how = "".join(f" {name}" for name in _flag_names(value.flags))
    return f" id {value.vserver_id} config {value.config_id} hash {fields} mask {value.mask}{how}"


def _probe_out_text(value: ProbeOut) -> str:
    return f" is {value.vip} {_hop(value.ifindex, value.mac, value.source_mac)}"


_VALUE: dict[Table, Callable[[Any], str]] = {
    Table.SETTINGS: _settings_text,
    Table.INTERFACES: lambda mac: f" {_mac(mac)}",
    Table.SERVICES: _service_text,
    Table.POLICIES: _policy_text,
    Table.RINGS: _ring_text,
    Table.CLOSED: lambda state: f": flows {state.name.lower()}",
    Table.VSERVERS: _vserver_text,
    Table.PORT_PREFIXES: lambda ports: f" in {ports[0]}-{ports[1]}",
    Table.VIPS: lambda flags: f" {'+'.join(_flag_names(flags))}",
    Table.PROBES_OUT: _probe_out_text,
    Table.PROBES_IN: " is {}".format,
}


def _entry_text(table: Table, key: Any, value: Any) -> str:
    return _SUBJECT[table](key) + _VALUE[table](value)


def _step_text(step: Step, observed: Tables) -> str:
    old = entries(observed, step.table).get(step.key)
    if isinstance(step, Delete):
        return f"- {subject(step)} (absent)" if old is None else f"- {_entry_text(step.table, step.key, old)}"
    if old is None:
        return f"+ {_entry_text(step.table, step.key, step.value)}"
    if step.table is Table.RINGS:
        return f"~ {subject(step)}: {_shares(step.value)}, {_changed_percent(old, step.value):.1f} % of slots change"
    return f"~ {_entry_text(step.table, step.key, step.value)}"


def _changed_percent(old: bytes, new: bytes) -> float:
    before, after = ring_ids(old), ring_ids(new)
    changed = sum(map(int.__ne__, before, after)) + abs(len(before) - len(after))
    return 100 * changed / max(len(before), len(after), 1)


def _flag_names(flags: IntFlag) -> list[str]:
    return [flag.name.lower().replace("_", "-") for flag in flags if flag.name]


def _hop(ifindex: int, mac: bytes, source_mac: bytes) -> str:
    return f"to {_mac(mac)} from {_mac(source_mac)} on ifindex {ifindex}"


def _mac(mac: bytes) -> str:
    return mac.hex(":")


def _fingerprint(secret: bytes) -> str:
    return blake2b(secret, digest_size=4).hexdigest()
