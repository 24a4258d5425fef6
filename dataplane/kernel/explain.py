"""Asks the loaded forwarder itself what it does with a frame (BPF_PROG_TEST_RUN, Documentation/bpf/bpf_prog_run.rst).

Where hp_xdp is attached it is asked first, as for a real frame; if it finishes the frame, the tc program is asked
too, since both must do the same.

Nothing is configured or sent: the maps are opened for reading alone, and a test run carries no redirect out. Each run
leaves what one real frame would: one packet more in the counters of its reason, vserver and service, and whatever the
forwarder remembers of it (a look-up, a flow, a token of a limit). So a frame with FIN or RST, given as bytes, ends the
flow that it belongs to, where the vserver keeps flows.
"""

from __future__ import annotations

import ctypes as c
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from errno import EINVAL, ENODEV, ENOENT
from pathlib import Path

from pyroute2 import IPRoute

from dataplane.explain import DROP, PASS, REDIRECT, Explanation, Names, Ran, Stages, conclude
from dataplane.explain_query import Query, build_frame
from dataplane.kernel import loader, xdp
from dataplane.kernel.abi import lib
from dataplane.kernel.attach import KernelLinks
from dataplane.kernel.filters import INGRESS_PARENT, list_filters
from dataplane.kernel.libbpf import Map, get_pinned, get_program, program_info, run_program
from dataplane.kernel.maps import KernelMaps
from dataplane.layout import SIZES
from dataplane.ports import Interface
from dataplane.steps import Table

# struct __sk_buff (linux/bpf.h): 192 bytes, of which a test run may set these two among others
_CONTEXT_SIZE = 192
_INGRESS_IFINDEX_OFFSET = 36
_IFINDEX_OFFSET = 40
_XDP_CONTEXT = struct.Struct("=6I")  # struct xdp_md
# linux/bpf.h: what hp_xdp returns
_XDP_VERDICTS = {1: DROP, 2: PASS, 3: REDIRECT, 4: REDIRECT}
# linux/pkt_cls.h: what the forwarder returns
_VERDICTS = {7: REDIRECT, 2: DROP, 0xFFFFFFFF: PASS, 0: PASS}
_READ_ONLY = 1 << 3  # BPF_F_RDONLY


class _GetOptions(c.Structure):
    """``struct bpf_obj_get_opts``."""

    _fields_ = [("sz", c.c_size_t), ("file_flags", c.c_uint32)]


lib.bpf_obj_get_opts.restype = c.c_int
lib.bpf_obj_get_opts.argtypes = [c.c_char_p, c.POINTER(_GetOptions)]


class ReadOnlyMaps(KernelMaps):
    """The maps for those who only look: works on descriptors that may not write."""

    def _new_generation(self) -> None:
        """Nothing: only a writer makes the forwarder forget its look-ups."""


@dataclass(slots=True)
class Loaded:
    """The forwarder that is loaded, as an onlooker has it. ``notes`` say what is unusual about it.

    ``xdp_fd`` is -1 unless the interface has hp_xdp.
    """

    maps: ReadOnlyMaps
    program_fd: int
    interfaces: tuple[Interface, ...]
    interface: Interface
    notes: tuple[str, ...] = ()
    xdp_fd: int = -1


def explain(  # noqa: PLR0913 - what to ask, whom to ask, and how to name the answer
    query: Query,
    kernel_maps: KernelMaps,
    program_fd: int,
    interfaces: Sequence[Interface],
    *,
    interface: Interface | None = None,
    names: Names | None = None,
    notes: Sequence[str] = (),
    xdp_fd: int = -1,
) -> Explanation:
    """Run the program once on the query's frame, as if it arrived at ``interface`` (default: the first one).

    ``xdp_fd`` is the program in front of it, if there is one. The calling thread must be in the interface's network
    namespace. Counters go up by this one frame, see above. The reason is told from the verdict, the frame that comes
    out, the counters that moved, and the tables, so that other traffic does not mislead; where program and tables, or
    the two programs, still disagree the tables are read again, for they may have been changed between.

    Raises:
        OSError: the kernel refused, or there is no interface.
        QueryError: the query makes no frame.

    """
    if not interfaces and interface is None:
        raise OSError(ENODEV, "explain needs an Ethernet interface that the frame can arrive at")
    arrival = interface or interfaces[0]
    frame = build_frame(query, arrival.mac)
    tables = kernel_maps.read()
    stages = _run(frame, kernel_maps, program_fd, xdp_fd, arrival.ifindex)
    found = conclude(frame, stages, tables, interface=arrival, interfaces=interfaces, names=names, notes=notes)
    if found.agrees is not False and found.stages_agree is not False:
        return found
    tables = kernel_maps.read()
    return conclude(frame, stages, tables, interface=arrival, interfaces=interfaces, names=names, notes=notes)


def _run(frame: bytes, kernel_maps: KernelMaps, program_fd: int, xdp_fd: int, ifindex: int) -> Stages:
    """XDP first, if it is attached; then tc."""
    context = bytearray(_CONTEXT_SIZE)
    struct.pack_into("=II", context, _INGRESS_IFINDEX_OFFSET, ifindex, ifindex)
    in_front = None
    if xdp_fd >= 0:
        early = _XDP_CONTEXT.pack(0, len(frame), 0, ifindex, 0, 0)
        in_front = _run_one(frame, kernel_maps, xdp_fd, early, _XDP_VERDICTS)
    return Stages(_run_one(frame, kernel_maps, program_fd, bytes(context), _VERDICTS), in_front)


