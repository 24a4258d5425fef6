"""Parameters of a kind of monitor: fields of a frozen dataclass, with what the console must know about each.

    @dataclass(frozen=True, slots=True)
    class Parameters:
        http_request: str = text("HEAD /", help="Method and path.")

Names are NetScaler's in Python's spelling; ``option`` is NetScaler's own (``httpRequest``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from monitors.spec import ParamValue, ProbeSpec

Check = Callable[[Any], str]
T = TypeVar("T")

_METADATA: Final = "parameter"
_YES: Final = frozenset({"YES", "ENABLED", "ON", "TRUE"})
_NO: Final = frozenset({"NO", "DISABLED", "OFF", "FALSE"})


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; ``kind`` is text, integer, switch or choice.

    ``high`` is the largest number, or the most characters of a text. ``check`` returns what is wrong with a value
    that has the right type, as a sentence, or nothing; it is not called with an empty text.
    """

    name: str
    option: str
    label: str
    kind: str
    default: ParamValue
    help: str
    low: int = 0
    high: int = 255
    choices: tuple[str, ...] = ()
    secret: bool = False
    required: bool = False
    multiline: bool = False
    check: Check | None = None

    def cleaned(self, value: object) -> ParamValue:
        """The value in the parameter's type. Raises ValueError with a sentence; a secret's value is not in it."""
        if self.kind == "switch":
            return self._switch(value)
        if self.kind == "integer":
            return self._integer(value)
        found = self._choice(value) if self.kind == "choice" else self._text(value)
        if found and self.check is not None and (wrong := self.check(found)):
            raise ValueError(wrong)
        return found

    def _switch(self, value: object) -> bool:
        word = str(value).strip().upper()
        if isinstance(value, bool | str) and word in _YES | _NO:
            return word in _YES
        raise ValueError(f"“{value}” is neither YES nor NO.")

    def _integer(self, value: object) -> int:
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and value.isascii():
            value = int(value.strip()[:20])
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"“{value}” is not a whole number.")
        if not self.low <= value <= self.high:
            raise ValueError(f"{self.label} {value} is not within {self.low} to {self.high}.")
        if self.check is not None and (wrong := self.check(value)):
            raise ValueError(wrong)
        return value

    def _choice(self, value: object) -> str:
        word = str(value).strip().upper()
        for choice in self.choices:
            if word == choice.upper():
                return choice
        raise ValueError(f"“{value}” is none of {', '.join(self.choices)}.")

    def _text(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{self.label} must be text, not {type(value).__name__}.")
        if len(value) > self.high:
            raise ValueError(f"{self.label} has {len(value)} characters; at most {self.high} are allowed.")
        if "\0" in value or (not self.multiline and ("\n" in value or "\r" in value)):
            raise ValueError(f"{self.label} must be one line without NUL characters.")
        if self.required and not value:
            raise ValueError(f"{self.label} is required.")
        return value


def text(  # noqa: PLR0913 - all by name; they are what can be said of a text
    default: str = "",
    *,
    help: str,
    label: str = "",
    option: str = "",
    limit: int = 255,
    secret: bool = False,
    required: bool = False,
    multiline: bool = False,
    check: Check | None = None,
) -> Any:
    """A text of at most ``limit`` characters; ``secret``: encrypted when stored and never shown."""
    return _field(
        default,
        kind="text",
        help=help,
        label=label,
        option=option,
        high=limit,
        secret=secret,
        required=required,
        multiline=multiline,
        check=check,
    )


def integer(  # noqa: PLR0913 - all by name
    default: int, *, low: int, high: int, help: str, label: str = "", option: str = "", check: Check | None = None
) -> Any:
    """A whole number from ``low`` to ``high``."""
    return _field(default, kind="integer", help=help, label=label, option=option, low=low, high=high, check=check)


def switch(default: bool, *, help: str, label: str = "", option: str = "") -> Any:
    """YES or NO."""
    return _field(default, kind="switch", help=help, label=label, option=option)


def choice(default: str, choices: tuple[str, ...], *, help: str, label: str = "", option: str = "") -> Any:
    """One of some words; upper and lower case are the same."""
    return _field(default, kind="choice", help=help, label=label, option=option, choices=choices)


def _field(default: ParamValue, *, secret: bool = False, **metadata: Any) -> Any:
    return dataclasses.field(default=default, repr=not secret, metadata={_METADATA: {"secret": secret, **metadata}})


def parameters_of(of: type) -> tuple[Parameter, ...]:
    """The parameters of a dataclass, in its order. Raises TypeError for a field made without this module."""
    found = []
    for one in dataclasses.fields(of):
        if _METADATA not in one.metadata:
            msg = f"{of.__qualname__}.{one.name} was not made by monitors.parameters."
            raise TypeError(msg)
        given = dict(one.metadata[_METADATA])
        option = given.pop("option") or _camel_case(one.name)
        label = given.pop("label") or one.name.replace("_", " ").capitalize()
        default: Any = one.default  # every field made here has one
        found.append(Parameter(name=one.name, option=option, label=label, default=default, **given))
    return tuple(found)


def read(of: type[T], spec: ProbeSpec) -> T:
    """The parameters of a spec as the kind's dataclass; those that were unknown when it was stored get defaults."""
    names = {one.name for one in dataclasses.fields(of)}  # type: ignore[arg-type]  # every kind's type is a dataclass
    return of(**{name: value for name, value in spec.params.items() if name in names})


def plain(name: str) -> str:
    """A parameter's name whatever its spelling: ``-httpRequest``, ``http_request`` and ``httprequest`` are one."""
    return name.lower().replace("-", "").replace("_", "")


def clean(parameters: tuple[Parameter, ...], given: Mapping[str, object]) -> tuple[dict[str, ParamValue], Problems]:
    """All values, defaults included, and what is wrong, by name; the names in ``given`` must be Python's."""
    values: dict[str, ParamValue] = {}
    problems: Problems = {}
    for one in parameters:
        try:
            values[one.name] = one.cleaned(given.get(one.name, one.default))
        except ValueError as error:
            problems[one.name] = str(error)
    return values, problems


Problems = dict[str, str]


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
