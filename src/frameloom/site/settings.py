"""The site's file for who edits it from elsewhere: shown without its secrets, checked, written, cameras added and
removed. What a change means for running workers is decided by `frameloom.control.plan`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

from frameloom.control.editing import Checked
from frameloom.model.errors import CommandError, NeedsPerson, SiteError
from frameloom.model.names import check_name
from frameloom.model.worker import WorkerSpec

from .describe import Description, check_processors, describe_uses
from .document import parse
from .masking import Restored, masked, restored
from .model import Site
from .problems import MASK, InvalidSite, Problem
from .save import SiteFile, readers_of
from .words import root_schema

_BOM = "\ufeff"
_DESCRIBE_S = 10.0
_LATER = "takes effect at the next start of the site"

SpecsOf = Callable[[Site], list[WorkerSpec]]


class Settings:
    """See `frameloom.control.editing.Editable`.

    specs_of   the workers of a site, as the one that runs was started
    """

    def __init__(self, file: SiteFile, specs_of: SpecsOf) -> None:
        self._file = file
        self._specs_of = specs_of
        self._described: dict[str, Description] = {}
        self._describing = threading.Lock()

    def settings(self) -> dict[str, Any]:
        text = self._file.text()
        return {
            "file": os.path.abspath(self._file.path),
            "text": masked(text.removeprefix(_BOM)),
            "version": self._version(text),
            "writable": self._writable(),
            "schema": root_schema(),
        }

    def checked(self, text: str) -> Checked:
        result = self._restored(self._file.text(), text)
        if result.problems:
            return Checked(_told(result.problems))
        try:
            site = self._file.site_of(result.text)
            self._check_processors(site)
        except InvalidSite as error:
            return Checked(_told(map(result.told, error.problems)))
        return Checked([], self._specs_of(site), self._notes(site))

    def save(self, text: str, version: str) -> None:
        before = self._file.text()
        if version != self._version(before):
            raise _changed_meanwhile()
        result = self._restored(before, text)
        if result.problems:
            raise InvalidSite(str(self._file.path), result.problems)
        self._file.site_of(result.text)
        bom = _BOM if before.startswith(_BOM) else ""
        if not self._file.put(before, bom + result.text.removeprefix(_BOM)):
            raise _changed_meanwhile()

    def version(self) -> str:
        return self._version(self._file.text())

    def source(self, camera: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """`settings`, in which `***` means what `camera` has there, with its references resolved."""
        site = self._file.load()
        if camera not in site.cameras:
            raise _unknown(camera, site)
        own = site.cameras[camera].source()
        result = {**own, **settings}
        for key in ("url", "password"):
            if MASK in str(settings.get(key) or ""):
                result[key] = _value_restored(key, own.get(key), str(settings[key]))
        return {key: result[key] for key in settings if key in result} | (
            {key: own[key] for key in ("username", "password") if own.get(key) and key not in settings}
        )

    def add_camera(self, name: str, settings: Mapping[str, Any]) -> None:
        site = self._file.load()
        _check_free(name, site)
        if any(MASK in str(settings.get(key) or "") for key in ("url", "password")):
            raise CommandError(
                "invalid", f"camera {name!r}: {MASK} stands for no secret of it: write the secret"
            )
        self._changed(lambda: self._file.add_camera(name, settings))

    def change_camera(self, name: str, settings: Mapping[str, Any]) -> None:
        site = self._file.load()
        if name not in site.cameras:
            raise _unknown(name, site)
        own = site.document.value(("cameras", name))
        own = own if isinstance(own, dict) else {"url": own}
        taken = {
            key: value
            for key, value in settings.items()
            if not (isinstance(value, str) and MASK in value and value == _shown(key, own.get(key)))
        }
        for key, value in taken.items():
            if isinstance(value, str) and MASK in value:
                taken[key] = _value_restored(key, site.cameras[name].source().get(key), value)
        self._changed(lambda: self._file.change_camera(name, taken))

    def readers(self, camera: str) -> list[str]:
        site = self._file.load()
        if camera not in site.cameras:
            raise _unknown(camera, site)
        return readers_of(site, camera)

    def remove_camera(self, name: str) -> None:
        self.readers(name)
        self._changed(lambda: self._file.remove_camera(name))

    def add_recorder(self, camera: str) -> str:
        self.readers(camera)
        added: list[str] = []
        self._changed(lambda: added.append(self._file.add_recorder(camera)))
        return added[0]

    def _changed(self, change: Callable[[], object]) -> None:
        """Tell what is wrong with a change as what it is: nobody wrote lines of a file."""
        try:
            change()
        except InvalidSite as error:
            first = error.problems[0]
            raise CommandError(
                "invalid", f"{first.where}: {first.message}" if first.where else first.message
            ) from None
        except SiteError as error:
            raise CommandError("site-error", str(error)) from None

    def _restored(self, before: str, text: str) -> Restored:
        text, before = text.removeprefix(_BOM), before.removeprefix(_BOM)
        if "\r\n" in before and "\r" not in text:  # a browser's field knows one sort of line end only
            text = text.replace("\n", "\r\n")
        return restored(before, text)

    def _version(self, text: str) -> str:
        """Of what is shown, and of the file: a hash of the secrets would be a way to guess them."""
        status = os.stat(self._file.path)
        words = f"{status.st_ino} {status.st_mtime_ns} {masked(text)}"
        return blake2b(words.encode(), digest_size=12).hexdigest()

    def _writable(self) -> bool:
        target = os.path.realpath(self._file.path)
        return os.access(target, os.W_OK) and os.access(os.path.dirname(target), os.W_OK)

    def _check_processors(self, site: Site) -> None:
        """Those that are not as they are in the file now: what runs already is not held against a change of others."""
        try:
            present = self._file.load().processors
        except SiteError:
            present = {}
        changed = {
            name: one
            for name, one in site.processors.items()
            if name not in present or (one.use, one.params) != (present[name].use, present[name].params)
        }
        if changed:
            only = site.model_copy(update={"processors": changed}).at(site._origin)
            check_processors(only, self._descriptions({one.use for one in changed.values()}, site))

    def _descriptions(self, uses: set[str], site: Site) -> dict[str, Description]:
        """What is built in does not change while this runs; a file of the user's may."""
        with self._describing:
            new = sorted(use for use in uses if use not in self._described)
            found = describe_uses(new, site.base_dir, _DESCRIBE_S)
            self._described |= {use: one for use, one in found.items() if ":" not in use and not one.error}
            return {use: one for use, one in {**self._described, **found}.items() if use in uses}

    def _notes(self, site: Site) -> list[str]:
        try:
            present = self._file.load()
        except SiteError:
            return []
        differs = {"site": site.name != present.name, "limits": site.limits != present.limits}
        return [f"{key}: {_LATER}" for key, different in differs.items() if different]


