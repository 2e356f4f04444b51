"""Writes changes that were commanded back to `site.yaml`: the smallest edit of the text, checked, then at once.

A person may edit the file at the same time: it is read anew for each change, and again if it changed meanwhile, so
nothing a person wrote is lost. Where both change the same key, the one who writes last wins.
What a change means for running workers is not known here, see `Supervisor.apply`.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any

from frameloom.model.errors import SiteError
from frameloom.model.names import view_of

from . import edit
from .document import parse, read_text
from .environment import escape
from .load import from_text
from .model import Site
from .problems import InvalidSite, Path, Problem, shown
from .render import plain
from .rules import OWNERS, SECTIONS
from .specs import SERVER, SINK_PARAMS, VIEW_PARAMS, WEBRTC

_ATTEMPTS = 5
_LONGEST_STEM = 40  # of a name that something is added to
_BOM = "\ufeff"
# What may stand in the place of a mapping, by how deep it stands: `hall: URL`, and in a camera `view: false`.
_SHORT_FORMS: dict[int, tuple[str, type]] = {2: ("url", str), 3: ("enabled", bool)}

Change = Callable[["_Draft"], None]


class SiteFile:
    """One `site.yaml` that commands may change. Every method returns the site as it is then.

    All raise `SiteError` with the old file intact: `InvalidSite` where the file, before or after the change, would
    not be valid; otherwise for a name that is not there, and where the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], environment: Mapping[str, str] | None = None) -> None:
        self.path = FilePath(path)
        self._environment = os.environ if environment is None else environment
        self._changing = threading.Lock()

    def load(self) -> Site:
        """The site as the file says it now."""
        return from_text(read_text(self.path, str(self.path)), str(self.path), self._environment)

    def set_params(self, name: str, values: Mapping[str, Any]) -> Site:
        """Set parameters of a processor, a sink or a camera's view ('hall.view').

        None removes one, which so goes back to its declared default.
        A value that the file says already, be it as `${NAME}`, stays as it is written.
        """
        return self._apply(lambda draft: draft.set_params(name, values))

    def set_enabled(self, name: str, enabled: bool) -> Site:
        """Switch a camera, processor or sink, a camera's view ('hall.view') or the server ('server') on or off."""
        return self._apply(lambda draft: draft.set_enabled(name, enabled))

    def add_camera(self, name: str, settings: str | Mapping[str, Any], *, references: bool = False) -> Site:
        """Add a camera: its URL, or a mapping of settings.

        Dollar signs mean themselves, unless `references` is set: then `${NAME}` reads the environment. That is for
        people at the keyboard; what comes over a network must not be able to read the environment.
        """
        return self._apply(lambda draft: draft.add("cameras", name, settings, references))

    def change_camera(self, name: str, settings: Mapping[str, Any]) -> Site:
        """Set keys of a camera; None removes one, which so goes back to its default. Dollar signs mean themselves."""
        return self._apply(lambda draft: draft.change_entry("cameras", name, settings))

    def add_processor(self, name: str, settings: Mapping[str, Any]) -> Site:
        """Add a processor: `use` and `stream`, and what else it needs."""
        return self._apply(lambda draft: draft.add("processors", name, settings, False))

    def add_recorder(self, camera: str) -> str:
        """Add a recorder of `camera` that records by command; returns its name. One that is there is enough."""
        added: list[str] = []

        def add(draft: _Draft) -> None:
            there = [
                name
                for name, sink in draft.site.sinks.items()
                if sink.kind == "record" and sink.stream == camera
            ]
            added[:] = there[:1] or [draft.free_name(f"{camera[:_LONGEST_STEM]}-rec")]
            if there:
                return
            draft.add("sinks", added[0], {"kind": "record", "stream": camera, "mode": "command"}, False)

        self._apply(add)
        return added[0]

    def remove(self, name: str) -> Site:
        """Remove a camera, processor or sink, and the comments within its entry; those above it stay."""
        return self._apply(lambda draft: draft.remove(name))

    def remove_camera(self, name: str) -> list[str]:
        """Remove a camera and all that reads it; returns the names of what went with it."""
        removed: list[str] = []

        def remove(draft: _Draft) -> None:
            removed[:] = readers_of(draft.site, name)
            for one in [*removed, name]:
                draft.remove(one)

        self._apply(remove)
        return removed

    def text(self) -> str:
        """All that the file says."""
        return read_text(self.path, str(self.path))

    def site_of(self, text: str) -> Site:
        """The site that `text` would describe if the file said it."""
        return from_text(text, str(self.path), self._environment)

    def put(self, before: str, after: str) -> bool:
        """Let the file say `after`, whatever that is; False if it does not say `before`."""
        with self._changing:
            return _replace(self.path, before, after)

    def _apply(self, change: Change) -> Site:
        with self._changing:
            for _ in range(_ATTEMPTS):
                before = read_text(self.path, str(self.path))
                after, site = self._changed(before, change)
                if after == before or _replace(self.path, before, after):
                    return site
        raise SiteError(f"{self.path}: not saved: something else changes the file all the time")

    def _changed(self, before: str, change: Change) -> tuple[str, Site]:
        bom = _BOM if before.startswith(_BOM) else ""
        text = before.removeprefix(_BOM)
        draft = _Draft(text, from_text(text, str(self.path), self._environment))
        change(draft)
        if draft.text == text:
            return before, draft.site
        site = self._read_back(draft.text)
        if not _same(site.document.data, draft.wanted):
            raise _refuse(self.path)
        return bom + draft.text, site

    def _read_back(self, text: str) -> Site:
        """The site that `text` describes. Lines of a text that nobody has seen are not named."""
        try:
            return from_text(text, str(self.path), self._environment)
        except InvalidSite as error:
            problems = [Problem(0, 0, problem.where, problem.message) for problem in error.problems]
            raise InvalidSite(f"{self.path}: not saved", problems) from None


