"""The smallest change from one list of workers to another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.model.worker import WorkerSpec
from frameloom.site.difference import Difference, difference, with_defaults
from frameloom.site.load import from_text
from frameloom.site.specs import specs

A = WorkerSpec("a", "camera", "m:C", {"source": {"url": "rtsp://u:hunter2@h/x"}})
P = WorkerSpec("p", "processor", "m:P", {"use": "motion"}, {"threshold": 25, "area": 3}, ("a",))


def test_nothing_changed() -> None:
    change = difference([A, P], [P, A])
    assert not change
    assert change == Difference()
    assert str(change) == "no change"


def test_a_new_worker_is_added_and_a_missing_one_removed() -> None:
    assert difference([A], [P]) == Difference(removed=("a",), added=(P,))


def test_a_value_is_set_live() -> None:
    new = replace(P, params={"threshold": 30, "area": 3, "label": "x"})
    assert difference([A, P], [A, new]) == Difference(changed_params={"p": {"threshold": 30, "label": "x"}})


def test_a_value_that_is_gone_goes_back_to_its_default() -> None:
    assert difference([P], [replace(P, params={"area": 3})]).changed_params == {"p": {"threshold": None}}


@pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), (1, "1"), ([1], [True])])
def test_values_that_python_calls_equal_are_told_apart(old: Any, new: Any) -> None:
    change = difference([replace(P, params={"x": old})], [replace(P, params={"x": new})])
    assert change.changed_params == {"p": {"x": new}}


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"use": "other"}},
        {"streams": ("b",)},
        {"host": "m:Q"},
        {"kind": "sink"},
        {"config": {"use": "other"}, "params": {"threshold": 1}},
        {"config": {"use": "other"}, "enabled": False},
    ],
)
def test_a_change_of_structure_restarts_this_worker_only(changes: dict[str, Any]) -> None:
    new = replace(P, **changes)
    assert difference([A, P], [A, new]) == Difference(restarted=(new,))


def test_switching_off_and_on() -> None:
    off = replace(P, enabled=False)
    assert difference([A, P], [A, off]) == Difference(disabled=("p",))
    assert difference([A, off], [A, P]) == Difference(enabled=("p",))


def test_a_worker_that_is_switched_on_with_another_value_is_told_both() -> None:
    off = replace(P, enabled=False, params={"threshold": 25})
    assert difference([off], [P]) == Difference(enabled=("p",), changed_params={"p": {"area": 3}})


def test_no_secret_comes_out_of_a_difference() -> None:
    change = difference([P], [A, replace(P, params={"token": "hunter2"})])
    assert "hunter2" not in f"{change} {change!r}"
    assert str(change) == "added: a; set live: p"


def test_defaults_take_the_place_of_values_that_are_gone() -> None:
    declared = [{"name": "threshold", "default": 25.0}, {"name": "area", "default": 3}]
    values = {"threshold": None, "area": 5, "gone": None, "unknown": 1}
    assert with_defaults(values, declared) == {"threshold": 25.0, "area": 5, "unknown": 1}


TEXT = """\
cameras: {a: "rtsp://h/1", b: "rtsp://h/2"}
processors: {p: {use: motion, stream: a, params: {t: 1}}}
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("t: 1", "t: 2", "set live: p"),
        ("stream: a", "stream: b", "restarted: p"),
        ("rtsp://h/1", "rtsp://h/3", "restarted: a"),
        ('b: "rtsp://h/2"', "b: {url: 'rtsp://h/2', view: {quality: 50}}", "set live: b.view"),
        ('b: "rtsp://h/2"', "b: {url: 'rtsp://h/2', view: false}", "switched off: b.view"),
        ('b: "rtsp://h/2"', "b: {url: 'rtsp://h/2', enabled: false}", "switched off: b, b.view"),
        (', b: "rtsp://h/2"', "", "removed: b, b.view"),
        ("cameras:", "server: {port: 1}\ncameras:", "restarted: server"),
        ("cameras:", "# a comment\ncameras:", "no change"),
    ],
)
def test_what_a_change_of_the_file_means(old: str, new: str, expected: str) -> None:
    before = specs(from_text(TEXT, "site.yaml", {}))
    after = specs(from_text(TEXT.replace(old, new), "site.yaml", {}))
    assert str(difference(before, after)) == expected


JSON = st.none() | st.booleans() | st.integers(0, 3) | st.lists(st.integers(0, 1), max_size=2)
PARAMS = st.dictionaries(st.sampled_from("xyz"), JSON.filter(lambda value: value is not None), max_size=3)
SPECS = st.lists(
    st.builds(
        WorkerSpec,
        st.sampled_from("abc"),
        st.just("k"),
        st.just("m:C"),
        st.dictionaries(st.just("c"), st.integers(0, 1)),
        PARAMS,
        st.tuples(st.sampled_from("ab")),
        st.booleans(),
    ),
    unique_by=lambda spec: spec.name,
    max_size=3,
)


def applied(old: list[WorkerSpec], change: Difference) -> dict[str, dict[str, Any]]:
    """What a supervisor makes of `change`."""
    known = {spec.name: spec for spec in old if spec.name not in change.removed}
    known |= {spec.name: spec for spec in (*change.added, *change.restarted)}
    for name, values in change.changed_params.items():
        params = {**known[name].params, **values}
        known[name] = replace(known[name], params={k: v for k, v in params.items() if v is not None})
    known |= {name: replace(known[name], enabled=False) for name in change.disabled}
    known |= {name: replace(known[name], enabled=True) for name in change.enabled}
    return {name: spec.to_json() for name, spec in known.items()}


@given(SPECS, SPECS)
def test_what_is_done_leads_from_old_to_new(old: list[WorkerSpec], new: list[WorkerSpec]) -> None:
    assert applied(old, difference(old, new)) == {spec.name: spec.to_json() for spec in new}
