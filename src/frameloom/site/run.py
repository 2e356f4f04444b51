"""Runs the site of a file: its workers, its control socket, and every later change of the file.

The file is the truth: what a command changes is written to it, and what a person writes into it is applied, by the
smallest change. A file that is not valid changes nothing; the site goes on as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import watchfiles

from frameloom.control.lifecycle import Limits
from frameloom.control.local import LocalPlacement
from frameloom.control.logs import LogLine
from frameloom.control.runner import run_site
from frameloom.control.supervisor import Supervisor
from frameloom.model.errors import FrameloomError
from frameloom.model.worker import WorkerSpec

from .model import Site
from .save import SiteFile
from .settings import Settings
from .specs import specs

log = logging.getLogger(__name__)

Adapt = Callable[[Site], Site]
_DEBOUNCE_MS = 100


class _Store:
    """What commands change, kept in the file."""

    def __init__(self, file: SiteFile) -> None:
        self._file = file

    def set_params(self, name: str, values: Mapping[str, Any]) -> None:
        self._file.set_params(name, values)

    def set_enabled(self, name: str, enabled: bool) -> None:
        self._file.set_enabled(name, enabled)


async def run_file(
    file: SiteFile,
    *,
    adapt: Adapt = lambda site: site,
    extra: Sequence[WorkerSpec] = (),
    on_ready: Callable[[Supervisor], None] | None = None,
    on_stopping: Callable[[], None] | None = None,
    on_log: Callable[[str, LogLine], None] | None = None,
) -> None:
    """Run until a signal or a shutdown command. Raises `SiteError` at once if the file is not valid.

    adapt   what the command line overrides (`--port`), applied to the file's site each time it is read
    extra   workers that are not in the file
    """
    site = adapt(file.load())

    def specs_of(found: Site) -> list[WorkerSpec]:
        return [*extra, *specs(adapt(found))]

    def wanted() -> list[WorkerSpec]:
        found = file.load()
        if found.name != site.name:
            log.warning("site: the name is now %r; it takes effect at the next start", found.name)
        return specs_of(found)

    supervisor = Supervisor(
        site.name,
        [*extra, *specs(site)],
        limits=_limits(site),
        placement=LocalPlacement(python_path=[str(site.base_dir)]),
        store=_Store(file),
        on_log=on_log,
    )
    watching = asyncio.create_task(_follow(file, supervisor, wanted))
    try:
        await run_site(
            supervisor,
            reload=wanted,
            file=Settings(file, specs_of),
            on_ready=(lambda: on_ready(supervisor)) if on_ready else None,
            on_stopping=on_stopping,
        )
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _follow(file: SiteFile, supervisor: Supervisor, wanted: Callable[[], list[WorkerSpec]]) -> None:
    """Apply the file whenever it has been written, or a link to it been set anew."""
    while True:
        places = {file.path.absolute(), file.path.resolve()}
        async for _ in _written(places):
            await _apply(supervisor, wanted)
            if file.path.resolve() not in places:
                break  # the link leads elsewhere now


def _written(places: set[Path]) -> AsyncIterator[object]:
    """Editors replace a file, so its folder is watched."""
    folders = {place.parent for place in places}

    def ours(_: watchfiles.Change, changed: str) -> bool:
        return Path(changed) in places

    return watchfiles.awatch(*folders, watch_filter=ours, debounce=_DEBOUNCE_MS, recursive=False)


async def _apply(supervisor: Supervisor, wanted: Callable[[], list[WorkerSpec]]) -> None:
    try:
        done = await supervisor.apply_read(wanted)
    except FrameloomError as error:
        log.error("the file is not valid, the site goes on as it is:\n%s", error)
        return
    for word in ("added", "removed", "started", "stopped", "restarted", "changed"):
        if names := getattr(done, word):
            log.info("%s: %s", word, ", ".join(names))
    for name, why in done.refused.items():
        log.error("%s: not changed: %s", name, why)


def _limits(site: Site) -> Limits:
    values = site.limits.model_dump()
    return Limits(**{**values, "backoff_s": tuple(values["backoff_s"])})