def readers_of(site: Site, camera: str) -> list[str]:
    """The processors and sinks that cannot be without `camera`, in the order of the file."""
    gone = {camera}
    while more := {name for name, one in site.processors.items() if one.stream in gone and name not in gone}:
        gone |= more
    sinks = [name for name, one in site.sinks.items() if gone & {one.stream, getattr(one, "on", None)}]
    return [*(name for name in site.processors if name in gone), *sinks]


class _Draft:
    """A text that is being changed, and beside it, as data, what it is to say in the end."""

    def __init__(self, text: str, site: Site) -> None:
        self.text = text
        self.site = site
        self.wanted: Any = parse(text, site.file).data

    def set_params(self, name: str, values: Mapping[str, Any]) -> None:
        path, present, known = self._params(name)
        for key, value in plain(dict(values), name).items():
            if known and key not in known:
                raise self._unknown(f"{name}.{key}", list(known), "parameter")
            if value is None:
                self._remove((*path, key), keep_comments=True)
            elif key not in present or not _says(present[key], value):
                self._set((*path, key), escape(value))

    def _params(self, name: str) -> tuple[Path, Mapping[str, Any], tuple[str, ...]]:
        """Where the parameters of `name` are set, what the file says of them, and their names if we know them."""
        if name in self.site.processors:
            return ("processors", name, "params"), self.site.processors[name].params, ()
        if name in self.site.sinks:
            sink = self.site.sinks[name]
            return ("sinks", name), sink.model_dump(exclude_unset=True), SINK_PARAMS[sink.kind]
        camera = self._viewed(name)
        if camera is None:
            known = [*self.site.processors, *self.site.sinks, *map(view_of, self.site.cameras)]
            raise self._unknown(name, known, "processor, sink or view")
        view = self.site.cameras[camera].view
        return ("cameras", camera, "view"), view.model_dump(exclude_unset=True), VIEW_PARAMS

    def _viewed(self, name: str) -> str | None:
        """The camera whose view `name` is."""
        return next((camera for camera in self.site.cameras if view_of(camera) == name), None)

    def set_enabled(self, name: str, enabled: bool) -> None:
        path, is_enabled = self._switch(name)
        if is_enabled != enabled:
            self._set(path, enabled)

    def add(self, section: str, name: str, settings: str | Mapping[str, Any], references: bool) -> None:
        if name in self._names():
            raise SiteError(f"{self.site.file}: {shown(name)} is there already, allowed: a name of its own")
        value = plain(settings if isinstance(settings, str) else dict(settings), name)
        self._set((section, name), value if references else escape(value))

    def change_entry(self, section: str, name: str, settings: Mapping[str, Any]) -> None:
        if self._names().get(name) != section:
            raise self._unknown(name, list(getattr(self.site, section)), section.removesuffix("s"))
        present = getattr(self.site, section)[name].model_dump(exclude_unset=True)
        for key, value in plain(dict(settings), name).items():
            if value is None:
                self._remove((section, name, key), keep_comments=True)
            elif key not in present or not _says(present[key], value):
                self._set((section, name, key), escape(value))

    def remove(self, name: str) -> None:
        section = self._names().get(name)
        if section is None:
            raise self._unknown(name, list(self._names()), "camera, processor or sink")
        self._remove((section, name))

    def _switch(self, name: str) -> tuple[Path, bool]:
        """Where it is said whether `name` is on, and what is said there now."""
        if name == SERVER:
            return (SERVER, "enabled"), self.site.server.enabled
        if name == WEBRTC:
            return (SERVER, WEBRTC), self.site.server.webrtc
        camera = self._viewed(name)
        if camera is not None:
            return self._view_switch(camera), self.site.cameras[camera].view.enabled
        section = self._names().get(name)
        if section is None:
            raise self._unknown(name, [*self._names(), SERVER, WEBRTC], "worker")
        return (section, name, "enabled"), getattr(self.site, section)[name].enabled

    def _view_switch(self, camera: str) -> Path:
        """`view: false` says it best, where there is not a mapping already."""
        path: Path = ("cameras", camera, "view")
        return (*path, "enabled") if isinstance(self.site.document.value(path), dict) else path

    def free_name(self, stem: str) -> str:
        """`stem`, with a number if it is taken."""
        taken = {*self._names(), *OWNERS}
        numbered = (f"{stem}-{number}" for number in itertools.count(2))
        return next(name for name in itertools.chain([stem], numbered) if name not in taken)

    def _names(self) -> dict[str, str]:
        """The section of each name."""
        return {name: section for section in SECTIONS for name in getattr(self.site, section)}

    def _unknown(self, name: str, known: list[str], what: str) -> SiteError:
        return SiteError(
            f"{self.site.file}: no {what} {shown(name)}, allowed: {', '.join(known) or 'none is there'}"
        )

    def _set(self, path: Path, value: Any) -> None:
        self._lengthen(path)
        self._place(path[:-1])[path[-1]] = value
        self.text = edit.set_value(self.text, path, self.wanted)

    def _remove(self, path: Path, *, keep_comments: bool = False) -> None:
        place = self.wanted
        for part in path[:-1]:
            place = place.get(part) or {}
        if place.pop(path[-1], None) is not None:
            self.text = edit.remove(self.text, path, keep_comments=keep_comments)

    def _lengthen(self, path: Path) -> None:
        """Make room for more keys where a short form stands: a camera's URL, a view's true or false."""
        for length, (key, short) in _SHORT_FORMS.items():
            if path[0] != "cameras" or length >= len(path):
                return
            entry = path[:length]
            above = self._place(entry[:-1])
            if isinstance(above.get(entry[-1]), short):
                above[entry[-1]] = {key: above[entry[-1]]}
                self.text = edit.lengthen(self.text, entry, key)

    def _place(self, path: Path) -> dict[Any, Any]:
        """The mapping at `path` of what is wanted, made if there is none."""
        place: dict[Any, Any] = self.wanted
        for part in path:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        return place


