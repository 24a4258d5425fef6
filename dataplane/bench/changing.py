"""``python -m dataplane.bench.changing``: a worker that applies one change after the other, by real rounds.

It says the number of each change once it is in the kernel, and at the end what the forwarder counted. Whatever
becomes of it, the kernel goes on forwarding.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dataplane.bench import configurations
from dataplane.bench.changes import Script, script
from dataplane.forwarding import Forwarding, Mode, Wish
from dataplane.kernel.assemble import Kernel, open_kernel
from dataplane.kernel.attach import KernelLinks
from dataplane.ports import Interface, Neighbour, ProbeRoute
from dataplane.reconcile import Reconciler
from dataplane.tables import IPAddress

SEED = 7
READY = "ready"


@dataclass(slots=True)
class _Links:
    """Real interfaces and attachments; addresses as :mod:`dataplane.bench.configurations` has them."""

    kernel: KernelLinks

    def interfaces(self) -> tuple[Interface, ...]:
        return configurations.interfaces()

    def ensure_attached(self, ifindexes: Collection[int]) -> list[str]:
        return self.kernel.ensure_attached(ifindexes)

    def ensure_modes(self, ifindexes: Collection[int], wish: Wish) -> tuple[list[str], Mapping[int, Forwarding]]:
        return self.kernel.ensure_modes(ifindexes, wish)

    def ensure_probe_device(self, routes: Collection[ProbeRoute]) -> Interface:
        return self.kernel.ensure_probe_device(routes)

    def announce(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        self.kernel.announce(ifindex, addresses)

    def ensure_solicited(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        """The sandbox has no IPv6 of its own, and nobody there asks."""
        del ifindex, addresses


@dataclass(slots=True)
class _Neighbours:
    """The neighbours of the script, which the kernel does not know."""

    script: Script

    def watch(self, targets: Collection[tuple[int, IPAddress]]) -> None:
        del targets

    def table(self) -> dict[tuple[int, IPAddress], Neighbour]:
        return self.script.neighbours()


def mode_at(number: int, switch_every: int) -> Mode:
    """How frames are forwarded at that change: tc and XDP in turn, tc first. 0: tc alone."""
    return Mode.XDP if switch_every and number // switch_every % 2 else Mode.TC


def change(kernel: Kernel, first: int, last: int, switch_every: int) -> str:
    """Take over at change ``first`` and go on to ``last``; returns what went wrong, or nothing."""
    state = script(SEED, first)
    reconciler = Reconciler(kernel.maps, _Links(kernel.links), _Neighbours(state), None, ())
    for number in range(first, last + 1):
        if number > first:
            state.step()
        mode = mode_at(number, switch_every)
        done = reconciler.round(replace(state.configuration(), mode=mode))
        if done.error:
            return f"change {number}: {done.error}"
        if refused := [found.reason for found in reconciler.forwarding.values() if found.mode is not mode]:
            return f"change {number}: no forwarding by {mode}: {refused[0]}"
        if number == first:
            kernel.remove_old()
        elif not done.summary:
            return f"change {number} changed nothing"
        _say(READY if number == first else str(number))
    return ""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """0 when all changes were made."""
    parser = argparse.ArgumentParser(prog="dataplane.bench.changing", description=__doc__)
    parser.add_argument("--object", type=Path, required=True)
    parser.add_argument("--pin-dir", type=Path, required=True)
    parser.add_argument("--first", type=int, required=True, help="the last change that the kernel may know")
    parser.add_argument("--last", type=int, required=True)
    parser.add_argument("--switch-every", type=int, default=0, help="changes between tc and XDP; 0: tc alone")
    options = parser.parse_args(arguments)
    kernel = open_kernel(options.object, options.pin_dir, on_event=lambda: None)
    try:
        failed = change(kernel, options.first, options.last, options.switch_every)
        counted = {reason.name: count.packets for reason, count in kernel.maps.reasons().items() if count.packets}
        _say(json.dumps(counted))
    finally:
        kernel.close()
    if failed:
        sys.stderr.write(f"{failed}\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
