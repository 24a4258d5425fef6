"""The array of rings: a slot for each virtual server, holding the id of an inner map that has the ring.

Virtual servers whose rings are alike have one inner map in common: it takes memory and cache once. An inner map is
never written to after a slot names it, so a ring that changes for one virtual server stays as it is for the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from dataplane import layout
from dataplane.kernel.libbpf import Map
from dataplane.tables import MAX_VSERVERS

_AT_ONCE = 256  # slots in one batch; each new ring among them holds a descriptor until the batch is written
_KEY = bytes(4)


class Rings:
    """Reads and writes the array. What it remembers of inner maps is checked before it is used."""

    def __init__(self, outer: Map) -> None:
        self._outer = outer
        self._content: dict[int, bytes] = {}  # by slot, as last read or written
        self._inner_ids: dict[bytes, int] = {}  # by content; may name maps that are gone

    def read(self) -> dict[int, bytes]:
        """The ring of every slot in use. Raises OSError."""
        rings: dict[int, bytes] = {}
        by_inner: dict[int, bytes] = {}
        for key, value in self._slots():
            inner_id = layout.unpack_id(value)
            if inner_id not in by_inner:
                inner = Map.by_id(inner_id)
                try:
                    by_inner[inner_id] = inner.lookup(_KEY) or b""
                finally:
                    inner.close()
            rings[layout.unpack_id(key)] = by_inner[inner_id]
        self._content = dict(rings)
        self._inner_ids = {ring: inner_id for inner_id, ring in by_inner.items()}
        return rings

    def _slots(self) -> list[tuple[bytes, bytes]]:
        try:
            return self._outer.items()
        except InterruptedError:
            # Older kernels end a batch so at the first empty slot of an array of maps; slower, then
            keys = [layout.pack_id(vserver_id) for vserver_id in range(MAX_VSERVERS)]
            return [(key, inner_id) for key in keys if (inner_id := self._outer.lookup(key)) is not None]

    def put(self, vserver_id: int, ring: bytes) -> None:
        """Swap one ring; returns when no packet uses the old one any more.

        Raises OSError when the kernel refuses and ValueError when id or ring do not fit; nothing was changed then.
        """
        key = layout.pack_id(vserver_id)
        inner = self._inner(layout.pack_ring(ring))
        try:
            self._outer.update(key, layout.pack_id(inner.fd))
            self._remember(vserver_id, ring, inner.id)
        finally:
            inner.close()

    def put_many(self, rings: Sequence[tuple[int, bytes]]) -> int:
        """Swap rings in this order with one wait for readers for many; how many were, before the kernel refused one.

        A kernel without such batches refuses the first. Why, :meth:`put` of the next ring tells.
        Raises ValueError when an id or a ring does not fit; nothing was changed then.
        """
        packed = [(layout.pack_id(vserver_id), layout.pack_ring(ring)) for vserver_id, ring in rings]
        done = 0
        for start in range(0, len(packed), _AT_ONCE):
            chunk = packed[start : start + _AT_ONCE]
            written = self._put_chunk(rings[start : start + _AT_ONCE], [key for key, _ring in chunk])
            done += written
            if written < len(chunk):
                break
        return done

    def _put_chunk(self, rings: Sequence[tuple[int, bytes]], keys: Sequence[bytes]) -> int:
        inners: dict[bytes, Map] = {}
        try:
            for _vserver_id, ring in rings:
                if ring not in inners:
                    inners[ring] = self._inner(ring)
            written = self._outer.update_batch(keys, [layout.pack_id(inners[ring].fd) for _, ring in rings])
            for vserver_id, ring in rings[:written]:
                self._remember(vserver_id, ring, inners[ring].id)
        except OSError:
            return 0  # no inner map could be made, for one: alone each ring has its own error
        else:
            return written
        finally:
            for inner in inners.values():
                inner.close()

    def delete(self, vserver_id: int) -> None:
        """Empty a slot; an empty one is no error. Raises OSError."""
        self._outer.delete(layout.pack_id(vserver_id))
        self._content.pop(vserver_id, None)
        self._forget_unused()

    def wait_for_readers(self, vserver_id: int) -> bool:
        """Return when every frame has left that was in the forwarder already; False, at once, if the slot is empty.

        The kernel waits so after each change of an array of maps, be it to the same (kernel/bpf/syscall.c,
        maybe_wait_bpf_programs). Raises OSError.
        """
        slot = self._outer.lookup(layout.pack_id(vserver_id))
        inner = _open(layout.unpack_id(slot)) if slot is not None else None
        if inner is None:
            return False
        try:
            self._outer.update(layout.pack_id(vserver_id), layout.pack_id(inner.fd))
        finally:
            inner.close()
        return True

    def _inner(self, ring: bytes) -> Map:
        """A map with this ring: one that a slot holds already, else a new one."""
        known = self._inner_ids.get(ring)
        if known is not None:
            inner = _open(known)
            if inner is not None:
                if inner.value_size == layout.RING_SIZE and inner.lookup(_KEY) == ring:
                    return inner
                inner.close()
        inner = Map.create_array("ring", layout.RING_SIZE)
        try:
            inner.update(_KEY, ring)
        except BaseException:
            inner.close()
            raise
        return inner

    def _remember(self, vserver_id: int, ring: bytes, inner_id: int) -> None:
        self._content[vserver_id] = ring
        self._inner_ids[ring] = inner_id
        self._forget_unused()

    def _forget_unused(self) -> None:
        # Now and then is enough: an entry too many costs its bytes, an entry that is wrong is found out.
        if len(self._inner_ids) > 2 * len(self._content) + 16:
            used = set(self._content.values())
            self._inner_ids = {ring: inner_id for ring, inner_id in self._inner_ids.items() if ring in used}


def _open(map_id: int) -> Map | None:
    try:
        return Map.by_id(map_id)
    except FileNotFoundError:
        return None
