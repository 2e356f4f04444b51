"""The page about motion tells the parameters as they are declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frameloom.model.parameters import Integer, Number, Parameter, declared
from frameloom.processors.motion import Motion

PAGE = Path(__file__).parents[2] / "docs" / "processors" / "motion.md"


def allowed(parameter: Parameter[Any]) -> str:
    if isinstance(parameter, Number | Integer):
        return f"{parameter.minimum:g} to {parameter.maximum:g} {parameter.unit}".strip()
    return "regions"


def default(parameter: Parameter[Any]) -> str:
    return "none" if parameter.default == () else f"{parameter.default:g}"


def table() -> str:
    rows = [
        f"| `{name}` | {default(parameter)} | {allowed(parameter)} | {parameter.description} |"
        for name, parameter in declared(Motion).items()
    ]
    return "\n".join(["| name | default | allowed | meaning |", "|---|---|---|---|", *rows])


def test_the_table_of_parameters_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert table() in page, f"put this table into {PAGE.name}:\n{table()}"


def test_the_results_are_all_explained():
    page = PAGE.read_text(encoding="utf-8")
    for name in ("score", "moving", "boxes", "events", "peak_score", "started_pts_ns"):
        assert f"`{name}`" in page
