"""Processor: its parameters, the order of its calls, and changes while it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from frameloom.model.errors import ParameterError
from frameloom.model.frame import Frame
from frameloom.model.parameters import Number, Toggle
from frameloom.model.stages import Processor


class Brightness(Processor):
    above = Number(10, minimum=0, maximum=255)
    invert = Toggle(False)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.noted: list[frozenset[str]] = []

    def process(self, frame: Frame) -> dict[str, Any]:
        return {"bright": (frame.gray.mean() > self.above) != self.invert}

    def changed(self, names: frozenset[str]) -> None:
        self.noted.append(names)


FRAME = Frame.from_array(np.full((2, 2), 50, np.uint8))


def test_a_processor_starts_with_defaults_and_what_it_is_given():
    assert Brightness().values == {"above": 10.0, "invert": False}
    assert Brightness(above="60").values == {"above": 60.0, "invert": False}
    assert Brightness(above=60).process(FRAME) == {"bright": False}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"above": 300}, "above: read 300, allowed: a number from 0 to 255"),
        ({"abvoe": 3}, "abvoe: no such parameter, allowed: above, invert"),
    ],
)
def test_unfit_values_are_refused(values, message):
    for take in (lambda: Brightness(**values), lambda: Brightness().change(values)):
        with pytest.raises(ParameterError) as caught:
            take()
        assert str(caught.value) == message


def test_a_change_is_told_once_with_all_its_names_and_returns_canonical_values():
    processor = Brightness()
    assert processor.change({"above": "60", "invert": "on"}) == {"above": 60.0, "invert": True}
    assert processor.noted == [frozenset({"above", "invert"})]
    assert (processor.above, processor.invert) == (60.0, True)


def test_a_change_is_taken_wholly_or_not_at_all():
    processor = Brightness()
    with pytest.raises(ParameterError):
        processor.change({"above": 60, "invert": "perhaps"})
    assert processor.values == Brightness().values
    assert processor.noted == []


def test_values_are_a_copy():
    processor = Brightness()
    processor.values["above"] = 99
    assert processor.above == 10


def test_two_processors_of_a_class_do_not_share_values():
    one, other = Brightness(), Brightness()
    one.change({"above": 99})
    assert other.above == 10


def test_subclasses_add_parameters():
    class More(Brightness):
        also = Toggle(True)

    assert list(More.parameters) == ["above", "invert", "also"]
    assert list(Brightness.parameters) == ["above", "invert"]


def test_a_processor_without_process_says_whose_it_is():
    class Unfinished(Processor):
        pass

    with pytest.raises(NotImplementedError, match=r"Unfinished\.process"):
        Unfinished().process(FRAME)


def test_start_and_stop_need_not_be_written():
    processor = Brightness()
    processor.start()
    processor.stop()


@pytest.mark.parametrize("name", ["values", "change", "process", "parameters", "start"])
def test_a_parameter_may_not_hide_what_a_processor_has(name):
    with pytest.raises((TypeError, ParameterError)):
        type("Hiding", (Processor,), {name: Number(1, minimum=0, maximum=2)})
