"""What one frame costs: the forwarder against a program that only writes two MACs, by BPF_PROG_TEST_RUN."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from statistics import median

from dataplane.bench import configurations
from dataplane.bench.configurations import Flow, Size
from dataplane.bench.forwarder import Loaded
from dataplane.bench.harness import Harness
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import BenchError
from dataplane.tables import MAX_VSERVERS, Reason

FRAMES = 200_000
ROUNDS = 9
CLIENTS = 32_768
SESSIONLESS, FLOW_HIT = "1 vserver, 1 client", "1 vserver, 1 client, flow-table hit"
FLOW_TABLE = "flows"
_NOWHERE = ip_address("10.127.0.1")

Measure = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Case:
    """``goal`` is in floors, by kind of program. ``expected`` must count every frame: else another path was taken."""

    name: str
    size: Size
    flows: tuple[Flow, ...]
    expected: Reason = Reason.FORWARDED
    goal: dict[str, float] | None = None


def cases() -> Iterator[Case]:
    """Small tables first."""
    one = Size(vservers=1, services=3, groups=1)
    near, far = {"tc": 2.0, "xdp": 4.0}, {"tc": 3.0, "xdp": 8.0}
    client = tuple(configurations.flows(1, 1))
    client6 = tuple(configurations.flows(1, 1, version=6))
    yield Case(SESSIONLESS, one, client, goal=near)
    yield Case("1 vserver, 1 client, IPv6", replace(one, version=6), client6)
    yield Case("1 vserver of protocol ANY, 1 client", replace(one, protocol=0, port=0), client)
    yield Case("not a VIP", one, (replace(client[0], destination=_NOWHERE),), Reason.PASS_NOT_VIP)
    flows = replace(one, sessions=True)
    yield Case(FLOW_HIT, flows, client)
    yield Case(f"flow-table hit, {CLIENTS:,} flows", flows, _clients(flows))
    most = Size(vservers=MAX_VSERVERS - 1, services=3, groups=1)
    yield Case(f"{MAX_VSERVERS - 1:,} vservers, 1 client", most, client, goal=near)
    yield Case(f"{MAX_VSERVERS - 1:,} vservers, {CLIENTS:,} clients", most, _clients(most))
    many = Size(vservers=1000, services=100, groups=1)
    yield Case(f"1,000 vservers × 100 services, {CLIENTS:,} clients", many, _clients(many), goal=far)
    spread = Size(vservers=1000, services=100, groups=100)
    yield Case(f"1,000 vservers × 100 of 10,000 services, {CLIENTS:,} clients", spread, _clients(spread), goal=far)
    own = Size(vservers=1000, services=10, groups=1000)
    yield Case(f"1,000 vservers × 10, no two rings alike, {CLIENTS:,} clients", own, _clients(own))


def _clients(size: Size) -> tuple[Flow, ...]:
    return tuple(configurations.flows(CLIENTS, size.vservers, size.version))


def measure(case: Case, kind: str, program: int, harness: Harness, forwarder: Loaded) -> Figure:
    """Send the case's frames through ``program``, the forwarder as tc or xdp, whose tables are filled already.

    Restoring a frame costs what it adds to a program that does nothing. That is taken off the forwarder's time and
    off the floor's, so both keep the entry of a program.
    Raises BenchError when a frame took another path than was meant.
    """
    harness.use(case.flows)
    nothing, floor = harness.programs[f"nothing_{kind}"], harness.programs[f"floor_{kind}"]

    def frames_only() -> float:
        return harness.run(kind, nothing, FRAMES) - harness.run(kind, nothing, FRAMES, restored=False)

    def of_floor() -> float:
        return harness.run(kind, floor, FRAMES)

    def of_forwarder() -> float:
        return _checked(case, kind, program, harness, forwarder, FRAMES)

    # Every client a few times: the first round must not pay for cold look-ups, nor for flows that are not known yet.
    _checked(case, kind, program, harness, forwarder, 3 * max(len(case.flows), 1000))
    rounds = [one_round(frames_only, of_floor, of_forwarder) for _ in range(ROUNDS)]
    # A hit counts for the same reason as a miss: that each flow is remembered tells them apart.
    if case.size.sessions and (known := len(forwarder.forwarder.maps[FLOW_TABLE].items())) != len(case.flows):
        raise BenchError(f"{case.name} ({kind}): {known} of {len(case.flows)} flows are in the flow table")
    ratios = sorted(cost / floor for cost, floor in rounds)
    return Figure(
        section=f"one frame, {kind}",
        name=case.name,
        unit="× floor",
        value=median(ratios),
        spread=(ratios[0], ratios[-1]),
        goal=Goal("≤", case.goal[kind]) if case.goal else None,
        raw={"ns": median(cost for cost, _ in rounds), "floor ns": median(floor for _, floor in rounds)},
    )


def hit_to_sessionless(figures: Sequence[Figure]) -> Iterator[Figure]:
    """What remembering flows costs, from the figures of both paths, for each kind of program."""
    by_name = {(figure.section, figure.name): figure.value for figure in figures}
    for (section, name), value in by_name.items():
        if name == FLOW_HIT and (section, SESSIONLESS) in by_name:
            ratio = value / by_name[section, SESSIONLESS]
            yield Figure(section, "flow-table hit ÷ sessionless", "×", ratio, goal=Goal("≤", 1.5))


def one_round(frames_only: Measure, of_floor: Measure, of_forwarder: Measure) -> tuple[float, float]:
    """Nanoseconds a frame for forwarder and floor; A B B A, so that what drifts meanwhile weighs on both alike."""
    sequence = (frames_only, of_floor, of_forwarder, of_forwarder, of_floor, frames_only)
    times = [measured() / FRAMES * 1e9 for measured in sequence]
    restoring, floor, cost = (times[index] + times[-1 - index] for index in range(3))
    return (cost - restoring) / 2, (floor - restoring) / 2


def _checked(case: Case, kind: str, program: int, harness: Harness, forwarder: Loaded, frames: int) -> float:  # noqa: PLR0913, PLR0917
    before = forwarder.reasons()
    seconds = harness.run(kind, program, frames)
    after = forwarder.reasons()
    counted = {reason.name: after[reason] - before[reason] for reason in after if after[reason] != before[reason]}
    # What XDP passes on it leaves to tc to count
    wanted = {} if kind == "xdp" and case.expected.name.startswith("PASS_") else {case.expected.name: frames}
    if counted != wanted:
        raise BenchError(f"{case.name} ({kind}): {frames} frames should count as {case.expected.name}: {counted}")
    return seconds
