"""Pieces that several models share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Value
from django.db.models.functions import Lower

from webui import known
from webui.wording import in_words

# A port of 0 stands for NetScaler's ``*``; a number, so that uniqueness holds on every database.
ANY_PORT = 0
MODELS_IN_WORDS = {"eventtarget": "event target", "servicegroup": "service group"}  # where the model's name is no words
MAX_PORT = 65535

# NetScaler command reference: first a letter, digit or underscore, then also # . space : @ = -
object_name_validator = RegexValidator(
    r"\A[A-Za-z0-9_][A-Za-z0-9_#. :@=-]*\Z",
    "“%(value)s” is not a name: it starts with a letter, a digit or _ "
    "and goes on with letters, digits and _ # . space : @ = -",
)


class Problems(defaultdict[str, list[str | ValidationError]]):
    """What is wrong, by field; :meth:`tell` raises it all at once.

    A plain text is of a rule that looks at other objects or several fields; :meth:`alone` is for one of the value
    alone, which no other configuration would make right.
    """

    def __init__(self) -> None:
        super().__init__(list)

    def alone(self, name: str, text: str) -> None:
        """Note that a value is wrong by itself."""
        self[name].append(ValidationError(text, code="invalid"))

    def tell(self) -> None:
        """Raise ValidationError when there is a problem."""
        if any(self.values()):
            raise ValidationError({name: texts for name, texts in self.items() if texts})


class Explained(models.Model):
    """Refuses values that NetScaler has and we have not with a reason, where Django would say “not a valid choice”."""

    # field name: {refused value: reason}
    reasons: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    # Whether :meth:`clean` looks for all rows that must not be there twice, and says which they are.
    finds_twins: ClassVar[bool] = False

    class Meta:
        abstract = True

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Check each field on its own, but for ``exclude``; :meth:`clean` must look at neither those nor wrong ones."""
        problems: dict[str, Any] = {}
        for name, reasons in self.reasons.items():
            value = getattr(self, name)
            if reason := reasons.get(str(value).upper()):
                label = self._meta.get_field(name).verbose_name  # type: ignore[union-attr]  # plain columns only
                problems[name] = [ValidationError(f"{str(label).capitalize()} “{value}” is refused: {reason}.")]
        try:
            super().clean_fields(exclude={*(exclude or ()), *problems, *known.related(self)})
        except ValidationError as error:
            problems |= {name: self._in_words(name, found) for name, found in error.update_error_dict({}).items()}
        self._unusable = frozenset(problems).union(exclude or ())
        if problems:
            raise ValidationError(problems)

    def validate_unique(self, exclude: Collection[str] | None = None) -> None:
        """Not a second time what :meth:`clean` has found in better words; the database has the last one anyway."""
        if not self.finds_twins:
            super().validate_unique(exclude)

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """As :meth:`validate_unique`."""
        if not self.finds_twins:
            super().validate_constraints(exclude)

    def _in_words(self, name: str, errors: list[ValidationError]) -> list[ValidationError]:
        if name == NON_FIELD_ERRORS:
            return errors
        choices = [str(value) for value, _label in getattr(self._meta.get_field(name), "flatchoices", ())]
        return in_words(errors, self.serializable_value(name), choices=choices)

    _unusable: frozenset[str] = frozenset()

    def usable(self, *names: str) -> bool:
        """Whether all these fields passed on their own, so that rules may look at them."""
        return self._unusable.isdisjoint(names)

    def stored(self) -> Self | None:
        """The row as it is in the database; None for a new one."""
        if self._state.adding or self.pk is None:
            return None
        return type(self)._default_manager.filter(pk=self.pk).first()


class Timestamped(Explained):
    """When the row was made and last changed (UTC), and a version for optimistic locking."""

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        abstract = True


def with_article(words: str) -> str:
    """“a service group”, “an event target”."""
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"