def _same(a: Any, b: Any) -> bool:
    """Whether two pieces of data say the same; a key with nothing after it says as much as no key."""
    if isinstance(a, dict | None) and isinstance(b, dict | None):
        a, b = _filled(a), _filled(b)
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _says(present: Any, value: Any) -> bool:
    """Whether what the file says is `value`; a reference to the environment always gives text."""
    if isinstance(present, str) and isinstance(value, int | float):
        with suppress(SiteError):
            present = parse(present, "").data
    return _same(present, value)


def _filled(data: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (data or {}).items() if value is not None and value != {}}


def _refuse(path: FilePath) -> SiteError:
    return SiteError(
        f"{path}: not saved: the value is shared with others through an anchor (&), or written in a way that cannot "
        "be changed without changing more; edit the file by hand"
    )


def _replace(path: FilePath, before: str, after: str) -> bool:
    """Put `after` in the place of the file, whole or not at all; False if the file no longer says `before`."""
    target = FilePath(os.path.realpath(path))
    if not os.access(target, os.W_OK):
        raise SiteError(f"{path}: not saved: the file is read-only")
    try:
        temporary = _write_beside(target, after.encode())
        try:
            if target.read_bytes() != before.encode():
                return False
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SiteError(f"{path}: not saved: {error.strerror}; the old file is unchanged") from None
    _sync_folder(target.parent)
    return True


def _write_beside(target: FilePath, data: bytes) -> FilePath:
    """A complete, synced temporary file beside `target`, with its owner and mode; nothing is left on failure."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = FilePath(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            _take_rights(target, stream.fileno())
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink()
        raise
    return temporary


def _take_rights(target: FilePath, descriptor: int) -> None:
    """Mode, group and owner of `target`, as far as we may: only root can give a file away."""
    status = target.stat()
    with suppress(PermissionError):
        os.fchown(descriptor, -1, status.st_gid)
        os.fchown(descriptor, status.st_uid, -1)
    os.fchmod(descriptor, status.st_mode & 0o7777)


def _sync_folder(folder: FilePath) -> None:
    """The new name, too, outlives a power cut."""
    with suppress(OSError):  # the file is in its place already; some file systems cannot do this
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
