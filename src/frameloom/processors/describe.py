"""What processors declare, as JSON, for processes that must not load their code.

    python -m frameloom.processors.describe [--base-dir FOLDER] USE...

prints one JSON object: each USE (see `frameloom.processors.resolve`) with its description, or with `error`.
The exit code is 0 if all could be described, otherwise 1.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from frameloom.model.errors import NeedsPerson
from frameloom.processors.loading import resolve


def describe(use: str, base_dir: str | Path = ".") -> dict[str, Any]:
    """`name` (of the class), `doc` and `parameters` (their declarations, in order) of a processor.

    Imports its module. Raises `NeedsPerson` as `resolve` does.
    """
    cls = resolve(use, base_dir)
    return {
        "name": cls.__name__,
        "doc": inspect.cleandoc(cls.__doc__ or ""),
        "parameters": [parameter.declaration() for parameter in cls.parameters.values()],
    }


def describe_all(uses: Sequence[str], base_dir: str | Path = ".") -> dict[str, dict[str, Any]]:
    """Each of `uses` with its description, or with `{"error": message}`."""
    described = {}
    for use in uses:
        with _as_if_alone():
            described[use] = _described(use, base_dir)
    return described


def _described(use: str, base_dir: str | Path) -> dict[str, Any]:
    try:
        return describe(use, base_dir)
    except NeedsPerson as error:
        return {"error": str(error)}


@contextmanager
def _as_if_alone() -> Iterator[None]:
    """Forget what a file imported from beside it: another file may have other neighbours of that name."""
    path, modules = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        folders = set(sys.path) - set(path)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if _lies_in(sys.modules[name], folders):
                del sys.modules[name]


def _lies_in(module: ModuleType, folders: set[str]) -> bool:
    file = Path(getattr(module, "__file__", None) or "")
    return any(Path(folder) in file.parents for folder in folders)


def main(arguments: Sequence[str] | None = None) -> int:
    """Describe what the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m frameloom.processors.describe")
    parser.add_argument("uses", nargs="+", metavar="USE")
    parser.add_argument("--base-dir", default=".", help="folder that relative paths start from")
    options = parser.parse_args(arguments)
    with _output_to_stderr():
        described = describe_all(options.uses, options.base_dir)
    json.dump(described, sys.stdout)
    return 1 if any("error" in each for each in described.values()) else 0


@contextmanager
def _output_to_stderr() -> Iterator[None]:
    """What modules print while they are imported, from C too, must not get between the JSON."""
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(output, 1)
        os.close(output)


if __name__ == "__main__":
    sys.exit(main())
