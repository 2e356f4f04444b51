"""Asks a child process what processors there are behind `use`: their code never runs, or is even loaded, in here.

The child is `python -m frameloom.processors.describe`. It is given little time, and its end is not left to it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from .load import Declarations, wrong_params
from .model import Site
from .problems import InvalidSite, Path, Problem

COMMAND = (sys.executable, "-P", "-m", "frameloom.processors.describe")
TIMEOUT_S = 30.0
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class Description:
    """A processor as its own code describes it, or `error`: why it could not be loaded."""

    use: str
    name: str = ""
    doc: str = ""
    parameters: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


def describe_uses(
    uses: Iterable[str],
    base_dir: FilePath,
    timeout_s: float = TIMEOUT_S,
    command: Sequence[str] = COMMAND,
) -> dict[str, Description]:
    """The description of each of `uses`, in their order; files are found from `base_dir` on. Raises nothing.

    One child looks at all of them. Should it die or take longer than `timeout_s` seconds, each is looked at alone, to
    find the one to blame.
    """
    wanted = list(dict.fromkeys(uses))
    if not wanted:
        return {}
    answer = _ask(wanted, base_dir, timeout_s, command)
    if isinstance(answer, str) and len(wanted) > 1:
        return {
            u: one for use in wanted for u, one in describe_uses([use], base_dir, timeout_s, command).items()
        }
    return {use: _description(use, answer) for use in wanted}


def describe_site(site: Site, timeout_s: float = TIMEOUT_S) -> dict[str, Description]:
    """The descriptions of all processors of `site`."""
    return describe_uses((one.use for one in site.processors.values()), site.base_dir, timeout_s)


def check_processors(site: Site, descriptions: Mapping[str, Description]) -> None:
    """Raise `InvalidSite` for processors that cannot be loaded, and for parameters that do not fit the others."""
    problems = [
        _not_loaded(site, name, descriptions[one.use].error)
        for name, one in site.processors.items()
        if one.use in descriptions and descriptions[one.use].error
    ]
    problems += wrong_params(site, declarations(descriptions))
    if problems:
        raise InvalidSite(site.file, problems)


def declarations(descriptions: Mapping[str, Description]) -> Declarations:
    """The parameters of those that could be loaded, as `check_params` takes them."""
    return {use: one.parameters for use, one in descriptions.items() if not one.error}


def _not_loaded(site: Site, name: str, error: str) -> Problem:
    """In one line; the whole of it, with its traceback, is in `Description.error`."""
    lines = error.removeprefix(f"processor {site.processors[name].use!r}: ").splitlines() or [
        "cannot be loaded"
    ]
    path: Path = ("processors", name, "use")
    return site.document.problem(path, f"{lines[0]} {lines[-1]}" if len(lines) > 1 else lines[0])


def _ask(
    uses: list[str], base_dir: FilePath, timeout_s: float, command: Sequence[str]
) -> dict[str, Any] | str:
    """What the child answers, or why it does not."""
    try:
        child = subprocess.Popen(
            [*command, "--base-dir", str(base_dir), "--", *uses],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return f"no process could be started to look at it: {error.strerror}"
    try:
        output, errors = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _end(child)
        return f"loading it took longer than {timeout_s:g} s"
    except BaseException:
        _end(child)
        raise
    return _read(output, errors, child.returncode)


def _end(child: subprocess.Popen[bytes]) -> None:
    """The child, and whatever it started: a grandchild that holds the pipe would keep us waiting."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def _read(output: bytes, errors: bytes, code: int) -> dict[str, Any] | str:
    """The answer is there whether all could be described (exit code 0) or not (1)."""
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    return f"the process that looked at it ended with {_ending(code)}{_last_line(errors)}"


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:_LONGEST_ERROR]}" if lines else ""


def _description(use: str, answer: dict[str, Any] | str) -> Description:
    if isinstance(answer, str):
        return Description(use, error=answer)
    found = answer.get(use)
    if not isinstance(found, dict):
        return Description(use, error="the process that looked at it said nothing of it")
    if "error" in found:
        return Description(use, error=str(found["error"]))
    return Description(
        use, str(found.get("name", "")), str(found.get("doc", "")), list(found.get("parameters", []))
    )
