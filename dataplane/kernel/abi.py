"""Functions and structures of libbpf.so.1 and linux/bpf.h, declared for ctypes and used by the libbpf module alone.

Every function has argument and result types: without them ctypes would cut pointers to 32 bits.
"""

from __future__ import annotations

import ctypes as c

_TAG_SIZE = 8
_NAME_SIZE = 16

lib = c.CDLL("libbpf.so.1", use_errno=True)


class OpenOptions(c.Structure):
    """``struct bpf_object_open_opts``."""

    _fields_ = [
        ("sz", c.c_size_t),
        ("object_name", c.c_char_p),
        ("relaxed_maps", c.c_bool),
        ("pin_root_path", c.c_char_p),
        ("unused", c.c_uint32),
        ("kconfig", c.c_char_p),
        ("btf_custom_path", c.c_char_p),
        ("kernel_log_buf", c.c_void_p),
        ("kernel_log_size", c.c_size_t),
        ("kernel_log_level", c.c_uint32),
    ]


class LoadOptions(c.Structure):
    """``struct bpf_prog_load_opts``, as far as it is used."""

    _fields_ = [
        ("sz", c.c_size_t),
        ("attempts", c.c_int),
        ("expected_attach_type", c.c_int),
        ("prog_btf_fd", c.c_uint32),
        ("prog_flags", c.c_uint32),
    ]


class MapInfo(c.Structure):
    """``struct bpf_map_info``, as far as it is read."""

    _fields_ = [
        ("type", c.c_uint32),
        ("id", c.c_uint32),
        ("key_size", c.c_uint32),
        ("value_size", c.c_uint32),
        ("max_entries", c.c_uint32),
        ("map_flags", c.c_uint32),
        ("name", c.c_char * _NAME_SIZE),
    ]


class RawProgramInfo(c.Structure):
    """``struct bpf_prog_info``, as far as it is read."""

    _fields_ = [
        ("type", c.c_uint32),
        ("id", c.c_uint32),
        ("tag", c.c_uint8 * _TAG_SIZE),
        ("jited_prog_len", c.c_uint32),
        ("xlated_prog_len", c.c_uint32),
        ("jited_prog_insns", c.c_uint64),
        ("xlated_prog_insns", c.c_uint64),
        ("load_time", c.c_uint64),
        ("created_by_uid", c.c_uint32),
        ("nr_map_ids", c.c_uint32),
        ("map_ids", c.c_uint64),
        ("name", c.c_char * _NAME_SIZE),
    ]


class TestRunOptions(c.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = [
        ("sz", c.c_size_t),
        ("data_in", c.c_void_p),
        ("data_out", c.c_void_p),
        ("data_size_in", c.c_uint32),
        ("data_size_out", c.c_uint32),
        ("ctx_in", c.c_void_p),
        ("ctx_out", c.c_void_p),
        ("ctx_size_in", c.c_uint32),
        ("ctx_size_out", c.c_uint32),
        ("retval", c.c_uint32),
        ("repeat", c.c_int),
        ("duration", c.c_uint32),
        ("flags", c.c_uint32),
        ("cpu", c.c_uint32),
        ("batch_size", c.c_uint32),
    ]


_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "bpf_object__open_file": (c.c_void_p, [c.c_char_p, c.c_void_p]),
    "bpf_object__load": (c.c_int, [c.c_void_p]),
    "bpf_object__close": (None, [c.c_void_p]),
    "bpf_object__next_map": (c.c_void_p, [c.c_void_p, c.c_void_p]),
    "bpf_object__find_program_by_name": (c.c_void_p, [c.c_void_p, c.c_char_p]),
    "bpf_map__name": (c.c_char_p, [c.c_void_p]),
    "bpf_map__type": (c.c_int, [c.c_void_p]),
    "bpf_map__key_size": (c.c_uint32, [c.c_void_p]),
    "bpf_map__value_size": (c.c_uint32, [c.c_void_p]),
    "bpf_map__max_entries": (c.c_uint32, [c.c_void_p]),
    "bpf_map__fd": (c.c_int, [c.c_void_p]),
    "bpf_map__set_pin_path": (c.c_int, [c.c_void_p, c.c_char_p]),
    "bpf_program__fd": (c.c_int, [c.c_void_p]),
    "bpf_obj_pin": (c.c_int, [c.c_int, c.c_char_p]),
    "bpf_obj_get": (c.c_int, [c.c_char_p]),
    "bpf_obj_get_info_by_fd": (c.c_int, [c.c_int, c.c_void_p, c.POINTER(c.c_uint32)]),
    "bpf_map_get_fd_by_id": (c.c_int, [c.c_uint32]),
    "bpf_prog_get_fd_by_id": (c.c_int, [c.c_uint32]),
    "bpf_prog_load": (c.c_int, [c.c_int, c.c_char_p, c.c_char_p, c.c_char_p, c.c_size_t, c.c_void_p]),
    "bpf_map_create": (c.c_int, [c.c_int, c.c_char_p, c.c_uint32, c.c_uint32, c.c_uint32, c.c_void_p]),
    "bpf_map_lookup_elem": (c.c_int, [c.c_int, c.c_char_p, c.c_void_p]),
    "bpf_map_update_elem": (c.c_int, [c.c_int, c.c_char_p, c.c_char_p, c.c_uint64]),
    "bpf_map_delete_elem": (c.c_int, [c.c_int, c.c_char_p]),
    "bpf_map_lookup_batch": (
        c.c_int,
        [c.c_int, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p, c.POINTER(c.c_uint32), c.c_void_p],
    ),
    "bpf_map_update_batch": (
        c.c_int,
        [c.c_int, c.c_char_p, c.c_char_p, c.POINTER(c.c_uint32), c.c_void_p],
    ),
    "bpf_prog_test_run_opts": (c.c_int, [c.c_int, c.POINTER(TestRunOptions)]),
    "libbpf_num_possible_cpus": (c.c_int, []),
    "libbpf_set_print": (c.c_void_p, [c.c_void_p]),
}
for _name, (_restype, _argtypes) in _SIGNATURES.items():
    _function = getattr(lib, _name)
    _function.restype = _restype
    _function.argtypes = _argtypes

# libbpf prints to stderr what the exceptions say anyway.
lib.libbpf_set_print(None)
