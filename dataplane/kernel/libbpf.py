"""The part of libbpf 1.1 that the data plane uses, by ctypes.

Every failure is an OSError with the kernel's errno; a refused program adds the end of the verifier's log. File
descriptors are plain numbers owned by the object that returned them; close() gives them back.
"""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Sequence
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path

from dataplane.kernel.abi import LoadOptions, MapInfo, OpenOptions, RawProgramInfo, TestRunOptions, lib

MAP_TYPE_ARRAY = 2
MAP_TYPE_RINGBUF = 27
INSTRUCTION_SIZE = 8
LOG_SIZE = 1 << 20
LOG_SHOWN = 4000


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result


def possible_cpus() -> int:
    """Number of values that a per-CPU map has for each entry."""
    return _check(lib.libbpf_num_possible_cpus(), "counting CPUs")


@dataclass(frozen=True, slots=True)
class MapShape:
    """What must be equal for a pinned map to be taken over; sizes in bytes."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int


class BpfObject:
    """A compiled object file, opened, then loaded once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = c.create_string_buffer(LOG_SIZE)
        options = OpenOptions(sz=c.sizeof(OpenOptions), kernel_log_buf=c.addressof(self._log), kernel_log_size=LOG_SIZE)
        self._object = lib.bpf_object__open_file(os.fsencode(path), c.byref(options))
        if not self._object:
            error = c.get_errno()
            raise OSError(error, f"cannot open {path} as an eBPF object: {os.strerror(error)}")

    def _maps(self) -> dict[str, int]:
        maps: dict[str, int] = {}
        previous = None
        while previous := lib.bpf_object__next_map(self._object, previous):
            name = lib.bpf_map__name(previous).decode()
            if "." not in name:  # the compiler's constants belong to one program and change with it
                maps[name] = previous
        return maps

    def shapes(self) -> list[MapShape]:
        """Every map of the object, sorted by name."""
        return [
            MapShape(
                name,
                lib.bpf_map__type(handle),
                lib.bpf_map__key_size(handle),
                lib.bpf_map__value_size(handle),
                lib.bpf_map__max_entries(handle),
            )
            for name, handle in sorted(self._maps().items())
        ]

    def pin_maps(self, folder: Path) -> None:
        """Before load(): take over what is pinned in ``folder``, pin there what is not."""
        for name, handle in self._maps().items():
            path = folder / name
            _check(lib.bpf_map__set_pin_path(handle, os.fsencode(path)), f"pinning map {name} at {path}")

    def load(self) -> None:
        """Create the maps and verify the programs."""
        result = lib.bpf_object__load(self._object)
        if result < 0:
            log = self._log.value.decode(errors="replace")[-LOG_SHOWN:]
            raise OSError(-result, f"cannot load {self._path}: {os.strerror(-result)}\n{log}".rstrip())

    def map_fd(self, name: str) -> int:
        """A descriptor of its own, which outlives the object."""
        return os.dup(_check(lib.bpf_map__fd(self._maps()[name]), f"map {name}"))

    def program_fd(self, name: str) -> int:
        """A descriptor of its own, which outlives the object."""
        program = lib.bpf_object__find_program_by_name(self._object, name.encode())
        if not program:
            raise OSError(ENOENT, f"{self._path} has no program {name}")
        return os.dup(_check(lib.bpf_program__fd(program), f"program {name}"))

    def close(self) -> None:
        """Give everything back that was not pinned or duplicated."""
        if self._object:
            lib.bpf_object__close(self._object)
            self._object = None


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """``tag`` is the hash of the instructions without map identities; ``map_ids`` are those identities, sorted."""

    id: int
    tag: bytes
    name: str
    map_ids: tuple[int, ...]


def program_info(fd: int) -> ProgramInfo:
    """What the kernel knows about a loaded program."""
    ids = (c.c_uint32 * 64)()
    info = RawProgramInfo(nr_map_ids=len(ids), map_ids=c.addressof(ids))
    size = c.c_uint32(c.sizeof(info))
    _check(lib.bpf_obj_get_info_by_fd(fd, c.byref(info), c.byref(size)), "reading program info")
    return ProgramInfo(info.id, bytes(info.tag), info.name.decode(), tuple(sorted(ids[: info.nr_map_ids])))


def pin(fd: int, path: Path) -> None:
    """Give a map or program a name in a bpffs."""
    _check(lib.bpf_obj_pin(fd, os.fsencode(path)), f"pinning at {path}")


def get_pinned(path: Path) -> int:
    """Open what is pinned there; FileNotFoundError when nothing is."""
    return _check(lib.bpf_obj_get(os.fsencode(path)), f"opening {path}")


def get_program(program_id: int) -> int:
    """Open a loaded program by its id; FileNotFoundError when it is gone."""
    return _check(lib.bpf_prog_get_fd_by_id(program_id), f"opening program {program_id}")


def load_instructions(program_type: int, name: str, instructions: bytes, flags: int = 0) -> int:
    """Load a program under the MIT licence, given as ``struct bpf_insn`` (8 bytes each); the caller closes it."""
    options = LoadOptions(sz=c.sizeof(LoadOptions), prog_flags=flags)
    count = len(instructions) // INSTRUCTION_SIZE
    loaded = lib.bpf_prog_load(program_type, name.encode(), b"MIT", instructions, count, c.byref(options))
    return _check(loaded, f"loading program {name}")