def _run_one(
    frame: bytes, kernel_maps: KernelMaps, program_fd: int, context: bytes, verdicts: Mapping[int, str]
) -> Ran:
    before = kernel_maps.reasons()
    try:
        done = run_program(program_fd, frame, context)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        raise OSError(EINVAL, f"the kernel runs no program on such a frame: its IP header is cut ({error})") from error
    after = kernel_maps.reasons()
    moved = frozenset(reason for reason, count in after.items() if count.packets > before[reason].packets)
    if done.verdict not in verdicts:
        raise OSError(EINVAL, f"the program returned {done.verdict}, which is no verdict of the forwarder")
    return Ran(verdicts[done.verdict], done.frame, moved)


@contextmanager
def open_loaded(pin_dir: Path, interface: str = "", *, towards: Query | None = None) -> Iterator[Loaded]:
    """The forwarder pinned under ``pin_dir``, at the interface of this name in the present network namespace.

    Without a name it is the interface that the forwarder is attached to, and of several the one whose subnet the
    query's source is in, then the first. Raises OSError when nothing is loaded or no interface fits.
    """
    folders = _folders(pin_dir)
    with IPRoute() as ip:
        links = KernelLinks(loader.Forwarder(pin_dir, {}, -1, -1), ip)
        interfaces = links.interfaces()
        chosen = _choose(ip, interfaces, interface, towards)
        attached = _attached_program(ip, chosen.ifindex)
        in_front = _attached_xdp(ip, chosen.ifindex)
    folder = folders.get(attached, next(iter(folders.values())))
    notes = [] if attached in folders else [_not_attached(chosen)]
    maps = open_maps(folder)
    try:
        _check_layout(maps, folder)
        with ExitStack() as opened_here:
            program_fd = get_pinned(folder / loader.INGRESS)
            opened_here.callback(os.close, program_fd)
            xdp_fd = get_program(in_front) if in_front else -1
            if in_front:
                opened_here.callback(os.close, xdp_fd)
            yield Loaded(ReadOnlyMaps(maps), program_fd, interfaces, chosen, tuple(notes), xdp_fd)
    finally:
        for opened in maps.values():
            opened.close()


def open_maps(folder: Path) -> dict[str, Map]:
    """Every map pinned in the folder, for reading alone. Raises OSError."""
    maps: dict[str, Map] = {}
    options = _GetOptions(sz=c.sizeof(_GetOptions), file_flags=_READ_ONLY)
    try:
        for path in sorted(folder.iterdir()):
            fd = lib.bpf_obj_get_opts(os.fsencode(path), c.byref(options))
            if fd == -EINVAL:  # links cannot be opened so
                continue
            if fd < 0:
                raise OSError(-fd, f"opening {path}: {os.strerror(-fd)}")
            if "map_type:" in Path(f"/proc/self/fdinfo/{fd}").read_text():
                maps[path.name] = Map(fd)
            else:
                os.close(fd)
    except BaseException:
        for opened in maps.values():
            opened.close()
        raise
    return maps


def _folders(pin_dir: Path) -> dict[int, Path]:
    """Folders with a pinned forwarder by its program's id, newest first."""
    found: dict[int, Path] = {}
    for folder in sorted(pin_dir.iterdir(), reverse=True) if pin_dir.is_dir() else ():
        try:
            fd = get_pinned(folder / loader.INGRESS)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            found[program_info(fd).id] = folder
        finally:
            os.close(fd)
    if not found:
        raise OSError(ENOENT, f"no forwarder is pinned under {pin_dir}: the dataplane worker has not loaded it")
    return dict(sorted(found.items(), reverse=True))


def _choose(ip: IPRoute, interfaces: Sequence[Interface], name: str, query: Query | None) -> Interface:
    if name:
        chosen = next((item for item in interfaces if item.name == name), None)
        if chosen is None:
            there = ", ".join(item.name for item in interfaces) or "none"
            raise OSError(
                ENODEV, f"interface {name!r} is no Ethernet interface of this network namespace; it has {there}"
            )
        return chosen
    if not interfaces:
        raise OSError(ENODEV, "this network namespace has no Ethernet interface")
    attached = [item for item in interfaces if _attached_program(ip, item.ifindex)] or list(interfaces)
    source = query.source if query else None
    near = (
        item
        for item in attached
        if source and any(source.version == own.version and source in own.network for own in item.addresses)
    )
    return next(near, attached[0])


def _attached_program(ip: IPRoute, ifindex: int) -> int:
    """Id of the forwarder's program at this interface, 0 if there is none."""
    filters = list_filters(ip, ifindex, INGRESS_PARENT)
    return next((item.program_id for item in filters if item.is_ours(loader.INGRESS)), 0)


def _attached_xdp(ip: IPRoute, ifindex: int) -> int:
    """Id of the forwarder's program for XDP at this interface, 0 if there is none."""
    there = next((xdp.attached_to(link) for link in ip.get_links() if link["index"] == ifindex), None)
    return there.id if there is not None and xdp.is_ours(there) and there.name == loader.XDP else 0


def _not_attached(interface: Interface) -> str:
    return f"The forwarder's tc program is not attached to {interface.name}: this is what it would do there."


def _check_layout(maps: dict[str, Map], folder: Path) -> None:
    for table, struct_name in (
        (Table.SETTINGS, "settings"),
        (Table.VIPS, "vip_value"),
        (Table.VSERVERS, "vserver_value"),
        (Table.SERVICES, "service_value"),
    ):
        if table not in maps or maps[table].value_size != SIZES[struct_name]:
            raise OSError(
                EINVAL,
                f"the forwarder in {folder} is of another version (map {table} differs): restart the dataplane worker",
            )
