"""Declared parameters: what they take, how they refuse, and the way through JSON and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.model.errors import NeedsPerson, ParameterError
from frameloom.model.parameters import (
    Choice,
    Integer,
    Number,
    Parameter,
    Regions,
    Text,
    Toggle,
    declared,
    from_declaration,
    validate_all,
)

TRIANGLE = ((0.0, 0.0), (1.0, 0.0), (0.5, 1.0))


class Everything:
    number = Number(2.5, minimum=-1, maximum=10, step=0.5, unit="s", description="A number")
    integer = Integer(3, minimum=1, maximum=99, unit="frames", description="A whole number")
    toggle = Toggle(True, description="On or off")
    choice = Choice("fast", choices=("fast", "exact"), description="One of two")
    text = Text("hello", longest=10, description="A text")
    regions = Regions((TRIANGLE,), description="Where")

    def __init__(self) -> None:
        self._values: dict[str, Any] = {name: p.default for name, p in declared(type(self)).items()}


ALL = declared(Everything)


def refusal(parameter: Parameter[Any], value: Any) -> str:
    with pytest.raises(ParameterError) as caught:
        parameter.validate(value)
    return str(caught.value)


# What is taken, and in which form


@pytest.mark.parametrize(
    ("name", "value", "canonical"),
    [
        ("number", 3, 3.0), ("number", "3.5", 3.5), ("number", " 4e0 ", 4.0), ("number", -1, -1.0),
        ("number", 10, 10.0),
        ("integer", 5, 5), ("integer", 5.0, 5), ("integer", "5", 5), ("integer", 1, 1), ("integer", 99, 99),
        ("toggle", True, True), ("toggle", False, False), ("toggle", "on", True), ("toggle", "No", False),
        ("toggle", "TRUE", True), ("toggle", "off", False), ("toggle", "yes", True),
        ("choice", "exact", "exact"),
        ("text", "", ""), ("text", "0123456789", "0123456789"),
        ("regions", [], ()), ("regions", [[[0, 0], [1, 0], [0.5, 1]]], (TRIANGLE,)),
        ("regions", (TRIANGLE, TRIANGLE), (TRIANGLE, TRIANGLE)),
    ],
)  # fmt: skip
def test_what_is_taken_becomes_canonical(name, value, canonical):
    taken = ALL[name].validate(value)
    assert taken == canonical
    assert type(taken) is type(canonical)
    assert ALL[name].validate(taken) == taken


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", 10.001), ("number", -1.1), ("number", "three"), ("number", None), ("number", True), ("number", []),
        ("number", math.nan), ("number", "nan"), ("number", math.inf), ("number", "-inf"), ("number", ""),
        ("integer", 0), ("integer", 100), ("integer", 2.5), ("integer", "2.5"), ("integer", False), ("integer", None),
        ("integer", math.inf), ("integer", math.nan), ("integer", "x"), ("integer", [1]), ("integer", 10**400),
        ("toggle", 1), ("toggle", 0), ("toggle", None), ("toggle", "maybe"), ("toggle", []),
        ("choice", "Fast"), ("choice", None), ("choice", ["fast"]), ("choice", ""),
        ("text", "01234567890"), ("text", 5), ("text", None), ("text", b"x"),
        ("regions", 5), ("regions", None), ("regions", "look"), ("regions", [[[0, 0], [1, 1]]]),
        ("regions", [[[0, 0], [1, 0], [0.5, 1.5]]]), ("regions", [[[0, 0], [1, 0], [0.5, math.nan]]]),
        ("regions", [[[0, 0, 0], [1, 0, 0], [1, 1, 0]]]), ("regions", [[[0, 0], [1, 0], ["a", "b"]]]),
        ("regions", [[0, 0], [1, 0], [1, 1]]), ("regions", [[(0.5, 0.5)] * 101]),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_with_what_was_read_and_what_is_allowed(name, value):
    assert refusal(ALL[name], value) == f"{name}: read {value!r}, allowed: {ALL[name].allowed()}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("number", "a number from -1 to 10 s"),
        ("integer", "a whole number from 1 to 99 frames"),
        ("toggle", "on or off"),
        ("choice", "one of fast, exact"),
        ("text", "a text of at most 10 characters"),
        (
            "regions",
            "a list of polygons, each a list of 3 to 100 points [x, y] with x and y from 0 to 1; at most 100 of them",
        ),
    ],
)
def test_what_is_allowed_in_words(name, words):
    assert ALL[name].allowed() == words


def test_a_parameter_error_is_for_a_person():
    assert issubclass(ParameterError, NeedsPerson)


@given(st.floats(-1, 10) | st.integers(-1, 10) | st.floats(-1, 10).map(str))
def test_every_number_in_the_range_is_taken(value):
    taken = ALL["number"].validate(value)
    assert type(taken) is float
    assert taken == float(value)


@given(st.integers(-(10**6), 10**6))
def test_a_whole_number_is_taken_exactly_where_it_is_in_the_range(value):
    parameter = ALL["integer"]
    if 1 <= value <= 99:
        assert [parameter.validate(form) for form in (value, float(value), str(value))] == [value] * 3
    else:
        assert refusal(parameter, value).startswith("integer: read")


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.text(max_size=12)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def taken_or_refused(parameter: Parameter[Any], value: Any) -> tuple[Any, str]:
    """(canonical value, "") or (None, message)."""
    try:
        return parameter.validate(value), ""
    except ParameterError as error:
        return None, str(error)


@given(st.sampled_from(sorted(ALL)), ANYTHING)
def test_anything_is_either_taken_or_refused_in_words(name, value):
    """Whatever a person writes into YAML or JSON: no other error, and what is taken stays the same."""
    taken, message = taken_or_refused(ALL[name], value)
    if message:
        assert message == f"{name}: read {value!r}, allowed: {ALL[name].allowed()}"
    else:
        assert ALL[name].validate(taken) == taken
        assert ALL[name].validate(json.loads(json.dumps(taken))) == taken


POINTS = st.tuples(st.floats(0, 1), st.floats(0, 1))


@given(st.lists(st.lists(POINTS, min_size=3, max_size=100), max_size=5))
def test_regions_are_taken_as_lists_and_as_tuples(polygons):
    as_lists = [[list(point) for point in polygon] for polygon in polygons]
    as_tuples = tuple(tuple(polygon) for polygon in polygons)
    assert ALL["regions"].validate(as_lists) == ALL["regions"].validate(as_tuples) == as_tuples


# Declarations


def test_a_declaration_says_all_there_is_to_know():
    assert ALL["number"].declaration() == {
        "name": "number", "type": "number", "default": 2.5, "unit": "s", "description": "A number",
        "minimum": -1, "maximum": 10, "step": 0.5,
    }  # fmt: skip
    assert ALL["choice"].declaration()["choices"] == ["fast", "exact"]
    assert ALL["text"].declaration()["longest"] == 10
    assert ALL["integer"].declaration()["step"] == 1
    assert ALL["regions"].declaration()["default"] == [[[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]]]


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_declaration_comes_back_through_json(name):
    there = ALL[name].declaration()
    back = from_declaration(json.loads(json.dumps(there)))
    assert type(back) is type(ALL[name])
    assert back.name == name
    assert back.default == ALL[name].default
    assert back.declaration() == there


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(0, 1), st.floats(-2e6, 2e6))
def test_a_number_that_travelled_takes_and_refuses_the_same(minimum, span, share, value):
    maximum = minimum + span
    default = min(maximum, minimum + share * span)
    here = Number(default, minimum=minimum, maximum=maximum, unit="m")
    here.name = "x"
    there = from_declaration(json.loads(json.dumps(here.declaration())))
    for parameter in (here, there):
        if minimum <= value <= maximum:
            assert parameter.validate(value) == value
        else:
            assert refusal(parameter, value) == refusal(here, value)


def test_a_type_nobody_knows_is_refused():
    with pytest.raises(
        ParameterError, match=r"parameter type: read 'colour', allowed: number, integer, toggle, choice"
    ):
        from_declaration({"name": "x", "type": "colour", "default": 1})


def test_a_declaration_whose_default_does_not_fit_is_refused():
    declaration = {**ALL["number"].declaration(), "default": 50}
    with pytest.raises(ParameterError, match=r"number: read 50, allowed: a number from -1 to 10 s"):
        from_declaration(declaration)


# On classes


def test_parameters_are_read_as_plain_values_and_not_assigned():
    instance = Everything()
    assert (instance.number, instance.toggle, instance.choice) == (2.5, True, "fast")
    assert isinstance(Everything.number, Number)
    with pytest.raises(AttributeError, match=r"parameter 'number' is changed by command, not by assignment"):
        instance.number = 3.0


def test_declared_gives_bases_first_in_order_of_declaration():
    class More(Everything):
        extra = Toggle(False)
        number = Number(7, minimum=5, maximum=8)

    assert list(declared(More)) == [*ALL, "extra"]
    assert declared(More)["number"].default == 7
    assert declared(Everything)["number"].default == 2.5


def test_a_default_that_does_not_fit_is_refused_when_the_class_is_made():
    with pytest.raises((ParameterError, RuntimeError)) as caught:

        class Wrong:
            size = Number(33, minimum=1, maximum=9)

    errors = [caught.value, caught.value.__cause__]  # Python 3.11 wraps it
    assert "size: read 33, allowed: a number from 1 to 9" in [str(error) for error in errors]


def test_many_values_are_taken_together():
    assert validate_all(ALL, {"number": "3", "toggle": "off"}) == {"number": 3.0, "toggle": False}
    assert validate_all(ALL, {}) == {}


def test_one_wrong_value_refuses_all():
    with pytest.raises(ParameterError, match="integer: read 0"):
        validate_all(ALL, {"number": 3, "integer": 0})


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(
        ParameterError, match="nubmer: no such parameter, allowed: choice, integer, number, regions,"
    ):
        validate_all(ALL, {"nubmer": 3})
    with pytest.raises(ParameterError, match="x: no such parameter, allowed: no parameters"):
        validate_all({}, {"x": 1})


def test_an_enormous_number_is_refused_in_words():
    assert refusal(ALL["number"], 10**400).startswith("number: read")


def test_too_many_regions_are_refused():
    refusal(ALL["regions"], [TRIANGLE] * 101)


def test_a_large_whole_number_is_taken():
    assert Integer(0, minimum=0, maximum=2**63).validate(2**53 + 1) == 2**53 + 1


def test_a_declaration_of_a_later_version_is_understood():
    assert from_declaration({**ALL["number"].declaration(), "color": "red"}).default == 2.5


def test_what_a_subclass_fixed_is_no_parameter_any_more():
    class Fixed(Everything):
        number = 5.0  # type: ignore[assignment]

    assert "number" not in declared(Fixed)


def test_limits_are_told_exactly():
    assert Number(0, minimum=0, maximum=16_777_216).allowed() == "a number from 0 to 16777216"
