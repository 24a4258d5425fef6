"""What is known about a kind of monitor; each folder of ``monitors/kinds`` describes one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from importlib import import_module
from typing import Final

from monitors import parameters
from monitors.parameters import Parameter
from monitors.spec import ParamValue, ProbeResult, ProbeSpec

Probe = Callable[[ProbeSpec], Awaitable[ProbeResult]]

TCP: Final = "TCP"
UDP: Final = "UDP"
ANY: Final = "ANY"  # a port of either, or none


class Secure(Enum):
    """Whether a kind can speak TLS."""

    NO = "no"
    OPTIONAL = "optional"  # by the parameter ``secure`` that all TCP kinds share
    ALWAYS = "always"


@dataclass(frozen=True)
class NoParameters:
    """A kind that has none."""


@dataclass(frozen=True)
class Kind:
    """A kind of monitor.

    ``name`` is NetScaler's type; ``label`` a few words for lists; ``success`` a sentence: what makes a check pass.
    ``transport`` is TCP, UDP, ANY where the port is optional and of either, or empty for kinds without ports.
    ``default_port`` is used where neither the monitor nor the service tells one (0: there is none); ``secure_port``
    takes its place with TLS. ``command`` is what an operator types on the director to do the same by hand:
    ``{address}`` is the probe address, ``{endpoint}`` the same with the port. ``check`` looks at all parameters
    together and returns problems by name. ``looks_at_server``: it needs the server's own address.
    """

    name: str
    label: str
    success: str
    parameters_type: type = NoParameters
    transport: str = TCP
    default_port: int = 0
    secure_port: int = 0
    secure: Secure = Secure.NO
    command: str = "curl -v telnet://{endpoint}"
    check: Callable[[Mapping[str, ParamValue]], dict[str, str]] | None = None
    looks_at_server: bool = False

    @property
    def uses_port(self) -> bool:
        """Whether its probes go to a port, or may."""
        return bool(self.transport)

    @property
    def needs_port(self) -> bool:
        """Whether there is no probe without a port."""
        return self.transport in {TCP, UDP}

    @property
    def folder(self) -> str:
        """Name of its folder: ``TCP-ECV`` lives in ``tcp_ecv``."""
        return self.name.lower().replace("-", "_")

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters in the order in which they are shown."""
        return parameters.parameters_of(self.parameters_type)

    @cached_property
    def by_plain_name(self) -> dict[str, Parameter]:
        """Its parameters by name and by NetScaler's spelling, both without case, hyphens and underscores."""
        names = {parameters.plain(one.name): one for one in self.parameters}
        return names | {parameters.plain(one.option): one for one in self.parameters}

    @cached_property
    def secrets(self) -> frozenset[str]:
        """Names of the parameters that are stored encrypted."""
        return frozenset(one.name for one in self.parameters if one.secret)

    @cached_property
    def probe(self) -> Probe:
        """The probe; loaded when first used, since the console needs descriptions only."""
        probe: Probe = import_module(f"monitors.kinds.{self.folder}.probe").probe
        return probe

    def clean(self, given: Mapping[str, object]) -> tuple[dict[str, ParamValue], dict[str, str]]:
        """All values by name, defaults included, and what is wrong, by name."""
        values, problems = parameters.clean(self.parameters, given)
        problems |= self._unknown(given)
        if not problems and self.check is not None:
            problems = self.check(values)
        return values, problems

    def problems_of_each(self, given: Mapping[str, object]) -> dict[str, str]:
        """What is wrong with single values, by name, and with names that are none."""
        return parameters.clean(self.parameters, given)[1] | self._unknown(given)

    def _unknown(self, given: Mapping[str, object]) -> dict[str, str]:
        known = ", ".join(one.option for one in self.parameters) or "none"
        names = given.keys() - {one.name for one in self.parameters}
        return {name: f"“{name}” is not a parameter of {self.name} monitors (theirs: {known})." for name in names}

    def port(self, *, wanted: int, service_port: int, service_type: str, secure: bool) -> int:
        """The port of a probe: the monitor's, the service's if its transport fits, the kind's; 0 if there is none."""
        if not self.transport:
            return 0
        fits = ANY in {self.transport, service_type} or service_type == self.transport
        own = self.secure_port if self.secure_port and self.is_secure(secure) else self.default_port
        return wanted or (service_port if fits else 0) or own

    def is_secure(self, wanted: bool) -> bool:
        """Whether a probe speaks TLS, when the monitor says ``wanted``."""
        return self.secure is Secure.ALWAYS or (self.secure is Secure.OPTIONAL and wanted)
