"""Commands that show and change the site's file. The file itself is the business of `frameloom.site.settings`.

What is written by such a command is applied before it is answered, by the smallest change, as after any other edit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from frameloom.model.errors import CommandError, SiteError
from frameloom.model.worker import WorkerSpec

from . import commands
from .plan import Change, Does
from .supervisor import Difference, Supervisor

Reload = Callable[[], Sequence[WorkerSpec]]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a text would mean: `problems` (JSON: line, column, path, message), or else the workers it describes.

    notes   what of it is not in effect at once
    """

    problems: list[dict[str, Any]]
    specs: Sequence[WorkerSpec] = ()
    notes: list[str] = field(default_factory=list)


class Editable(Protocol):
    """A site's file. Called in another thread; every method may raise `FrameloomError`, and then changes nothing."""

    def settings(self) -> dict[str, Any]:
        """`file`, `text` without secrets, `version`, `writable`, `schema`."""

    def checked(self, text: str) -> Checked:
        """What the file would mean with `text` in it, in which `***` stands for the secrets that are there."""

    def save(self, text: str, version: str) -> None:
        """Write it. Raises `CommandError` 'changed-meanwhile' if the file is not of that version any more."""

    def version(self) -> str:
        """Of the file as it is now."""

    def source(self, camera: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """`settings` of a source, `***` replaced by what `camera` has there."""

    def readers(self, camera: str) -> list[str]:
        """What cannot be without `camera`."""

    def add_camera(self, name: str, settings: Mapping[str, Any]) -> None:
        """Add one."""

    def change_camera(self, name: str, settings: Mapping[str, Any]) -> None:
        """Set keys of one; None removes a key."""

    def remove_camera(self, name: str) -> None:
        """Remove one, and its readers."""

    def add_recorder(self, camera: str) -> str:
        """Add a recorder of `camera` that records by command; returns its name."""


class Editor:
    """Carries out the commands that concern the file."""

    def __init__(self, supervisor: Supervisor, file: Editable, reload: Reload) -> None:
        self._supervisor = supervisor
        self._file = file
        self._reload = reload
        self._checking = asyncio.Lock()  # it may take long: no more than one thread waits for it

    async def carry_out(self, command: commands.OfFile) -> Any:
        """The result; raises `CommandError`."""
        try:
            return await self._carry_out(command)
        except SiteError as error:
            raise CommandError("site-error", str(error)) from error

    async def _carry_out(self, command: commands.OfFile) -> Any:
        file = self._file
        match command:
            case commands.Settings():
                return await asyncio.to_thread(file.settings)
            case commands.Source():
                return await asyncio.to_thread(file.source, command.name, command.settings)
            case commands.Preview():
                return await self._preview(command.text)
            case commands.Save():
                return await self._save(command)
            case commands.AddCamera():
                return await self._apply(lambda: file.add_camera(command.name, command.settings))
            case commands.ChangeCamera():
                return await self._apply(lambda: file.change_camera(command.name, command.settings))
            case commands.RemoveCamera():
                return await self._remove(command)
            case commands.AddRecorder():
                return await self._add_recorder(command)

    async def _check(self, text: str) -> Checked:
        async with self._checking:
            return await asyncio.to_thread(self._file.checked, text)

    async def _preview(self, text: str) -> dict[str, Any]:
        checked = await self._check(text)
        changes = [] if checked.problems else self._supervisor.planned(checked.specs)
        return {"problems": checked.problems, **_told(changes), "notes": checked.notes}

    async def _save(self, command: commands.Save) -> dict[str, Any]:
        if await asyncio.to_thread(self._file.version) != command.version:
            await asyncio.to_thread(self._file.save, command.text, command.version)  # says so
        checked = await self._check(command.text)
        if checked.problems:
            return {"saved": False, "problems": checked.problems}
        done = await self._apply(lambda: self._file.save(command.text, command.version))
        return {"saved": True, "problems": [], **done, "notes": checked.notes}

    async def _remove(self, command: commands.RemoveCamera) -> dict[str, Any]:
        removed = await asyncio.to_thread(self._file.readers, command.name)
        if command.dry_run:
            return {"removed": removed, "deleted": False}
        done = await self._apply(lambda: self._file.remove_camera(command.name))
        return {"removed": removed, "deleted": True, **done}

    async def _add_recorder(self, command: commands.AddRecorder) -> dict[str, Any]:
        added: list[str] = []
        done = await self._apply(lambda: added.append(self._file.add_recorder(command.name)))
        return {"added": added[0], **done}

    async def _apply(self, write: Callable[[], None]) -> dict[str, Any]:
        """Write and apply. A change that ends the web server is answered before it is made, while one can hear it."""
        planned: asyncio.Future[list[Change]] = asyncio.get_running_loop().create_future()
        version: list[str] = []

        def first() -> None:
            write()
            version.append(self._file.version())

        def on_planned(changes: list[Change]) -> None:
            if not planned.done():
                planned.set_result(changes)

        work = self._supervisor.in_background(
            self._supervisor.apply_read(self._reload, first=first, on_planned=on_planned)
        )
        either: set[asyncio.Future[Any]] = {work, planned}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not planned.done():
            work.result()
        changes = planned.result()
        difference = Difference() if _ends_server(changes) else await work
        return {"version": version[0], **_told(changes), "refused": difference.refused}


def _told(changes: Sequence[Change]) -> dict[str, Any]:
    return {"changes": [change.to_json() for change in changes]}


def _ends_server(changes: Sequence[Change]) -> bool:
    return any(one.kind == "server" and one.does in (Does.RESTARTS, Does.ENDS) for one in changes)
