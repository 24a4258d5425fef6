"""Loads the forwarder and finds again what an earlier process left in the kernel.

Maps and programs are pinned under ``<pin_dir>/<layout hash>/``: the kernel keeps them, and the traffic going, when
this process ends. An unchanged layout finds its maps filled; a changed one starts in a new folder beside the old.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from dataclasses import dataclass
from errno import EINVAL
from pathlib import Path

from dataplane import layout, layout_telemetry
from dataplane.kernel.libbpf import BpfObject, Map, MapShape, get_pinned, pin, program_info
from dataplane.tables import (
    ClosedState,
    HashField,
    Reason,
    SampleKind,
    ServiceFlag,
    SettingFlag,
    VipFlag,
    VServerFlag,
    WhenDown,
)

INGRESS = "hp_ingress"
PROBE = "hp_probe"
XDP = "hp_xdp"
_NUMBERS = (VipFlag, HashField, VServerFlag, ServiceFlag, ClosedState, WhenDown, SettingFlag, SampleKind, Reason)
log = logging.getLogger(__name__)

_TEMPORARY = "_new"  # bpffs takes no name with a dot


@dataclass(slots=True)
class Forwarder:
    """A loaded forwarder. Descriptors belong to it until close(). Without XDP ``xdp_fd`` is -1, and it says why not."""

    folder: Path
    maps: dict[str, Map]
    ingress_fd: int
    probe_fd: int
    xdp_fd: int = -1
    xdp_error: str = "it is not loaded"

    def close(self) -> None:
        """Give the descriptors back; what is pinned or attached stays."""
        for opened in self.maps.values():
            opened.close()
        self.maps.clear()
        for fd in (self.ingress_fd, self.probe_fd, self.xdp_fd):
            if fd >= 0:
                os.close(fd)
        self.ingress_fd = self.probe_fd = self.xdp_fd = -1


def layout_hash(shapes: list[MapShape]) -> str:
    """16 hexadecimal digits that change with any size, offset or number the maps' content depends on."""
    numbers = [{member.name: int(member) for member in kind} for kind in _NUMBERS]
    sizes, offsets = layout.SIZES | layout_telemetry.SIZES, layout.OFFSETS | layout_telemetry.OFFSETS
    text = repr((shapes, sorted(sizes.items()), sorted(offsets.items()), numbers))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def require_bpffs(folder: Path) -> None:
    """Raise OSError unless ``folder`` lies in a bpffs, the only kind of file system that takes pins."""
    best, kind = Path("/"), ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split()[4].encode().decode("unicode_escape"))
        if folder.resolve().is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, rest.split()[0]
    if kind != "bpf":
        raise OSError(EINVAL, f"pin folder {folder} is on {kind or 'nothing'} mounted at {best}: must be on a bpffs")


def load(object_path: Path, pin_dir: Path) -> Forwarder:
    """Load ``object_path``, take over the maps and, if they are the same, the programs pinned under ``pin_dir``.

    Nothing that is attached changes; :meth:`dataplane.kernel.attach.KernelLinks.ensure_attached` does that.
    The program for XDP comes from the object beside it; a kernel that refuses that one does without.

    Raises:
        OSError: no bpffs, an object that cannot be read, or a program that the verifier refuses (with its log).

    """
    require_bpffs(pin_dir)
    bpf_object = BpfObject(object_path)
    try:
        shapes = bpf_object.shapes()
        folder = pin_dir / layout_hash(shapes)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        bpf_object.pin_maps(folder)
        bpf_object.load()
        maps: dict[str, Map] = {}
        forwarder = Forwarder(folder, maps, -1, -1)
        try:
            for shape in shapes:
                maps[shape.name] = Map(bpf_object.map_fd(shape.name))
            forwarder.ingress_fd = _adopt_program(bpf_object.program_fd(INGRESS), folder / INGRESS)
            forwarder.probe_fd = _adopt_program(bpf_object.program_fd(PROBE), folder / PROBE)
            _load_xdp(xdp_object(object_path), forwarder)
        except BaseException:
            forwarder.close()
            raise
        return forwarder
    finally:
        bpf_object.close()


def xdp_object(object_path: Path) -> Path:
    """Where the forwarder for XDP is: forward_xdp.bpf.o beside forward.bpf.o."""
    name, dot, rest = object_path.name.partition(".")
    return object_path.with_name(f"{name}_xdp{dot}{rest}")


def _load_xdp(path: Path, forwarder: Forwarder) -> None:
    """Load the program for XDP on the maps of the other; where that fails, tc does everything."""
    try:
        bpf_object = BpfObject(path)
        try:
            bpf_object.pin_maps(forwarder.folder)
            bpf_object.load()
            forwarder.xdp_fd = _adopt_program(bpf_object.program_fd(XDP), forwarder.folder / XDP)
            forwarder.xdp_error = ""
        finally:
            bpf_object.close()
    except OSError as error:
        log.warning("without XDP: %s", error.strerror)
        forwarder.xdp_error = (error.strerror or str(error)).splitlines()[0]


def _adopt_program(fresh: int, path: Path) -> int:
    """The pinned program if it does the same to the same maps, so that an attached one need not be replaced."""
    try:
        pinned = get_pinned(path)
    except FileNotFoundError:
        pinned = -1
    if pinned >= 0:
        old, new = program_info(pinned), program_info(fresh)
        if (old.tag, old.map_ids) == (new.tag, new.map_ids):
            os.close(fresh)
            return pinned
        os.close(pinned)
    try:
        # rename makes the change of pins one step
        temporary = path.with_name(path.name + _TEMPORARY)
        temporary.unlink(missing_ok=True)
        pin(fresh, temporary)
        temporary.rename(path)
    except BaseException:
        os.close(fresh)
        raise
    return fresh


def remove_old(pin_dir: Path, keep: Path) -> list[Path]:
    """Unpin every layout but ``keep``; call it once the new program is attached. Returns the folders removed."""
    removed = []
    for folder in sorted(pin_dir.iterdir()):
        if folder.is_dir() and folder != keep:
            shutil.rmtree(folder)
            removed.append(folder)
    return removed


def remove_pins(pin_dir: Path) -> None:
    """Unpin everything under ``pin_dir``; the folder itself stays if something is mounted there."""
    if not pin_dir.is_dir():
        return
    for folder in sorted(pin_dir.iterdir()):
        if folder.is_dir():
            shutil.rmtree(folder)
    if not os.path.ismount(pin_dir):
        pin_dir.rmdir()
