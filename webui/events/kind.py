"""What is known about a kind of target. One module each (syslog, mail, webhook) describes one and sends to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from monitors import parameters
from monitors.parameters import Parameter
from monitors.spec import ParamValue
from webui.events.message import Event


class DeliveryError(Exception):
    """A target did not take an event; the message is for the operator and has no secret in it."""


# Sends events in order and yields each group that the target has taken; raises DeliveryError for the rest.
Send = Callable[[Any, Sequence[Event]], Iterator[Sequence[Event]]]


@dataclass(frozen=True)
class TargetKind:
    """A kind of target.

    ``send`` gets an instance of ``parameters_type``, secrets decrypted. ``shown`` says in a few words where its
    parameters lead. ``check`` looks at all parameters together and returns problems by name. ``gather`` is how many
    seconds it waits for further events after the first.
    """

    name: str
    label: str
    about: str
    parameters_type: type
    send: Send
    shown: Callable[[Mapping[str, ParamValue]], str]
    check: Callable[[Mapping[str, ParamValue]], dict[str, str]] | None = None
    gather: Callable[[Mapping[str, ParamValue]], int] = lambda _params: 0

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters in the order in which they are shown."""
        return parameters.parameters_of(self.parameters_type)

    @cached_property
    def by_plain_name(self) -> dict[str, Parameter]:
        """Its parameters by name, without case, hyphens and underscores."""
        return {parameters.plain(one.name): one for one in self.parameters}

    @cached_property
    def secrets(self) -> frozenset[str]:
        """Names of the parameters that are stored encrypted."""
        return frozenset(one.name for one in self.parameters if one.secret)

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
        known = ", ".join(one.option for one in self.parameters)
        names = given.keys() - {one.name for one in self.parameters}
        return {name: f"“{name}” is not a parameter of {self.name} targets (theirs: {known})." for name in names}

    def read(self, values: Mapping[str, ParamValue]) -> Any:
        """The parameters as an instance of ``parameters_type``; unknown ones are left out."""
        names = {one.name for one in self.parameters}
        return self.parameters_type(**{name: value for name, value in values.items() if name in names})
