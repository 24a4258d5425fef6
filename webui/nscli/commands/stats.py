"""stat: figures as NetScaler prints them; only the way towards the servers is ever seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from webui.actions.base import find
from webui.choices import SERVING, State
from webui.models import Service, VServer
from webui.models.fields import port_text
from webui.nscli.commands.naming import spellings
from webui.nscli.context import Context, Entry
from webui.nscli.errors import CliError
from webui.nscli.grammar import Argument, Command, Option, Parsed
from webui.nscli.layout import table
from webui.payloads import Rates
from webui.world import World, is_stale, load_world

_REFUSED: Final = {
    "ntimes": "repeat the command, or look at the page Statistics, which follows the figures",
    "clearstats": "figures belong to the directors, which count on while they run",
    "logfile": "logs of figures are not kept in files; see the page Statistics",
}
OPTIONS: Final = (
    Option("detail", most=0, least=0),
    Option("fullValues", most=0, least=0),
    Option("ntimes"),
    Option("logFile"),
    Option("clearstats"),
    Option("sortBy", most=2),
)


def entries() -> Iterator[Entry]:
    """All of them."""
    for words, offers, handler in (
        (("stat", "service"), "service", _services),
        (("stat", "lb", "vserver"), "vserver", _vservers),
    ):
        for spelling in spellings(words):
            name = Argument("name", required=False, offers=offers)
            yield Entry(Command(spelling, (name,), OPTIONS, about=f"Figures of every {offers}, or of one."), handler)


def checked(parsed: Parsed) -> None:
    """Raise CliError for an option that is refused."""
    for key, why in _REFUSED.items():
        if parsed.has(key):
            raise CliError(f"Argument [-{key}] is refused: {why}")


def _vservers(_context: Context, parsed: Parsed) -> Iterator[str]:
    checked(parsed)
    world = load_world()
    name = parsed.one("name")
    rows = [world.vservers[find(VServer, name).pk]] if name else list(world.vservers.values())
    rates = {row.pk: world.rates("vservers", row.pk) for row in rows}
    rows = _sorted(rows, rates, parsed)
    yield "Virtual Server Summary" if name else "Virtual Server(s) Summary"
    headings = ["", "vsvrIP", "port", "Protocol", "State", "Health", "actSvcs", "inactSvcs", "PktRx/s"]
    yield from table(
        headings, [_vserver_row(world, row, rates[row.pk]) for row in rows], right=frozenset(range(1, len(headings)))
    )
    if name:
        yield ""
        yield "Virtual Server Statistics"
        yield from counters(world, "vservers", rows[0].pk, rates[rows[0].pk])


def _vserver_row(world: World, row: VServer, rates: Rates) -> list[str]:
    verdicts = [(world.verdict(one.service, row), one.weight) for one in world.bindings_of_vserver[row.pk]]
    counted = [(verdict, weight) for verdict, weight in verdicts if verdict.state != State.OUT_OF_SERVICE]
    up = [weight for verdict, weight in counted if verdict.state in SERVING]
    health = 100 * sum(up) // sum(weight for _verdict, weight in counted) if counted else 0
    return [
        row.name,
        row.address,
        row.ports,
        row.service_type,
        world.vserver_state(row).state,
        str(health),
        str(len(up)),
        str(len(verdicts) - len(up)),
        _figure(rates["packets_per_second"]),
    ]


def _services(_context: Context, parsed: Parsed) -> Iterator[str]:
    checked(parsed)
    world = load_world()
    name = parsed.one("name")
    rows = [world.services[find(Service, name).pk]] if name else list(world.services.values())
    rates = {row.pk: world.rates("services", row.pk) for row in rows}
    rows = _sorted(rows, rates, parsed)
    yield "Service Summary" if name else "Service(s) Summary"
    headings = ["", "IP", "port", "Type", "State", "Throughput (Mbps)", "PktRx/s"]
    lines = [service_row(world, row, rates[row.pk]) for row in rows]
    yield from table(headings, lines, right=frozenset(range(1, len(headings))))
    if name:
        yield ""
        yield "Service Statistics"
        yield from counters(world, "services", rows[0].pk, rates[rows[0].pk])


def service_row(world: World, row: Service, rates: Rates) -> list[str]:
    """A service in a table: name, address, port, type, state, Mbit/s, packets a second."""
    bits = rates["bits_per_second"]
    return [
        row.name,
        row.server.address,
        port_text(row.port),
        row.service_type,
        str(world.service_state(row).state),
        _figure(None if bits is None else bits / 1_000_000),
        _figure(rates["packets_per_second"]),
    ]


def _sorted(rows: list[Any], rates: dict[int, Rates], parsed: Parsed) -> list[Any]:
    by = parsed.options.get("sortby")
    if by is None:
        return sorted(rows, key=lambda row: row.name.lower())
    if by[0].lower() != "hits" or (len(by) > 1 and by[1].lower() not in {"ascending", "descending"}):
        raise CliError(f"Invalid argument value [-sortBy] “{' '.join(by)}”: Hits, then ascending or descending")
    ascending = len(by) > 1 and by[1].lower() == "ascending"
    return sorted(rows, key=lambda row: rates[row.pk]["packets"] or 0, reverse=not ascending)


def counters(world: World, kind: str, pk: int, rates: Rates) -> Iterator[str]:
    """The figures of one object; ``kind`` as in payloads: ``vservers`` or ``services``."""
    bits = rates["bits_per_second"]
    rows = [
        ["Packets rcvd", _figure(rates["packets_per_second"]), _figure(rates["packets"])],
        ["Request bytes", _figure(None if bits is None else bits / 8), _figure(_bytes(world, kind, pk))],
    ]
    if kind == "vservers":
        rows.append(["Packets dropped", _figure(rates["dropped_per_second"]), _figure(rates["dropped"])])
    if rates["flows"] is not None:
        rows.append(["Current flows", "--", _figure(rates["flows"])])
    rows.append(["Packets sent", "--", "--"])
    yield from table(["", "Rate (/s)", "Total"], rows, right=frozenset({1, 2}))
    yield "Replies go from the servers straight to the clients: packets sent, responses and their bytes are not seen."


def _bytes(world: World, kind: str, pk: int) -> int | None:
    found = [
        counted["bytes"]
        for row in world.counters
        if not is_stale(row.taken_at, world.now) and "bytes" in (counted := row.payload.get(kind, {}).get(str(pk), {}))
    ]
    return sum(found) if found else None


def _figure(value: float | None) -> str:
    """A whole number, or ``--`` where no director tells one."""
    if value is None:
        return "--"
    return f"{value:.2f}" if isinstance(value, float) and value < 100 and value != int(value) else str(int(value))
