"""The grammar: words and quotations, ranges, commands; and that any text is answered."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitors.registry import KINDS
from webui.nscli.errors import CliError
from webui.nscli.grammar import Argument, Command, Commands, Option, Parsed, as_line
from webui.nscli.lexer import Word, line_of, logical_lines, quoted, words
from webui.nscli.masking import HIDDEN, has_secret, masked
from webui.nscli.options import OWN, SECRETS, more, parameters
from webui.nscli.ranges import expanded
from webui.nscli.session import commands

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


def texts(line: str) -> list[str]:
    return [word.text for word in words(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("add server  s1\t10.0.0.1 ", ["add", "server", "s1", "10.0.0.1"]),
        ('a "b c" d', ["a", "b c", "d"]),
        ("a 'b \"c\\' d", ["a", 'b "c\\', "d"]),
        (r'a "b \"c\" \\d \r\n"', ["a", r'b "c" \d \r\n']),
        (r'"\\r" "\\u{41}" "\u{41}"', ["\\r", "\\u{41}", "A"]),
        ("q{a {b} c} q/x y/ q(1) q<2> q|3| q!4! q~5~", ["a {b} c", "x y", "1", "2", "3", "4", "5"]),
        ("q queue q1 q#1", ["q", "queue", "q1", "q#1"]),
        ("# add server", []),
        ("   ", []),
        ('""', [""]),
        ("O'Reilly", ["O'Reilly"]),
    ],
)
def test_words_are_taken_apart_as_netscaler_does(line: str, expected: list[str]) -> None:
    assert texts(line) == expected


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('a "b', "does not end"),
        ("a 'b", "does not end"),
        ("a q{b {c}", "it needs }"),
        ('a "b"c', "comes a space, not “c”"),
        ("a\0b", "NUL"),
        ("a \ud800", "surrogate"),
        ("x" * 70000, "at most 65536"),
        (r'"\u{110000}"', "is no character"),
        (r'"\u{0}"', "is no character"),
    ],
)
def test_what_cannot_be_taken_apart_is_told(line: str, told: str) -> None:
    with pytest.raises(CliError, match=told):
        words(line)


@given(st.lists(TEXT, max_size=6))
@example(["-usip", "#x", "q{", "a'b", '"', "\\", "\\u{a}", "\n", "", " ", "[1-3]"])
def test_values_written_on_a_line_are_read_back(values: list[str]) -> None:
    assert texts(" ".join(quoted(one) for one in values)) == values
    assert all(not word.option for word in words(" ".join(quoted(one) for one in ["add", *values])))


@given(TEXT)
def test_words_of_any_line_are_read_back_from_the_line_they_make(line: str) -> None:
    try:
        found = words(line)
    except CliError:
        return
    again = words(line_of(found))
    assert [(one.text, one.option) for one in again] == [(one.text, one.option) for one in found]


@st.composite
def parsed_commands(draw: st.DrawFn) -> Parsed:
    """Any command with any arguments and options."""
    command = draw(st.sampled_from(sorted(commands().all.values(), key=lambda one: one.words)))
    arguments: dict[str, tuple[str, ...]] = {}
    for argument in command.arguments:
        if not argument.required and draw(st.booleans()):
            break
        many = draw(st.integers(1, 3)) if argument.many else 1
        arguments[argument.name] = tuple(draw(TEXT) for _ in range(many))
    options: dict[str, tuple[str, ...]] = {}
    for option in draw(st.lists(st.sampled_from(command.options), max_size=4, unique=True)) if command.options else []:
        if command.unset or option.is_flag:
            options[option.key] = ()
            continue
        values = [draw(TEXT) for _ in range(max(option.least, 1))]
        if option.unit and draw(st.booleans()):
            values.append(draw(st.sampled_from(["SEC", "msec", "Min"])))
        options[option.key] = tuple(values)
    return Parsed(command, arguments, options)


@given(parsed_commands())
@settings(max_examples=300)
def test_a_command_written_as_a_line_is_parsed_to_the_same_command(parsed: Parsed) -> None:
    assert commands().parse(words(as_line(parsed))) == parsed


@given(parsed_commands(), st.sampled_from([str.upper, str.lower, str.swapcase]))
def test_case_matters_in_no_word_of_a_command(parsed: Parsed, change: object) -> None:
    count = len(parsed.command.words)
    found = words(as_line(parsed))
    changed = [Word(change(one.text)) if index < count or one.option else one for index, one in enumerate(found)]  # type: ignore[operator]  # methods of str
    assert commands().parse(changed) == parsed


def test_words_may_be_cut_short_while_they_are_unambiguous() -> None:
    def found(line: str) -> str:
        return " ".join(commands().parse(words(line)).command.words)

    assert found("sh ver") == "show version"
    assert found("sh lb vs") == "show lb vserver"
    assert found("Add Monitor m PING") == "add monitor"
    assert found("show server show") == "show server"
    assert found("sh run") == "show runningConfig"
    for line, told in (
        ("s", "Ambiguous command"),
        ("show", "Incomplete command"),
        ("fly", r"No such command \[fly\]; known: add"),
        ("add lb fly", r"No such command \[add lb fly\]"),
        ("add server", r"Required argument missing \[name\]; usage: add server <name> <IPAddress>"),
        ("add server a 1.1.1.1 x", r"Too many arguments \[x\]"),
        ("add server a 1.1.1.1 -comment", r"Expecting a value for \[-comment\]"),
        ("add server a 1.1.1.1 -comment -state ENABLED", r"Expecting a value for \[-comment\]"),
        ("add server a 1.1.1.1 -fly x", r"No such argument \[-fly\]"),
        ("add server a 1.1.1.1 -state A -State B", "Argument given twice"),
    ):
        with pytest.raises(CliError, match=told):
            commands().parse(words(line))


def test_options_have_two_parts_flags_and_signs() -> None:
    parsed = commands().parse(words("add lb monitor m HTTP -interval 10 sec -retries 3 -respCode 200-299 302"))
    assert parsed.options == {"interval": ("10", "sec"), "retries": ("3",), "respcode": ("200-299", "302")}
    parsed = commands().parse(words("unset service s -usip -comment"))
    assert parsed.options == {"usip": (), "comment": ()}
    assert commands().parse(words("set service s -monThreshold -1")).value("monthreshold") == "-1"


def test_a_command_is_refused_twice_over() -> None:
    with pytest.raises(ValueError, match="two commands"):
        Commands([Command(("a",)), Command(("A",))])
    one = Command(("a", "b"), (Argument("x"),), (Option("y", most=0, least=0),))
    assert one.usage == "a b <x> [-y]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("add service web[1-3] srv[1-3] ANY 80", ["add service web1 srv1 ANY 80", "add service web2 srv2 ANY 80"]),
        ("rm server s[08-11]", ["rm server s08", "rm server s09", "rm server s10"]),
        ("add server a[1-2] 10.0.[1-2].1", ["add server a1 10.0.1.1", "add server a2 10.0.2.1"]),
        ('rm server "s[1-3]"', ['rm server "s[1-3]"']),
        ("set server s -comment [1-3]", ["set server s -comment [1-3]"]),
    ],
)
def test_ranges_become_commands(line: str, expected: list[str]) -> None:
    found = [line_of(one) for one in expanded(words(line))]
    assert found[: len(expected)] == expected


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("add server a[1-2] 10.0.0.[1-3]", "equally long; these have 2, 3 members"),
        ("rm server a[3-1]", "the first number is the lower one"),
        ("rm server a[1-999]", "999 members; at most 256"),
    ],
)
def test_ranges_that_are_none_are_told(line: str, told: str) -> None:
    with pytest.raises(CliError, match=told):
        expanded(words(line))


def test_a_quotation_may_go_on_over_the_ends_of_lines() -> None:
    text = 'one\n# two\n\nthree "a\nb" c\n"open\nfour\r\n'
    assert list(logical_lines(text)) == [(1, "one"), (2, "# two"), (4, 'three "a\nb" c'), (6, '"open'), (7, "four")]


def test_secrets_are_hidden_wherever_they_stand() -> None:
    for line, shown in (
        ('add lb monitor m FTP -userName x -password "a b" -retries 3', f"-password {HIDDEN} -retries 3"),
        ("set lb monitor m RADIUS -RADKEY x", f"-RADKEY {HIDDEN}"),
        ("set lb monitor m FTP -password 'unfinished", f"-password {HIDDEN}"),
        ("set ns rpcNode 1.1.1.1 -password abc -encrypted", f"-password {HIDDEN} -encrypted"),
        ("add system user ada secret", f"add system user ada {HIDDEN}"),
        ("add eventTarget w WEBHOOK -url https://a.example/?token=x", f'"https://a.example/?{HIDDEN}"'),
    ):
        assert masked(line).endswith(shown)
        assert has_secret(line)
    assert not has_secret("add server a 10.0.0.1 -comment password")


@given(st.sampled_from(sorted(SECRETS)), st.text("abcdefgh", min_size=12, max_size=20), TEXT)
def test_no_secret_is_left_in_a_masked_line(option: str, secret: str, after: str) -> None:
    for line in (f"set lb monitor m X -{option} {secret} {after}", f"-{option.upper()} {quoted(secret + ' ' + after)}"):
        assert secret not in masked(line)
        assert has_secret(line)


def test_a_parameter_of_one_name_is_secret_in_all_kinds_or_in_none() -> None:
    secret = {one.name: one.secret for kind in KINDS.values() for one in kind.parameters}
    for kind in KINDS.values():
        for one in kind.parameters:
            assert one.secret == secret[one.name], one.name
            option = more("monitor", one.option.lower())
            assert option is not None
            assert (option.secret, option.field) == (one.secret, one.name)


def test_no_parameter_hides_behind_an_option_of_another_meaning() -> None:
    for kind, options in OWN.items():
        assert not {one.key for one in options} & {name.lower() for name in parameters(kind)}, kind
