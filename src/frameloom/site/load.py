"""Reads `site.yaml` into a `Site`, or tells everything that is wrong with it at once, each with its line.

`check_params` comes after: it needs the declarations of the processors, which `describe.py` gets from a child process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from frameloom.model.errors import ParameterError
from frameloom.model.parameters import Parameter, from_declaration

from .document import Document, parse, read_text
from .environment import Expansion, expand
from .model import Origin, Site
from .problems import InvalidSite, Path, Problem, kind_of, shown, whole_file
from .rules import check
from .words import allowed_at, keys_at, known_path, meant, written_path

# What these hold is never repeated, not even where it is wrong.
_SECRET_KEYS = {"database", "url", "username", "password", "options"}

Declarations = Mapping[str, list[dict[str, Any]]]


def load(path: str | os.PathLike[str], environment: Mapping[str, str] | None = None) -> Site:
    """The site that the file at `path` describes; `environment` resolves `${NAME}`, by default the process's own.

    Raises `InvalidSite` (a `SiteError`) with every problem found, as 'site.yaml:7: server.port: read ...'.
    """
    file = os.fspath(path)
    return from_text(read_text(FilePath(path), file), file, environment)


def from_text(text: str, file: str, environment: Mapping[str, str] | None = None) -> Site:
    """The site that `text` describes, as if it were read from `file`; raises `InvalidSite`."""
    document = _mapping(parse(text.removeprefix("\ufeff"), file), file)
    expansion = expand(document.data, os.environ if environment is None else environment)
    problems = [*document.problems, *(document.problem(*trouble) for trouble in expansion.troubles)]
    site, wrong = _validate(expansion, document)
    problems += [problem for problem in wrong if not any(_follows(problem, one) for one in problems)]
    problems += [document.problem(*trouble) for trouble in check(expansion.data, document.data)]
    if problems or site is None:
        raise InvalidSite(file, problems)
    return site.at(Origin(file, FilePath(os.path.abspath(file)).parent, document))


def check_params(site: Site, declarations: Declarations) -> None:
    """Check the parameters of every processor whose `use` is in `declarations`; raises `InvalidSite`.

    A declaration is what `Parameter.declaration()` gives; see `describe.describe_uses`.
    """
    problems = wrong_params(site, declarations)
    if problems:
        raise InvalidSite(site.file, problems)


def wrong_params(site: Site, declarations: Declarations) -> list[Problem]:
    """What `check_params` would raise."""
    return [problem for name in site.processors for problem in _wrong_params(site, name, declarations)]


def _mapping(document: Document, file: str) -> Document:
    if isinstance(document.data, dict):
        return document
    if document.problems:
        raise InvalidSite(file, document.problems)
    if document.data is None:
        raise whole_file(file, f"is empty, allowed: {allowed_at(())}")
    raise InvalidSite(file, [document.problem((), f"read {shown(document.data)}, allowed: {allowed_at(())}")])


def _validate(expansion: Expansion, document: Document) -> tuple[Site | None, list[Problem]]:
    try:
        return Site.model_validate(expansion.data), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return None, [_problem(one, expansion, document) for one in details]


def _follows(problem: Problem, told: Problem) -> bool:
    """Whether a trouble is the mere consequence of one that is told already."""
    if problem.line != told.line:
        return False
    return problem.where == told.where or problem.where.startswith((f"{told.where}.", f"{told.where}["))


def _problem(error: ErrorDetails, expansion: Expansion, document: Document) -> Problem:
    path = written_path(known_path(error["loc"]))
    kind = error["type"]
    if kind == "extra_forbidden":
        return document.problem(written_path(error["loc"]), _unknown_key(error["loc"]))
    if kind.startswith("union_tag_"):  # of what has several kinds
        path = (*path, "kind")
    if kind in ("missing", "union_tag_not_found"):
        return document.problem(path, f"missing, allowed: {allowed_at(path)}")
    if kind == "value_error":
        path, words = _placed(path, str(error["ctx"]["error"]))
        return document.problem(path, _own_words(words, path, expansion, document))
    return document.problem(path, _misread(path, document))


def _unknown_key(path: Path) -> str:
    known = keys_at(path[:-1])
    hint = meant(str(path[-1]), known)
    return f"unknown key{hint or ','} allowed: {', '.join(known)}"


def _misread(path: Path, document: Document) -> str:
    value = document.value(path)
    secret = _SECRET_KEYS.intersection(map(str, path)) or (path[:1] == ("cameras",) and len(path) < 3)
    return f"read {kind_of(value) if secret else shown(value)}, allowed: {allowed_at(path)}"


def _placed(path: Path, message: str) -> tuple[Path, str]:
    """The place that a check of the model means: it can only begin its message with the key."""
    key, colon, words = message.partition(": ")
    if colon and path and key == path[-1]:
        return path, words
    return ((*path, key), words) if colon and key in keys_at(path) else (path, message)


def _own_words(message: str, path: Path, expansion: Expansion, document: Document) -> str:
    """The message of a check in the model, unless it repeats what came from outside or an address."""
    unspeakable = {*expansion.secrets, *_addresses(expansion.data)}
    if any(text in message for text in unspeakable if text):
        return _misread(path, document)
    return message


def _addresses(data: Any, within: bool = False) -> Iterator[str]:
    """Every text under a key that may hold a secret, and every text that looks like an address."""
    if isinstance(data, str) and (within or "://" in data or "@" in data):
        yield data
    items: Iterable[tuple[Any, Any]] = data.items() if isinstance(data, dict) else ()
    items = enumerate(data) if isinstance(data, list) else items
    for key, value in items:
        yield from _addresses(value, within or key in _SECRET_KEYS)


def _wrong_params(site: Site, name: str, declarations: Declarations) -> Iterator[Problem]:
    processor = site.processors[name]
    if processor.use not in declarations:
        return
    known = {one["name"]: from_declaration(one) for one in declarations[processor.use]}
    for key, value in processor.params.items():
        path: Path = ("processors", name, "params", key)
        message = _wrong_param(known, path, value, site.document)
        if message:
            yield site.document.problem(path, message)


def _wrong_param(known: Mapping[str, Parameter[Any]], path: Path, value: Any, document: Document) -> str:
    key = str(path[-1])
    if key not in known:
        names = ", ".join(known) or "no parameters"
        return f"no such parameter{meant(key, known) or ','} allowed: {names}"
    try:
        known[key].validate(value)
    except ParameterError:
        return f"read {shown(document.value(path))}, allowed: {known[key].allowed()}"
    return ""
