"""The form of a target of events: another one for each kind, which is therefore chosen first."""

from __future__ import annotations

from typing import Any

from django import forms

from webui.events.kind import TargetKind
from webui.events.kinds import KINDS
from webui.forms import CHOOSE, ObjectForm
from webui.models import EventTarget
from webui.monitor_form import REMOVE, field_of


class EventTargetForm(ObjectForm):
    """A target, with the parameters of its kind."""

    fixed = ("target_type",)
    target_type = forms.ChoiceField(label="Type")

    class Meta:
        model = EventTarget
        fields = [
            "name",
            "target_type",
            "transitions",
            "alerts",
            "alarms",
            "director_events",
            "audit",
            "give_up_hours",
            "state",
            "comment",
        ]
        help_texts = {
            "transitions": "A monitor found a service UP, DOWN or under maintenance at a VIP.",
            "alerts": "A monitor's alertRetries or response timeout threshold was reached.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = self._chosen_kind()
        if self.kind is None:
            self.choose_first = True
            choices = [("", CHOOSE), *((kind.name, kind.label) for kind in KINDS.values())]
            self.fields = {"target_type": forms.ChoiceField(label="Type", choices=choices)}
            return
        choice = self.fields["target_type"]
        if isinstance(choice, forms.ChoiceField):
            choice.choices = [(self.kind.name, self.kind.label)]
        self.initial["target_type"] = self.kind.name
        own: list[str] = []
        for one in self.kind.parameters:
            is_set = one.secret and one.name in self.instance.secret_names
            self.fields[one.name] = field_of(one, is_set=is_set)
            own.append(one.name)
            if not one.secret:
                self.initial.setdefault(one.name, self.instance.params.get(one.name, one.default))
            elif is_set and not one.required:
                self.fields[one.name + REMOVE] = forms.BooleanField(
                    label=f"Remove the {one.label.lower()}", required=False
                )
                own.append(one.name + REMOVE)
        self.order_fields(["name", "target_type", *own])

    def _chosen_kind(self) -> TargetKind | None:
        if self.instance.pk:
            return KINDS.get(self.instance.target_type)
        return KINDS.get(str(self.data.get("target_type") or self.initial.get("target_type") or "").upper())

    @property
    def _secrets(self) -> frozenset[str]:
        return self.kind.secrets if self.kind is not None else frozenset()

    def shown(self, obj: Any, name: str) -> Any:
        """The value of a field or parameter of ``obj``; of a secret, whether there is one."""
        if name in self._secrets:
            return "set" if name in obj.secret_names else ""
        return obj.params[name] if name in obj.params else getattr(obj, name, None)

    @property
    def values(self) -> dict[str, Any]:
        """As of every form; a secret left empty stays as it is."""
        found = dict(self.cleaned_data)
        for name in self._secrets:
            removed = found.pop(name + REMOVE, False)
            if removed:
                found[name] = ""
            elif not found.get(name):
                found.pop(name, None)
        return found

    @property
    def shown_values(self) -> dict[str, Any]:
        """As of every form; of a secret, whether it is another one."""
        return {
            name: value if name not in self._secrets else "another one" if value else ""
            for name, value in self.values.items()
        }
