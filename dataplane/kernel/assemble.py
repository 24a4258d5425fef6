"""Everything of the kernel that the worker needs, opened together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

from dataplane.kernel import loader
from dataplane.kernel.attach import KernelLinks, remove_everything
from dataplane.kernel.maps import KernelMaps
from dataplane.kernel.neighbours import KernelNeighbours, NeighbourEvents

__all__ = ["Kernel", "open_kernel", "remove_everything"]


@dataclass(slots=True)
class Kernel:
    """The three ports on one loaded forwarder and one netlink socket."""

    maps: KernelMaps
    links: KernelLinks
    neighbours: KernelNeighbours
    forwarder: loader.Forwarder
    pin_dir: Path
    _ip: IPRoute
    _events: NeighbourEvents

    def remove_old(self) -> list[Path]:
        """Unpin older layouts; call it once the forwarder is attached everywhere. Returns the folders removed."""
        return loader.remove_old(self.pin_dir, self.forwarder.folder)

    def close(self) -> None:
        """Let go of everything; the forwarder stays attached and goes on."""
        self._events.stop()
        self.links.close()
        self._ip.close()
        self.forwarder.close()


def open_kernel(object_path: Path, pin_dir: Path, *, on_event: Callable[[], None]) -> Kernel:
    """Load or take over the forwarder; ``on_event`` is called from a thread after each netlink change.

    Raises:
        OSError: see :func:`dataplane.kernel.loader.load`.

    """
    forwarder = loader.load(object_path, pin_dir)
    try:
        ip = IPRoute()
        try:
            events = NeighbourEvents(on_event)
        except BaseException:
            ip.close()
            raise
    except BaseException:
        forwarder.close()
        raise
    return Kernel(
        maps=KernelMaps(forwarder.maps),
        links=KernelLinks(forwarder, ip),
        neighbours=KernelNeighbours(ip),
        forwarder=forwarder,
        pin_dir=pin_dir,
        _ip=ip,
        _events=events,
    )
