"""What tests of supervision share: coroutine tests, quick limits, and a site of real worker processes."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from frameloom.control.client import ControlClient
from frameloom.control.dispatch import Dispatcher
from frameloom.control.lifecycle import Limits
from frameloom.control.listener import Listener
from frameloom.control.local import LocalPlacement
from frameloom.control.supervisor import Supervisor
from frameloom.model.worker import WorkerSpec

HOSTS = Path(__file__).parents[1] / "workers"
PATIENCE_S = 60.0
QUICK = Limits(backoff_s=(0.02, 0.05), jitter=0, terminate_s=0.3, kill_s=0.6, gone_s=30, early_s=0.5)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def spec_of(
    host: str, name: str = "w", *, params: Mapping[str, Any] | None = None, **config: Any
) -> WorkerSpec:
    """A worker that runs a class of tests/workers/hosts.py."""
    return WorkerSpec(name, "test", f"hosts:{host}", config, dict(params or {}), streams=("hall",))


class Site:
    """A supervisor with workers of tests/workers/hosts.py."""

    def __init__(self, specs: tuple[WorkerSpec, ...], **options: Any) -> None:
        self.placement = LocalPlacement(python_path=[str(HOSTS)])
        options = {"limits": QUICK, "placement": self.placement, **options}
        self.supervisor = Supervisor("test", specs, **options)

    def __getitem__(self, name: str) -> dict[str, Any]:
        snapshot = self.supervisor.worker_snapshot(name)
        assert snapshot is not None
        return snapshot

    def state(self, name: str = "w") -> str:
        return str(self[name]["state"])

    def pid(self, name: str = "w") -> int:
        return int(self[name]["pid"])

    def text(self, name: str = "w") -> list[str]:
        return [line.text for line in self.supervisor.logs(name, 500)]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for what a change of state brings about."""
        subscription = self.supervisor.subscribe()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await subscription.changes()
        except TimeoutError:
            raise AssertionError(f"never came about; the state is {self.supervisor.snapshot()}") from None
        finally:
            subscription.close()

    async def until_state(self, state: str, name: str = "w") -> dict[str, Any]:
        await self.until(lambda: self.state(name) == state)
        return self[name]


@asynccontextmanager
async def running_site(*specs: WorkerSpec, **options: Any) -> AsyncIterator[Site]:
    site = Site(specs, **options)
    await site.supervisor.start()
    try:
        yield site
    finally:
        await site.supervisor.stop()


@pytest.fixture
def spec() -> Callable[..., WorkerSpec]:
    """Makes a `WorkerSpec`: `spec(host, name="w", params=None, **config)`."""
    return spec_of


@pytest.fixture
def site() -> Callable[..., Any]:
    """Runs workers: `async with site(spec, ..., **supervisor_options) as site:`."""
    return running_site


@pytest.fixture
def quick() -> Limits:
    """Limits that make a test short."""
    return QUICK


class SiteProcess:
    """A supervisor in a process of its own; see site_process.py."""

    def __init__(self, site: str, workers: list[WorkerSpec], **options: Any) -> None:
        self.site = site
        options["workers"] = [worker.to_json() for worker in workers]
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("site_process.py")), site, json.dumps(options)],
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line that it writes; '' at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ready(self) -> SiteProcess:
        assert self.line() == "ready"
        return self

    def until(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Its first snapshot that fulfils `condition`."""

        async def watch() -> dict[str, Any]:
            client = await ControlClient.connect(self.site)
            async with client, aclosing(client.watch()) as snapshots, asyncio.timeout(PATIENCE_S):
                async for snapshot in snapshots:
                    if condition(snapshot):
                        return snapshot
            raise AssertionError("the site has ended")

        return asyncio.run(watch())

    def pids(self, *names: str) -> list[int]:
        """Numbers of the workers once all of them have reported."""
        workers = self.until(lambda s: all(s["workers"][name]["report"] for name in names))["workers"]
        return [workers[name]["pid"] for name in names]

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def site_process(runtime_dir: Path) -> Iterator[Callable[..., SiteProcess]]:
    """Starts supervisors: `site_process("site", [spec, ...], limits={...})`; ends those that are left."""
    processes: list[SiteProcess] = []

    def start(site: str, workers: list[WorkerSpec], **options: Any) -> SiteProcess:
        processes.append(SiteProcess(site, workers, **options))
        return processes[-1]

    yield start
    for process in processes:
        process.end()


@asynccontextmanager
async def listening_site(*specs: WorkerSpec, **options: Any) -> AsyncIterator[Site]:
    reload = options.pop("reload", None)
    on_shutdown = options.pop("on_shutdown", None)
    async with running_site(*specs, **options) as site:
        listener = Listener(Dispatcher(site.supervisor, reload=reload, on_shutdown=on_shutdown))
        await listener.start()
        try:
            yield site
        finally:
            listener.shut()
            await listener.close()


@pytest.fixture
def listening(runtime_dir: Path) -> Callable[..., Any]:
    """Runs workers with a control socket of site 'test' in this process."""
    return listening_site
