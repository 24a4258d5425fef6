"""Runs tests/scenarios/*.txt: each is one feature as commands with what they must answer, in the indented lines below.

Commands (``*`` is any protocol or port):

    interface INDEX NAME MAC up|down ADDRESS/PREFIX...
    host INDEX ADDRESS MAC                  a server that answers; ``silent`` instead of a MAC: it does not
    vserver ROW ADDRESS PROTOCOL/PORT [hash=source+destination+source-port] [mask=ADDRESS]
    remove ROW                              removes a vserver
    bind ROW SERVICE ADDRESS [weight=N] [down=WORDS-JOINED-BY-DASHES]
    unbind ROW SERVICE
    probe ADDRESS VIP SERVER                a probe address
    fail TABLE                              the next step on this table is refused
    round                                   compile, plan, apply; answers the plan in words
    dump                                    answers what the maps hold
    ineligible                              answers who gets no traffic and why
    send SOURCE[:PORT] DESTINATION PROTOCOL/PORT     answers where the packet goes

WRITE_SCENARIOS=1 writes the answers into the files; read the difference before it is committed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane.apply import apply
from dataplane.compile import CompileError, compile_tables
from dataplane.desired import (
    Configuration,
    DesiredState,
    ProbeTarget,
    ServiceConfig,
    VServerConfig,
    ineligible,
    resolve,
)
from dataplane.plan import plan
from dataplane.plan_text import describe, dump
from dataplane.steps import Step
from dataplane.tables import HashField, Reason
from tests.dataplane.network import FULL_MASK, HASH_KEY
from tests.fakes import FakeLinks, FakeMaps, FakeNeighbours, Packet

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*.txt"))
PROTOCOLS = {"*": 0, "icmp": 1, "tcp": 6, "udp": 17}


class RefusingMaps(FakeMaps):
    """Maps that refuse the next step on one table."""

    refused: str = ""

    def apply(self, step: Step) -> None:
        if step.table == self.refused:
            self.refused = ""
            raise OSError(errno.ENOSPC, "No space left on device")
        super().apply(step)


class Director:
    """What the commands act on."""

    def __init__(self) -> None:
        self.links = FakeLinks()
        self.neighbours = FakeNeighbours()
        self.maps = RefusingMaps()
        self.vservers: dict[int, VServerConfig] = {}
        self.probes: list[ProbeTarget] = []
        self.rows: dict[str, int] = {}

    def run(self, line: str) -> str:
        name, *words = line.split()
        command: Callable[..., str | None] = getattr(self, f"do_{name}")
        return command(*words) or ""

    def do_interface(self, index: str, name: str, mac: str, state: str, *addresses: str) -> None:
        number = int(index)
        self.links.present = [item for item in self.links.present if item.ifindex != number]
        self.links.add(
            number, name, bytes.fromhex(mac.replace(":", "")), *addresses, up={"up": True, "down": False}[state]
        )

    def do_host(self, index: str, address: str, mac: str) -> None:
        pair = int(index), ip_address(address)
        self.neighbours.silent.discard(pair)
        if mac == "silent":
            self.neighbours.silent.add(pair)
        else:
            self.neighbours.hosts[pair] = bytes.fromhex(mac.replace(":", ""))

    def do_vserver(self, row: str, address: str, traffic: str, *options: str) -> None:
        vip = ip_address(address)
        protocol, port = _traffic(traffic)
        chosen = _options(options, hash="source", mask=str(FULL_MASK[vip.version]))
        fields = HashField(0)
        for field in chosen["hash"].split("+"):
            fields |= HashField[field.upper().replace("-", "_")]
        number = int(row)
        services = self.vservers[number].services if number in self.vservers else ()
        self.vservers[number] = VServerConfig(
            number, f"v{number}", vip, protocol, port, fields, ip_address(chosen["mask"]), services
        )

    def do_remove(self, row: str) -> None:
        del self.vservers[int(row)]

    def do_bind(self, row: str, name: str, address: str, *options: str) -> None:
        chosen = _options(options, weight="1", down="")
        vserver = self.vservers[int(row)]
        service = ServiceConfig(
            self.rows.setdefault(name, len(self.rows) + 101),
            name,
            ip_address(address),
            int(chosen["weight"]),
            f"{address} {name}",
            not chosen["down"],
            chosen["down"].replace("-", " "),
        )
        others = tuple(item for item in vserver.services if item.name != name)
        self.vservers[int(row)] = replace(vserver, services=(*others, service))

    def do_unbind(self, row: str, name: str) -> None:
        vserver = self.vservers[int(row)]
        kept = tuple(item for item in vserver.services if item.name != name)
        assert len(kept) < len(vserver.services), f"{name} is not bound"
        self.vservers[int(row)] = replace(vserver, services=kept)

    def do_probe(self, address: str, vip: str, server: str) -> None:
        self.probes.append(ProbeTarget(ip_address(address), ip_address(vip), ip_address(server)))

    def do_fail(self, table: str) -> None:
        self.maps.refused = table

    def do_round(self) -> str:
        observed = self.maps.read()
        try:
            wanted = compile_tables(self._state(), observed, probe_ifindex=99, probe_mac=bytes.fromhex("020000000099"))
        except CompileError as error:
            return f"refused: {error}\n"
        steps = plan(wanted, observed)
        applied = apply(steps, self.maps)
        text = describe(steps, observed)
        return text + (f"failed after {applied.done} of {len(steps)} steps: {applied.error}\n" if applied.error else "")

    def do_dump(self) -> str:
        return dump(self.maps.read())

    def do_ineligible(self) -> str:
        return "".join(f"{vserver.name} {item.name}: {item.reason}\n" for vserver, item in ineligible(self._state()))

    def do_send(self, source: str, destination: str, traffic: str) -> str:
        client, _, source_port = source.rpartition(":") if source.count(":") == 1 else (source, "", "0")
        protocol, port = _traffic(traffic)
        verdict = self.maps.send(Packet(ip_address(client), ip_address(destination), protocol, int(source_port), port))
        if verdict.reason is not Reason.FORWARDED:
            return f"{verdict.reason.name.lower().replace('_', ' ')}\n"
        names = {row: name for name, row in self.rows.items()}
        return f"v{verdict.vserver} {names[verdict.service]} at {verdict.mac.hex(':')} on ifindex {verdict.ifindex}\n"

    def _state(self) -> DesiredState:
        configuration = Configuration(1, HASH_KEY, tuple(self.vservers.values()), tuple(self.probes))
        self.neighbours.watch(resolve(configuration, self.links.interfaces(), {}).targets)
        return resolve(configuration, self.links.interfaces(), self.neighbours.table())


def _traffic(text: str) -> tuple[int, int]:
    protocol, _, port = text.partition("/")
    return PROTOCOLS[protocol], 0 if port in {"*", ""} else int(port)


def _options(words: tuple[str, ...], **defaults: str) -> dict[str, str]:
    given = dict(word.split("=", 1) for word in words)
    assert given.keys() <= defaults.keys(), f"unknown option in {words}"
    return defaults | given


def replay(text: str) -> str:
    """The scenario with the answers that its commands give now."""
    director = Director()
    lines = []
    for line in text.splitlines():
        if line.startswith("    "):
            continue
        lines.append(line)
        if line and not line.startswith("#"):
            lines += [f"    {answer}" for answer in director.run(line).splitlines()]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario_answers_as_written(path: Path) -> None:
    text = path.read_text()
    answered = replay(text)
    if os.environ.get("WRITE_SCENARIOS"):
        path.write_text(answered)
    else:
        assert answered == text


def test_there_are_scenarios_and_each_expects_something() -> None:
    assert SCENARIOS
    for path in SCENARIOS:
        assert any(line.startswith("    ") for line in path.read_text().splitlines()), path
