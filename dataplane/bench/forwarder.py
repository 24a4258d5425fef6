"""The forwarder as the worker loads it, filled by compile, plan and apply."""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dataplane.apply import apply
from dataplane.bench.sandbox import BenchError
from dataplane.compile import compile_tables
from dataplane.desired import DesiredState
from dataplane.kernel import loader
from dataplane.kernel.abi import lib
from dataplane.kernel.libbpf import BpfObject
from dataplane.kernel.maps import KernelMaps
from dataplane.plan import plan
from dataplane.tables import Reason, Tables

_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "bpf_object__next_program": (c.c_void_p, [c.c_void_p, c.c_void_p]),
    "bpf_program__name": (c.c_char_p, [c.c_void_p]),
    "bpf_program__section_name": (c.c_char_p, [c.c_void_p]),
}
for _name, (_restype, _argtypes) in _SIGNATURES.items():
    _function = getattr(lib, _name)
    _function.restype = _restype
    _function.argtypes = _argtypes


@dataclass(slots=True)
class Loaded:
    """A loaded forwarder, and what its tables hold."""

    forwarder: loader.Forwarder
    maps: KernelMaps
    tables: Tables = field(default_factory=Tables)

    def fill(self, desired: DesiredState) -> None:
        """Fill the empty tables. Raises BenchError when the kernel refuses a step."""
        self.tables = compile_tables(desired, Tables())
        applied = apply(plan(self.tables, Tables()), self.maps)
        if not applied.complete:
            raise BenchError(f"the tables could not be filled: {applied.error}")

    def reasons(self) -> dict[Reason, int]:
        """Frames counted for each reason."""
        return {reason: count.packets for reason, count in self.maps.reasons().items()}


@contextmanager
def loaded(object_path: Path, pin_dir: Path) -> Iterator[Loaded]:
    """A forwarder with empty tables of its own; nothing of it is left afterwards."""
    forwarder = loader.load(object_path, pin_dir)
    try:
        yield Loaded(forwarder, KernelMaps(forwarder.maps))
    finally:
        forwarder.close()
        loader.remove_pins(pin_dir)


@dataclass(frozen=True, slots=True)
class XdpObject:
    """A compiled forwarder for XDP, and the name of its program."""

    path: Path
    name: str

    @contextmanager
    def program(self, folder: Path) -> Iterator[int]:
        """Descriptor of the program, working on the maps pinned in ``folder``. Raises OSError when refused."""
        bpf_object = BpfObject(self.path)
        try:
            bpf_object.pin_maps(folder)
            bpf_object.load()
            fd = bpf_object.program_fd(self.name)
        finally:
            bpf_object.close()
        try:
            yield fd
        finally:
            os.close(fd)


def find_xdp(folder: Path) -> XdpObject | None:
    """The forwarder for XDP among the objects in ``folder``: the first with such a program.

    Programs of the forwarder are named hp_*, unlike those of the benchmark's own object.
    """
    for path in sorted(folder.glob("*.o")):
        sections = _programs(path)
        names = [name for name, section in sections.items() if section.startswith("xdp") and name.startswith("hp_")]
        if names:
            return XdpObject(path, names[0])
    return None


def _programs(path: Path) -> dict[str, str]:
    """Section by program of an object, in the object's order; none when it is not an eBPF object."""
    handle = lib.bpf_object__open_file(os.fsencode(path), None)
    if not handle:
        return {}
    try:
        found, program = {}, None
        while program := lib.bpf_object__next_program(handle, program):
            found[lib.bpf_program__name(program).decode()] = lib.bpf_program__section_name(program).decode()
        return found
    finally:
        lib.bpf_object__close(handle)
