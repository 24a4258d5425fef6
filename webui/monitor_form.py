"""The form of a monitor: another one for each kind, which is therefore chosen first."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from monitors.kind import Kind, Secure
from monitors.parameters import Parameter
from monitors.registry import KINDS
from webui.choices import TimeUnit
from webui.forms import CHOOSE, ObjectForm, PortField
from webui.models import Monitor
from webui.models.monitor import TIMES

REMOVE: Final = "_remove"  # ending of the name of the box that removes a secret


class TimeWidget(forms.MultiWidget):
    """A number and its unit, sent as ``interval`` and ``interval_unit``."""

    def __init__(self, label: str) -> None:
        unit = forms.Select(attrs={"aria-label": f"Unit of the {label}", "class": "unit"}, choices=TimeUnit.choices)
        super().__init__({"": forms.NumberInput(attrs={"min": 0}), "unit": unit})

    def decompress(self, value: Any) -> list[Any]:
        """Of ``500 MSEC``."""
        number, _space, unit = str("" if value is None else value).partition(" ")
        return [number, unit or TimeUnit.SEC]

    def id_for_label(self, id_: str) -> str:
        """The number's."""
        return f"{id_}_0" if id_ else id_


class TimeField(forms.MultiValueField):
    """A time as NetScaler writes it: ``500 MSEC``."""

    def __init__(self, name: str) -> None:
        of = Monitor._meta.get_field(name)
        label = TIMES[name][0]
        parts = (forms.IntegerField(min_value=0), forms.ChoiceField(choices=TimeUnit.choices, required=False))
        super().__init__(
            parts,
            require_all_fields=False,
            error_messages={"incomplete": "A number is needed before the unit."},
            widget=TimeWidget(label),
            label=label.capitalize(),
            help_text=of.help_text,  # type: ignore[union-attr]  # a plain column
        )

    def compress(self, data_list: list[Any]) -> str:
        """Number and unit; seconds where no unit was sent."""
        number, unit = data_list or ("", "")
        return f"{number} {unit or TimeUnit.SEC}"


class MonitorForm(ObjectForm):
    """A monitor, with the parameters of its kind. Another kind has another form."""

    fixed = ("monitor_type",)
    monitor_type = forms.ChoiceField(label="Type")
    dest_port = PortField(zero="", label="Destination port")
    interval = TimeField("interval")
    resp_timeout = TimeField("resp_timeout")
    retry_interval = TimeField("retry_interval")
    down_time = TimeField("down_time")
    deviation = TimeField("deviation")

    class Meta:
        model = Monitor
        fields = [
            "name",
            "monitor_type",
            "interval",
            "resp_timeout",
            "resp_timeout_thresh",
            "retries",
            "retry_interval",
            "failure_retries",
            "success_retries",
            "alert_retries",
            "down_time",
            "lrtm",
            "deviation",
            "dest_ip",
            "dest_port",
            "transparent",
            "secure",
            "reverse",
            "state",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.update({name: self.shown(self.instance, name) for name in TIMES})
        self.kind = self._chosen_kind()
        if self.kind is None:
            self._ask_for_the_kind()
            return
        choice = self.fields["monitor_type"]
        if isinstance(choice, forms.ChoiceField):
            choice.choices = [(self.kind.name, self.kind.label)]
        self.initial["monitor_type"] = self.kind.name
        if not self.instance.pk:
            choice.help_text = self.kind.success
        self._fit_the_kind(self.kind)
        own = [one.name for one in self.kind.parameters]
        for one in self.kind.parameters:
            self._add(one)
        self.order_fields(["name", "monitor_type", *(n for o in own for n in (o, o + REMOVE) if n in self.fields)])

    def _chosen_kind(self) -> Kind | None:
        if self.instance.pk:
            return KINDS.get(self.instance.monitor_type)
        given = self.data.get("monitor_type") or self.initial.get("kind") or self.initial.get("monitor_type") or ""
        return KINDS.get(str(given).upper())

    def _ask_for_the_kind(self) -> None:
        """Only the type is asked for: the other fields depend on it."""
        self.choose_first = True
        self.fields = {
            "monitor_type": forms.ChoiceField(
                label="Type", choices=[("", CHOOSE), *((kind.name, kind.label) for kind in KINDS.values())]
            )
        }

    def _fit_the_kind(self, kind: Kind) -> None:
        if not kind.uses_port:
            del self.fields["dest_port"]
        else:
            default = f", or {kind.default_port}" if kind.default_port else ""
            self.fields["dest_port"].help_text = f"Empty: the service's port{default}."
        if kind.secure is not Secure.OPTIONAL:
            del self.fields["secure"]

    def _add(self, one: Parameter) -> None:
        is_set = one.secret and one.name in self.instance.secret_names
        self.fields[one.name] = field_of(one, is_set=is_set)
        if not one.secret:
            self.initial.setdefault(one.name, self.instance.params.get(one.name, one.default))
        elif is_set and (one.default or not one.required):
            self.fields[one.name + REMOVE] = forms.BooleanField(label=f"Remove the {one.label.lower()}", required=False)

    def shown(self, obj: Any, name: str) -> Any:
        """The value of a field or parameter of ``obj``, times with their unit; of a secret, whether there is one."""
        if name in TIMES:
            return f"{getattr(obj, name)} {getattr(obj, f'{name}_unit')}"
        if self.kind is not None and name in self.kind.secrets:
            return "set" if name in obj.secret_names else ""
        return obj.params[name] if name in obj.params else getattr(obj, name, None)

    @property
    def values(self) -> dict[str, Any]:
        """As of every form; a secret left empty stays as it is."""
        found = dict(self.cleaned_data)
        secrets = self.kind.secrets if self.kind is not None else frozenset()
        for name in secrets:
            removed = found.pop(name + REMOVE, False)
            if not found.get(name) and not removed:
                found.pop(name, None)
            elif removed:
                found[name] = ""
        return found

    @property
    def shown_values(self) -> dict[str, Any]:
        """As of every form; of a secret, whether it is another one."""
        secrets = self.kind.secrets if self.kind is not None else frozenset()
        return {
            name: value if name not in secrets else "another one" if value else ""
            for name, value in self.values.items()
        }


def field_of(one: Parameter, *, is_set: bool) -> forms.Field:
    """A form field; what may be in it is for the kind to judge."""
    given: dict[str, Any] = {
        "label": one.label,
        "help_text": one.help,
        "required": one.required and not is_set and not one.default,
    }
    if one.kind == "switch":
        return forms.BooleanField(label=one.label, help_text=one.help, required=False)
    if one.kind == "integer":
        return forms.IntegerField(min_value=one.low, max_value=one.high, **(given | {"required": True}))
    if one.kind == "choice":
        return forms.ChoiceField(choices=[(word, word) for word in one.choices], **(given | {"required": True}))
    widget: forms.Widget = forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    if one.secret:
        unset = f"Not set: {one.default}." if one.default else "Not set."
        state = "Set; leave it empty to keep it." if is_set else unset
        given["help_text"] = f"{one.help} {state}"
        widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"})
    elif one.multiline:
        widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})
    return forms.CharField(max_length=one.high, strip=False, widget=widget, **given)
