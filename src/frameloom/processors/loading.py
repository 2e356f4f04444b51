"""From the words of `site.yaml` to a processor class: built in, in an installed package, or in a file.

Every failure is a `NeedsPerson` that names what was asked for and says what would do.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from frameloom.model.errors import NeedsPerson
from frameloom.model.stages import Processor

BUILT_IN = {"motion": "frameloom.processors.motion:Motion"}
"""Short names of the processors that come with Frameloom -> 'module:Class'."""

_FORMS = "'package.module:Class' or 'path/to/file.py:Class'"


def resolve(use: str, base_dir: str | Path = ".") -> type[Processor]:
    """The processor class that `use` names; imports its module.

    use       a name of `BUILT_IN`, 'package.module:Class', or 'path/to/file.py:Class'
    base_dir  folder that a relative path starts from, as a rule that of `site.yaml`

    A file is loaded anew at each call, under a module name of its own; modules that lie beside it can be
    imported. Raises `NeedsPerson`: nothing of that name, no such file or class, not a processor, or it cannot
    be imported (with the traceback).
    """
    where, _, class_name = _spelt_out(use).rpartition(":")
    if not where or not class_name.isidentifier():
        raise NeedsPerson(f"processor {use!r}: read {use!r}, allowed: {_known()}, {_FORMS}")
    if where.endswith(".py"):
        module = _module_of_file(use, Path(base_dir, Path(where).expanduser()))
    else:
        module = _module_by_name(use, where)
    return _class_in(use, module, where, class_name)


def _known() -> str:
    return ", ".join(sorted(BUILT_IN))


def _spelt_out(use: str) -> str:
    if ":" in use:
        return use
    if use not in BUILT_IN:
        raise NeedsPerson(
            f"processor {use!r}: no such processor, allowed: {_known()}, or your own as {_FORMS}"
        )
    return BUILT_IN[use]


def _module_by_name(use: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise NeedsPerson(f"processor {use!r}: {name!r} is no module's name, allowed: {_FORMS}")
    return _imported(use, name, lambda: importlib.import_module(name))


def _module_of_file(use: str, path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise NeedsPerson(f"processor {use!r}: no such file: {path}")
    return _imported(use, path.name, lambda: _run_file(path))


def _run_file(path: Path) -> ModuleType:
    # One stem may occur in two folders; registered, since dataclasses and pickle look their module up.
    name = f"frameloom_file_{path.stem}_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _imported(use: str, where: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except ModuleNotFoundError as error:
        if error.name and (where == error.name or where.startswith(f"{error.name}.")):
            raise NeedsPerson(f"processor {use!r}: no such module: {error.name}") from error
        raise NeedsPerson(_import_failed(use, where, error)) from error
    except (Exception, SystemExit) as error:  # what somebody else's module raises can be anything
        raise NeedsPerson(_import_failed(use, where, error)) from error


def _import_failed(use: str, where: str, error: BaseException) -> str:
    return f"processor {use!r}: {where} cannot be imported:\n{_users_traceback(error)}"


def _users_traceback(error: BaseException) -> str:
    """The traceback from the user's first line on; the way there is ours and the import system's."""
    shown = traceback.TracebackException.from_exception(error)
    ours = (__file__, "<frozen importlib", importlib.__file__)
    while shown.stack and shown.stack[0].filename.startswith(ours):
        del shown.stack[0]
    return "".join(shown.format()).rstrip()


def _class_in(use: str, module: ModuleType, where: str, name: str) -> type[Processor]:
    found = getattr(module, name, None)
    if found is None:
        raise NeedsPerson(f"processor {use!r}: no class {name} in {where}, allowed: {_processors_in(module)}")
    if not (isinstance(found, type) and issubclass(found, Processor)):
        raise NeedsPerson(
            f"processor {use!r}: {name} is no processor: it must be a subclass of frameloom.Processor"
        )
    if found.process is Processor.process:
        raise NeedsPerson(f"processor {use!r}: {name} has no method process(self, frame)")
    return found


def _processors_in(module: ModuleType) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Processor) and value.__module__ == module.__name__
    ]
    return ", ".join(sorted(names)) or "none, it defines no processor"
