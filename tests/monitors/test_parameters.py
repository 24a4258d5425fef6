"""Parameters of kinds: what the console and the store need to hold for every kind there is."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from monitors import parameters, registry
from monitors.kind import Kind, Secure
from monitors.parameters import choice, integer, switch, text
from monitors.registry import KINDS
from monitors.spec import Params, ProbeSpec
from webui.models import Monitor

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Sample:
    http_request: str = text("HEAD /", required=True, help="h")
    password: str = text(secret=True, help="h", limit=8)
    level: int = integer(3, low=1, high=9, help="h")
    again: bool = switch(False, help="h")
    way: str = choice("Zone", ("Zone", "Address"), help="h", option="queryType")


KIND = Kind(name="SAMPLE", label="l", success="s", parameters_type=Sample, default_port=7, secure_port=8)


def test_defaults_complete_what_is_not_given_and_types_are_made() -> None:
    values, problems = KIND.clean({"level": " 4 ", "again": "yes", "way": "ADDRESS"})
    assert problems == {}
    assert values == {"http_request": "HEAD /", "password": "", "level": 4, "again": True, "way": "Address"}


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"level": 0}, "Level 0 is not within 1 to 9."),
        ({"level": True}, "not a whole number"),
        ({"level": 1.5}, "not a whole number"),
        ({"level": "9" * 5000}, "not within"),
        ({"again": "perhaps"}, "neither YES nor NO"),
        ({"again": 1}, "neither YES nor NO"),
        ({"way": "A"}, "none of Zone, Address"),
        ({"http_request": ""}, "is required"),
        ({"http_request": 7}, "must be text"),
        ({"http_request": "a\nb"}, "one line"),
        ({"http_request": "x" * 256}, "256 characters; at most 255"),
        ({"frequency": 1}, "“frequency” is not a parameter of SAMPLE monitors (theirs: httpRequest, password, level"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_name_of_its_parameter(given: dict[str, object], part: str) -> None:
    _values, problems = KIND.clean(given)
    assert list(problems) == list(given)
    assert part in next(iter(problems.values()))


def test_a_refused_secret_is_not_repeated() -> None:
    _values, problems = KIND.clean({"password": "much too long a secret"})
    assert problems == {"password": "Password has 22 characters; at most 8 are allowed."}


def test_netscalers_spelling_finds_the_parameter() -> None:
    for name in ("httpRequest", "-HTTPREQUEST", "http_request"):
        assert KIND.by_plain_name[parameters.plain(name)].name == "http_request"
    assert KIND.by_plain_name[parameters.plain("-queryType")].name == "way"


def test_equal_parameters_are_one_question_and_secrets_do_not_show() -> None:
    one = Params({"a": "x", "password": "hunter2"}, secret={"password"})
    assert one == Params({"password": "hunter2", "a": "x"}, secret={"password"})
    assert len({one, Params({"password": "hunter2", "a": "x"})}) == 1
    assert one != Params({"a": "x", "password": "hunter3"}, secret={"password"})
    assert repr(one) == "Params(a='x', password=•••)"
    spec = ProbeSpec("HTTP", "198.18.0.1", "10.0.0.10", 80, 2.0, one)
    assert "hunter2" not in repr(spec) + str(spec)
    assert hash(spec) == hash(ProbeSpec("HTTP", "198.18.0.1", "10.0.0.10", 80, 2.0, one))
    with pytest.raises(TypeError):
        one["a"] = "y"  # type: ignore[index]  # that it cannot is the point


def test_secrets_of_a_read_dataclass_do_not_show() -> None:
    values, _problems = KIND.clean({"password": "hunter2"})
    read = parameters.read(Sample, ProbeSpec("SAMPLE", "", "", 0, 1.0, Params(values)))
    assert read.password == "hunter2"
    assert "hunter2" not in repr(read)
    assert parameters.read(Sample, ProbeSpec("SAMPLE", "", "", 0, 1.0, Params({"level": 5, "gone": 1}))).level == 5


@pytest.mark.parametrize(
    ("wanted", "service_port", "service_type", "secure", "port"),
    [
        (0, 80, "TCP", False, 80),
        (0, 80, "ANY", False, 80),
        (0, 80, "UDP", False, 7),
        (0, 0, "ANY", False, 7),
        (0, 0, "ANY", True, 8),
        (99, 80, "TCP", True, 99),
    ],
)
def test_the_port_is_the_monitors_the_services_or_the_kinds(
    wanted: int, service_port: int, service_type: str, secure: bool, port: int
) -> None:
    kind = Kind("X", "", "", default_port=7, secure_port=8, secure=Secure.OPTIONAL)
    found = kind.port(wanted=wanted, service_port=service_port, service_type=service_type, secure=secure)
    assert found == port


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_is_described_and_does_not_clash_with_the_columns_of_monitors(kind: Kind) -> None:
    assert kind.label
    assert kind.success.endswith(".")
    assert len(kind.name) <= 32
    columns = {field.name for field in Monitor._meta.get_fields()}
    plain_columns = {parameters.plain(name) for name in columns}
    for one in kind.parameters:
        assert one.help.strip(), one.name
        assert one.name not in columns
        assert parameters.plain(one.option) not in plain_columns
    if kind.parameters:
        assert kind.parameters_type.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert len(fields(kind.parameters_type)) == len(kind.parameters)
    kind.command.format(address="198.18.0.1", endpoint="198.18.0.1:80")
    assert kind.probe is not None


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_defaults_of_every_kind_pass_its_own_rules(kind: Kind) -> None:
    _values, problems = kind.clean({})
    required = {one.name for one in kind.parameters if one.required and one.default == ""}
    assert problems.keys() == required


def test_kinds_are_sorted_and_live_in_folders_of_their_names() -> None:
    folders = {path.parent.name for path in (ROOT / "monitors" / "kinds").glob("*/kind.py")}
    assert folders == {kind.folder for kind in KINDS.values()}
    assert list(KINDS) == sorted(KINDS)
    assert registry.discover().keys() == KINDS.keys()


def test_describing_the_kinds_loads_no_probe() -> None:
    program = "import sys, monitors.registry\nprint(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "monitors.kinds.tcp.kind" in loaded
    assert not [name for name in loaded if name.startswith("monitors.kinds.") and name.endswith(".probe")]
    assert {"django", "celery", "webui"}.isdisjoint(loaded)


async def test_what_cannot_be_tried_is_said_without_sending(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    spec = ProbeSpec("HTTP", "127.0.0.1", "10.0.0.10", 80, 1.0, problem="the secrets cannot be decrypted")
    result = await registry.run(spec)
    assert (result.success, result.sent, result.message) == (False, False, "the secrets cannot be decrypted")