def check_name(row: Any, problems: Problems, *, digit_first: bool = True) -> None:
    """Rules of names beyond the single characters; ``row`` has a name that passed the validator."""
    kind, name = MODELS_IN_WORDS.get(row._meta.model_name, row._meta.model_name), row.name
    if name != name.rstrip():
        problems.alone("name", f"“{name}” ends with a space, which nobody can see.")
    if name[:1].isdigit() and not digit_first:
        problems.alone("name", f"“{name}” starts with a digit; a {kind}'s name starts with a letter or _.")
    other = name_taken(type(row), name, row.pk)
    if other is not None:
        found = f"There is {with_article(kind)} “{other}” already"
        problems["name"].append(f"{found}; upper and lower case are the same.")


def same_name(model: type[models.Model], name: str) -> models.QuerySet[Any]:
    """Rows of that name, whatever its case; by the index that keeps names unique."""
    return model._default_manager.alias(lower_name=Lower("name")).filter(lower_name=Lower(Value(name)))


def name_taken(model: type[models.Model], name: str, besides: int | None = None) -> str | None:
    """How a row of that name spells it, whatever the case, if it is not the row ``besides``; None for a free name."""
    rows = known.current()
    if rows is not None:
        return rows.taken(model, name, besides)
    found = same_name(model, name)
    return twin_name(found if besides is None else found.exclude(pk=besides))


def twin_name(rows: models.QuerySet[Any]) -> str | None:
    """The name of one of these rows; None when there is none."""
    return next(iter(rows.order_by().values_list("name", flat=True)[:1]), None)


def check_unchanged(row: Any, old: Any, problems: Problems, names: Mapping[str, str]) -> None:
    """Refuse changes of fields that are fixed at creation; ``names`` maps each to what to call it."""
    for name, label in names.items():
        if row.usable(name) and getattr(row, name) != getattr(old, name):
            was = getattr(old, name)
            kind = MODELS_IN_WORDS.get(row._meta.model_name, row._meta.model_name)
            shown = "*" if name == "port" and was == ANY_PORT else was
            problems[name].append(
                f"The {label} of a {kind} is fixed when it is made (“{shown}”): delete “{old.name}” and make it anew."
            )


def port_text(port: int, port_end: int = 0) -> str:
    """A port, or the ports from one to another, as NetScaler writes them."""
    if port_end:
        return f"{port}-{port_end}"
    return "*" if port == ANY_PORT else str(port)


def parse_ports(value: object) -> tuple[int, int]:
    """First and last port of ``80-90``; of ``80`` itself and 0; of ``*`` or nothing 0 and 0. Raises ValueError."""
    text = "" if value is None else str(value).strip()
    if text in {"", "*"}:
        return ANY_PORT, 0
    first, dash, last = (part.strip() for part in text.partition("-"))
    if not all(_is_port(part) for part in ((first, last) if dash else (first,))):
        msg = f"“{text}” is neither a port nor a range of ports: use 1 to {MAX_PORT}, two of them as in 80-90, or *."
        raise ValueError(msg)
    if not dash:
        return int(first), 0
    if ANY_PORT in {int(first), int(last)}:
        msg = f"“{text}” is not a range of ports: it begins at 1 or later; * alone is any port."
        raise ValueError(msg)
    if int(first) > int(last):
        msg = f"“{text}” is not a range of ports: the first is the lower one, as in {last}-{first}."
        raise ValueError(msg)
    return int(first), int(last) if int(first) != int(last) else 0


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= MAX_PORT


RowT_co = TypeVar("RowT_co", bound=models.Model, covariant=True)


class AppendOnlyQuerySet(models.QuerySet[RowT_co, RowT_co]):
    """Rows that can be added and read, and neither changed nor deleted."""

    def update(self, **_values: Any) -> NoReturn:
        """Refused."""
        _refuse_change(self.model)

    def delete(self) -> NoReturn:
        """Refused."""
        _refuse_change(self.model)


class AppendOnly(models.Model):
    """A record of what happened: rows are added, never changed or deleted. Give it an :class:`AppendOnlyQuerySet`."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save a new row; TypeError for one that exists."""
        if not self._state.adding:
            _refuse_change(type(self))
        super().save(*args, **kwargs)

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refused."""
        _refuse_change(type(self))


def _refuse_change(model: type[models.Model]) -> NoReturn:
    msg = f"{model.__name__} rows are append-only: they are never changed or deleted."
    raise TypeError(msg)
