"""What each command does. Who may give one, and how it arrives, belongs to `frameloom.control.listener`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from frameloom.model.errors import CommandError, FrameloomError
from frameloom.model.worker import WorkerSpec

from . import commands
from .editing import Editable, Editor
from .supervisor import Supervisor

_log = logging.getLogger(__name__)

Reload = Callable[[], Sequence[WorkerSpec]]


class Dispatcher:
    """Carries out commands on a supervisor, each within its time.

    reload       reads the site's file again, in another thread; raises `FrameloomError` if it is not valid
    file         the site's file, for who edits it by command
    on_shutdown  called when a client wants the site to end; must return at once
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        reload: Reload | None = None,
        file: Editable | None = None,
        on_shutdown: Callable[[], None] | None = None,
    ) -> None:
        self.supervisor = supervisor
        self._reload = reload
        self._editor = Editor(supervisor, file, reload) if file and reload else None
        self._on_shutdown = on_shutdown

    async def answer(self, command: commands.Command) -> Any:
        """The result; raises `CommandError`.

        'timeout' does not undo anything: the command goes on, and its effect shows in the state.
        """
        task = self.supervisor.in_background(self._carry_out(command))
        done, _ = await asyncio.wait({task}, timeout=command.timeout_s)
        if not done:
            message = f"{command.command}: no result within {command.timeout_s:g} s; it may still take effect"
            raise CommandError("timeout", message)
        return self._result(task)

    def _result(self, task: asyncio.Task[Any]) -> Any:
        if task.cancelled():
            raise CommandError("stopping", f"site {self.supervisor.site!r} is being stopped")
        try:
            return task.result()
        except CommandError:
            raise
        except FrameloomError as error:
            raise CommandError("refused", str(error)) from error
        except Exception as error:
            _log.exception("command")
            raise CommandError("internal", f"{type(error).__name__}: {error}") from error

    async def _carry_out(self, command: commands.Command) -> Any:
        supervisor = self.supervisor
        match command:
            case commands.Start():
                return await supervisor.start_workers(command.names)
            case commands.Stop():
                return await supervisor.stop_workers(command.names)
            case commands.Restart():
                return await supervisor.restart_workers(command.names)
            case commands.Set():
                return await supervisor.set_params(command.name, command.values)
            case commands.Tell():
                return await supervisor.tell(command.name, command.tell, command.args)
            case commands.Reload():
                return await self._apply_file()
            case commands.OfFile():
                return await self._edit(command)
            case _:
                return self._at_once(command)

    def _at_once(self, command: commands.Command) -> Any:
        supervisor = self.supervisor
        match command:
            case commands.Status() | commands.Subscribe():
                supervisor.sample()
                return supervisor.snapshot()
            case commands.Clear():
                return supervisor.clear_errors(command.names)
            case commands.Logs():
                lines = supervisor.logs(command.name, command.lines, command.after)
                return {"name": command.name, "lines": [line._asdict() for line in lines]}
            case commands.Shutdown():
                return self._shutdown()
            case _:
                return {"site": supervisor.site}

    async def _apply_file(self) -> Any:
        if self._reload is None:
            raise CommandError("unsupported", f"site {self.supervisor.site!r} has no file to read again")
        try:
            return asdict(await self.supervisor.apply_read(self._reload))
        except CommandError:
            raise
        except FrameloomError as error:
            raise CommandError("site-error", str(error)) from error

    async def _edit(self, command: commands.OfFile) -> Any:
        if self._editor is None:
            raise CommandError("unsupported", f"site {self.supervisor.site!r} has no file to change")
        return await self._editor.carry_out(command)

    def _shutdown(self) -> Any:
        if self._on_shutdown is None:
            raise CommandError("unsupported", f"site {self.supervisor.site!r} is ended by its program only")
        self._on_shutdown()
        return {"stopping": self.supervisor.site}