class Map:
    """A map by its descriptor, which the object owns. Keys and values are bytes of exactly the map's sizes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        info = MapInfo()
        size = c.c_uint32(c.sizeof(info))
        _check(lib.bpf_obj_get_info_by_fd(fd, c.byref(info), c.byref(size)), "reading map info")
        self.id: int = info.id
        self.name = info.name.decode()
        self.key_size: int = info.key_size
        self.value_size: int = info.value_size
        self.max_entries: int = info.max_entries

    @classmethod
    def create_array(cls, name: str, value_size: int) -> Map:
        """A new array of one entry, without a flag, as inner maps of the forwarder are."""
        return cls(
            _check(lib.bpf_map_create(MAP_TYPE_ARRAY, name.encode(), 4, value_size, 1, None), f"creating map {name}")
        )

    @classmethod
    def create_ring_buffer(cls, name: str, size: int) -> Map:
        """A new ring buffer of ``size`` bytes: a power of two, and whole pages."""
        made = lib.bpf_map_create(MAP_TYPE_RINGBUF, name.encode(), 0, 0, size, None)
        return cls(_check(made, f"creating ring buffer {name}"))

    @classmethod
    def by_id(cls, map_id: int) -> Map:
        """Open a map by its id; FileNotFoundError when it is gone."""
        return cls(_check(lib.bpf_map_get_fd_by_id(map_id), f"opening map {map_id}"))

    def lookup(self, key: bytes, size: int | None = None) -> bytes | None:
        """The value, or None. ``size`` for maps whose values are longer here than in the kernel (per-CPU)."""
        self._check_size("key", key, self.key_size)
        value = c.create_string_buffer(size or self.value_size)
        result = lib.bpf_map_lookup_elem(self.fd, key, value)
        if result == -ENOENT:
            return None
        _check(result, f"reading from {self.name}")
        return value.raw

    def update(self, key: bytes, value: bytes, size: int | None = None) -> None:
        """Create or replace an entry."""
        self._check_size("key", key, self.key_size)
        self._check_size("value", value, size or self.value_size)
        _check(lib.bpf_map_update_elem(self.fd, key, value, 0), f"writing to {self.name}")

    def update_batch(self, keys: Sequence[bytes], values: Sequence[bytes]) -> int:
        """Create or replace entries in this order in one call to the kernel (BPF_MAP_UPDATE_BATCH).

        Returns how many were written before the kernel refused one: 0 where it has no batches for this kind of map.
        """
        for key, value in zip(keys, values, strict=True):
            self._check_size("key", key, self.key_size)
            self._check_size("value", value, self.value_size)
        count = c.c_uint32(len(keys))
        result = lib.bpf_map_update_batch(self.fd, b"".join(keys), b"".join(values), c.byref(count), None)
        # Refused as a whole, the count is left as it was
        return 0 if result < 0 and count.value == len(keys) else count.value

    def delete(self, key: bytes) -> None:
        """Remove an entry; an absent one is no error."""
        self._check_size("key", key, self.key_size)
        result = lib.bpf_map_delete_elem(self.fd, key)
        if result != -ENOENT:
            _check(result, f"deleting from {self.name}")

    def items(self) -> list[tuple[bytes, bytes]]:
        """Every entry of an array or hash, as :meth:`dump` reads them."""
        keys, values = self.dump()
        key_size, value_size = self.key_size, self.value_size
        return [
            (keys[i * key_size : (i + 1) * key_size], values[i * value_size : (i + 1) * value_size])
            for i in range(len(keys) // key_size)
        ]

    def dump(self, size: int | None = None) -> tuple[bytes, bytes]:
        """All keys, and all values in the same order, in one call to the kernel (BPF_MAP_LOOKUP_BATCH).

        ``size``: as in :meth:`lookup`.
        """
        size = size or self.value_size
        keys = c.create_string_buffer(self.key_size * self.max_entries)
        values = c.create_string_buffer(size * self.max_entries)
        position = c.create_string_buffer(max(self.key_size, 4))
        count = c.c_uint32(self.max_entries)
        result = lib.bpf_map_lookup_batch(self.fd, None, position, keys, values, c.byref(count), None)
        if result != -ENOENT:  # the way the kernel says: that was all
            _check(result, f"reading {self.name}")
        return keys.raw[: count.value * self.key_size], values.raw[: count.value * size]

    def _check_size(self, what: str, data: bytes, size: int) -> None:
        # ctypes hands on a bare pointer: the kernel would read past the end
        if len(data) != size:
            raise ValueError(f"{what} of map {self.name} has {len(data)} bytes: must have {size}")

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True, slots=True)
class Run:
    """Outcome of one run: verdict, frame, ``struct __sk_buff`` as left, mean duration in ns."""

    verdict: int
    frame: bytes
    context: bytes
    duration: int


def run_program(fd: int, frame: bytes, context: bytes = b"", repeat: int = 1) -> Run:
    """Run a tc program on a frame (BPF_PROG_TEST_RUN). ``context`` is a ``struct __sk_buff``, 192 bytes, or empty."""
    out = c.create_string_buffer(len(frame) + 256)
    context_out = c.create_string_buffer(len(context) or 1)
    frame_in = c.create_string_buffer(frame, len(frame))
    context_in = c.create_string_buffer(context, len(context) or 1)
    options = TestRunOptions(
        sz=c.sizeof(TestRunOptions),
        data_in=c.addressof(frame_in),
        data_size_in=len(frame),
        data_out=c.addressof(out),
        data_size_out=len(out),
        repeat=repeat,
    )
    if context:
        options.ctx_in, options.ctx_size_in = c.addressof(context_in), len(context)
        options.ctx_out, options.ctx_size_out = c.addressof(context_out), len(context)
    _check(lib.bpf_prog_test_run_opts(fd, c.byref(options)), "running a program on a frame")
    return Run(options.retval, out.raw[: options.data_size_out], context_out.raw, options.duration)
