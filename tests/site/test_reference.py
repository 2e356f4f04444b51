"""docs/site-yaml.md has every key of the model, with what is allowed and its default, and its examples load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frameloom.model.errors import SiteError
from frameloom.site.load import from_text
from frameloom.site.problems import Path as Place
from frameloom.site.render import flow, plain
from frameloom.site.words import Schema, allowed, resolved, schema_at

DOCUMENT = (Path(__file__).parents[2] / "docs" / "site-yaml.md").read_text(encoding="utf-8")
# Heading of each table, and where in the model its keys are.
TABLES: dict[str, Place] = {
    "The whole file": (),
    "`server`": ("server",),
    "`tls` of `server`": ("server", "tls"),
    "`rtsp`": ("rtsp",),
    "`cameras`": ("cameras", "NAME"),
    "`view` of a camera": ("cameras", "NAME", "view"),
    "`processors`": ("processors", "NAME"),
    "`kind: view`": ("sinks", "NAME", "view"),
    "`kind: record`": ("sinks", "NAME", "record"),
    "`kind: tcp`": ("sinks", "NAME", "tcp"),
    "`kind: push`": ("sinks", "NAME", "push"),
    "`limits`": ("limits",),
}


def default(key: str, schema: Schema, required: list[str]) -> str:
    if key in required:
        return "must be there"
    value = plain(schema.get("default"), key)
    if isinstance(value, dict) and value:
        return "see below"
    if value in (None, {}):
        return "none"
    return f"`{value if isinstance(value, str) else flow(value)}`"


def rows(place: Place) -> Iterator[str]:
    """The lines of one table, as they must stand in the document."""
    parent = schema_at(place)
    assert parent is not None
    for key, schema in parent["properties"].items():
        meaning = str(schema.get("description", ""))
        words = [
            allowed(schema),
            default(key, schema, parent.get("required", [])),
            meaning[:1].upper() + meaning[1:],
        ]
        yield f"| `{key}` | {' | '.join(words)} |"


def table(heading: str) -> list[str]:
    """The rows of the table under `heading`."""
    section = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert section is not None, heading
    return [line for line in section[1].splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("heading", TABLES)
def test_the_reference_is_that_of_the_model(heading: str) -> None:
    assert table(heading) == list(rows(TABLES[heading]))


def test_every_mapping_of_the_model_has_its_table() -> None:
    def mappings(place: Place, schema: Schema) -> Iterator[Place]:
        yield place
        for key, child in schema["properties"].items():
            child = resolved(child)
            entry: Any = child.get("additionalProperties")
            entry = resolved(entry) if isinstance(entry, dict) else {}
            if "properties" in child:
                yield from mappings((*place, key), child)
            if "properties" in entry:
                yield from mappings((*place, key, "NAME"), entry)
            for kind in entry.get("discriminator", {}).get("mapping", {}):
                yield (*place, key, "NAME", kind)

    root = schema_at(())
    assert root is not None
    assert sorted(mappings((), root), key=str) == sorted(TABLES.values(), key=str)


EXAMPLES = re.findall(r"```yaml[^\n]*\n(# .*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=[text.splitlines()[0][2:] for text in EXAMPLES])
def test_examples_load(text: str) -> None:
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "example")
    from_text(text, "site.yaml", environment)


def test_all_yaml_of_the_document_is_an_example() -> None:
    assert len(EXAMPLES) == DOCUMENT.count("```yaml") >= 3


WRONG = """\
site: demo
server: {port: http}
cameras:
  yard:
    url: rtsp://10.0.0.6/h264
    trasport: udp
"""


def test_the_errors_of_the_document_are_those_that_one_gets() -> None:
    with pytest.raises(SiteError) as caught:
        from_text(WRONG, "site.yaml", {})
    shown = re.findall(r"^site\.yaml:\d+: .*$", DOCUMENT, re.MULTILINE)
    assert shown == str(caught.value).splitlines()