def _told(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """As JSON: `path` is where in the file's data."""
    return [
        {"line": one["line"], "column": one["column"], "path": one["where"], "message": one["message"]}
        for one in map(asdict, sorted(set(problems)))
    ]


def _shown(key: str, value: Any) -> str:
    """How the value of a camera's key is shown to others."""
    shown = masked(f"cameras:\n  x:\n    {key}: {_quoted(str(value))}\n")
    return str(_value_of(shown, key))


def _value_restored(key: str, own: Any, value: str) -> str:
    result = restored(
        f"cameras:\n  x:\n    {key}: {_quoted(str(own or ''))}\n",
        f"cameras:\n  x:\n    {key}: {_quoted(value)}\n",
    )
    if result.problems:
        raise CommandError("invalid", f"{key}: {result.problems[0].message}")
    return str(_value_of(result.text, key))


def _value_of(text: str, key: str) -> Any:
    return parse(text, "").data["cameras"]["x"][key]


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _check_free(name: str, site: Site) -> None:
    try:
        check_name(name, "camera")
    except NeedsPerson as error:
        raise CommandError("invalid", str(error)) from None
    for what in ("cameras", "processors", "sinks"):
        if name in getattr(site, what):
            raise CommandError(
                "name-taken", f"{name!r} is taken by {what}.{name}, allowed: a name of its own"
            )


def _unknown(camera: str, site: Site) -> CommandError:
    known = ", ".join(site.cameras) or "none"
    return CommandError("unknown-name", f"no camera {camera!r} in site.yaml; there are: {known}")


def _changed_meanwhile() -> CommandError:
    return CommandError(
        "changed-meanwhile",
        "the file has been changed since it was read: read it again, and put your change in",
    )
