"""What a probe is told and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

ParamValue: TypeAlias = str | int | bool


class Params(Mapping[str, ParamValue]):
    """Parameters of a probe: immutable and hashable, so that equal questions can be asked once.

    Values of the names in ``secret`` do not appear in ``repr``, hence in no log.
    """

    __slots__ = ("_hash", "_items", "_secret")

    def __init__(self, values: Mapping[str, ParamValue] | None = None, secret: Iterable[str] = ()) -> None:
        self._items = dict(sorted((values or {}).items()))
        self._secret = frozenset(secret)
        self._hash = hash(tuple(self._items.items()))

    def __getitem__(self, name: str) -> ParamValue:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self._items == other._items

    @property
    def secret_values(self) -> frozenset[str]:
        """Values that must appear nowhere."""
        return frozenset(str(self._items[name]) for name in self._secret & self._items.keys() if self._items[name])

    def __repr__(self) -> str:
        shown = (f"{name}={'•••' if name in self._secret else repr(value)}" for name, value in self._items.items())
        return f"Params({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """One check of one VIP on one server.

    ``address`` is the probe address: what is sent there reaches ``vip`` on that server alone. ``port`` is 0 for kinds
    without ports. ``timeout`` is in seconds. ``params`` holds every parameter of the kind, secrets decrypted.
    ``server`` is the server's own address, told to kinds that ask for it (``Kind.looks_at_server``).
    ``secure`` asks for TLS. ``problem`` says why the check cannot even be tried; nothing is then sent.
    """

    kind: str
    address: str
    vip: str
    port: int
    timeout: float
    params: Params = field(default_factory=Params)
    secure: bool = False
    problem: str = ""
    server: str = ""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``message`` says in words what was seen; ``duration`` is in seconds.

    ``sent`` is False when nothing could leave the director (no route, no permission): that says nothing about the
    server, so it fails a reversed monitor too. ``leaving``: the server answered that it is under maintenance.
    """

    success: bool
    message: str
    duration: float
    sent: bool = True
    leaving: bool = False
