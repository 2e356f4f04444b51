"""The keys of the model in words: what is known at a place, what is allowed there, what a person may have meant.

Everything comes from the model's JSON schema, so that a message, the documentation and the check never differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from .model import Site
from .problems import Path

Schema = Mapping[str, Any]


@cache
def root_schema() -> Schema:
    """The schema of a whole site file."""
    return Site.model_json_schema(by_alias=True)


def schema_at(path: Path) -> Schema | None:
    """The schema of what may stand at `path`; None where nothing is known."""
    schema: Schema | None = resolved(root_schema())
    for part in path:
        schema = _child(schema, str(part))
        if schema is None:
            return None
    return schema


def known_path(path: Path) -> Path:
    """`path` as far as the model knows it. Pydantic adds the names of the variants that it tried."""
    while path and schema_at(path) is None:
        path = path[:-1]
    return path


def written_path(path: Path) -> Path:
    """`path` as it stands in a file: without the kind that Pydantic puts after the name of what has several."""
    return tuple(part for at, part in enumerate(path) if str(part) not in _kinds(schema_at(path[:at]) or {}))


def keys_at(path: Path) -> list[str]:
    """The keys that a mapping at `path` may have; empty where they are free."""
    schema = schema_at(path) or {}
    kinds = [resolved(one) for one in schema.get("oneOf", [])] or [schema]
    return list(dict.fromkeys(key for kind in kinds for key in kind.get("properties", {})))


def allowed_at(path: Path) -> str:
    """What may stand at `path`, in words."""
    return allowed(schema_at(path) or {})


def allowed(schema: Schema) -> str:
    """What fits `schema`, in words."""
    schema = resolved(schema)
    if "allowed" in schema:
        return str(schema["allowed"])
    if "oneOf" in schema:
        return " or ".join(dict.fromkeys(allowed(one) for one in schema["oneOf"]))
    if "anyOf" in schema:
        return " or ".join(
            dict.fromkeys(allowed(one) for one in schema["anyOf"] if one.get("type") != "null")
        )
    if "enum" in schema or "const" in schema:
        return _one_of(schema.get("enum") or [schema["const"]])
    return _by_type(schema)


def resolved(schema: Schema) -> Schema:
    """`schema` with what it refers to, its own words on top."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target = root_schema()["$defs"][reference.rpartition("/")[2]]
    return {**target, **{k: v for k, v in schema.items() if k != "$ref"}}


def meant(word: str, known: Iterable[str]) -> str:
    """', did you mean ...?' if one of `known` is close, else nothing."""
    close = get_close_matches(word, list(known), 1)
    return f", did you mean '{close[0]}'?" if close else ""


def _kinds(schema: Schema) -> Mapping[str, str]:
    """What a mapping of several kinds may be, by the word that tells which: references to their schemas."""
    found: Mapping[str, str] = schema.get("discriminator", {}).get("mapping", {})
    return found


def _child(schema: Schema | None, key: str) -> Schema | None:
    schema = schema or {}
    if key in _kinds(schema):
        return resolved({"$ref": _kinds(schema)[key]})
    for one in schema.get("anyOf") or schema.get("oneOf") or [schema]:
        one = resolved(one)
        found = one.get("properties", {}).get(key) or one.get("additionalProperties") or one.get("items")
        if isinstance(found, dict):
            return resolved(found)
    return None


def _by_type(schema: Schema) -> str:
    match schema.get("type"):
        case "boolean":
            return "true or false"
        case "integer":
            return "a whole number" + _range(schema)
        case "number":
            return "a number" + _range(schema)
        case "string":
            return "a text"
        case "array":
            return "a list"
        case "object" if "properties" in schema:
            return "a mapping of " + ", ".join(schema["properties"])
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"a mapping, each value {allowed(schema['additionalProperties'])}"
        case "object":
            return "a mapping"
    return "another value"


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}" if max(low, high) < 1e6 else f" from {low} to {high}"
    words = {" from": low, " above": above, " up to": high, " below": below}
    return " and".join(f"{word} {limit}" for word, limit in words.items() if limit is not None)


def _one_of(words: list[Any]) -> str:
    return str(words[0]) if len(words) == 1 else "one of " + ", ".join(str(word) for word in words)
