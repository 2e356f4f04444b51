"""Bring `.venv` up to date with a lock: `python3 tools/environment.py run|dev|bench|lock`.

Needs nothing but Python 3.11 and pip. A lock is installed once, and again only when the lock, the Python or
the folder changes (`.venv/frameloom-stamps.json`). An environment that is there is adopted, not rebuilt.
What is installed is decided in pyproject.toml and pinned by `make lock`, not here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "frameloom-stamps.json"
OLDEST_PYTHON = (3, 11)

# dev.txt and bench.txt hold every line of run.txt (tests/house/test_locks.py): each brings what `run` needs.
LOCKS = {name: ROOT / "requirements" / f"{name}.txt" for name in ("run", "dev", "bench", "lock")}
BRINGS = {"run": ("run",), "dev": ("dev", "run"), "bench": ("bench", "run"), "lock": ("lock",)}

# The first sign that stands in pip's output decides.
ADVICE = {
    "THESE PACKAGES DO NOT MATCH THE HASHES": (
        "A downloaded package is not the one that was locked. Do not work around this: find out where your "
        "pip downloads from (pip config list)."
    ),
    "No space left on device": "The disk is full: the environment takes about 1 GB.",
    "Retrying (Retry(": "The package index could not be reached: is there a network, or a proxy to set?",
    "No matching distribution": (
        "The package index lacks it or cannot be reached, or there is no ready-made package for this Python "
        "({python}, {machine}): use Python 3.11 to 3.14, or build with a C compiler: PIP_ONLY_BINARY=:none: make ..."
    ),
}


def fail(message: str) -> NoReturn:
    """End with a message for a person, without a traceback."""
    sys.exit(f"\nFrameloom: {message}")


def require_python() -> None:
    """Refuse a Python that is too old, saying what to install."""
    if sys.version_info < OLDEST_PYTHON:
        fail(
            f"needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}.\n"
            "Install one (Debian 12 and later: sudo apt-get install python3 python3-venv) "
            "or name one: make ... PYTHON=python3.11"
        )


def runs(*command: str) -> bool:
    """Whether a command ends well; its output is dropped."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def base_python() -> str:
    """The machine's own Python, where this is that of an activated `.venv`."""
    return str(getattr(sys, "_base_executable", sys.executable))


def create_venv(*options: str) -> None:
    """Create `.venv`; without a pip in it where this Python has none to give (Debian, no python3-venv)."""
    if not runs(base_python(), "-c", "import ensurepip"):
        require_outer_pip()
        options = ("--without-pip", *options)
    print("Creating the virtual environment .venv ...", flush=True)
    done = subprocess.run([base_python(), "-m", "venv", *options, str(VENV)], capture_output=True, text=True)
    if done.returncode != 0:
        fail(
            f"could not create the virtual environment .venv:\n{(done.stdout + done.stderr).strip()}\n"
            "On Debian and Ubuntu: sudo apt-get install python3-venv"
        )


def require_outer_pip() -> None:
    """Without ensurepip the pip of the system fills `.venv` (`pip --python`, since pip 22.3)."""
    if not runs(base_python(), "-m", "pip", "--python", base_python(), "--version"):
        fail(
            "this Python can make no virtual environment: it has neither `ensurepip` nor pip 22.3 or newer.\n"
            "On Debian and Ubuntu: sudo apt-get install python3-venv"
        )


def ensure_venv() -> None:
    """Create `.venv`, adopt the one that is there, or make it anew where it cannot work here."""
    if not VENV.exists():
        return create_venv()
    check = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    moved = read_stamps().get("root", str(ROOT)) != str(ROOT)
    if moved or not runs(str(VENV_PYTHON), "-c", check):
        print("The virtual environment .venv belongs to another folder or Python; it is made anew.")
        create_venv("--clear")
    return None


def pip_command() -> list[str]:
    """pip of `.venv`, or the system's pip that works on `.venv`."""
    if runs(str(VENV_PYTHON), "-m", "pip", "--version"):
        return [str(VENV_PYTHON), "-m", "pip"]
    require_outer_pip()
    return [base_python(), "-m", "pip", "--python", str(VENV_PYTHON)]


def read_stamps() -> dict[str, str]:
    """What is installed: name of the lock to the key it was installed by."""
    try:
        stamps: dict[str, str] = json.loads(STAMPS.read_text())
        return stamps
    except (OSError, ValueError):
        return {}


def write_stamps(names: Iterable[str], root: str = str(ROOT)) -> None:
    """Note what has just been installed, in one step, so that a broken run leaves no false stamp."""
    stamps = {**read_stamps(), **{name: key_of(name) for name in names}, "root": root}
    draft = STAMPS.with_suffix(".new")
    draft.write_text(json.dumps(stamps, indent=1))
    draft.replace(STAMPS)


def key_of(name: str) -> str:
    """A hash over all that decides whether `name` must be installed again."""
    source = ROOT / "pyproject.toml" if name == "project" else LOCKS[name]
    config = (VENV / "pyvenv.cfg").read_bytes()  # holds the Python's version and home
    return hashlib.sha256(source.read_bytes() + config).hexdigest()


def pip_environment() -> dict[str, str]:
    """The user's own pip settings hold (an index of their own, a proxy); nothing here may ask or build."""
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    return {"PIP_ONLY_BINARY": ":all:", **os.environ, **quiet, "PIP_PROGRESS_BAR": "off", "PIP_USER": "0"}


def pip_install(*arguments: str, total: int = 0) -> None:
    """Run `pip install` in `.venv`, with one line of progress; a failure ends with pip's words and advice."""
    command = [*pip_command(), "install", *arguments]
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=pip_environment(), cwd=ROOT
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            lines.append(line.rstrip())
            show_progress(lines, total)
    clear_progress()
    if pip.returncode != 0:
        fail(explain(lines))


def show_progress(lines: list[str], total: int) -> None:
    """One line that rewrites itself, on a terminal only."""
    if not sys.stdout.isatty():
        return
    seen = [line for line in lines if line.startswith(("Collecting", "Requirement already"))]
    name = seen[-1].split("==")[0].split()[-1] if seen else ""
    step = (
        f"{len(seen)} of {total} {name}" if total and not lines[-1].startswith("Installing") else "installing"
    )
    print(f"\r\033[K  {step}", end="", flush=True)


def clear_progress() -> None:
    """Take the line of progress away."""
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)


def explain(lines: list[str]) -> str:
    """pip's last words, and what to do about them."""
    text = "\n".join(lines)
    values = {"python": sys.version.split()[0], "machine": os.uname().machine}
    advice = [words.format(**values) for sign, words in ADVICE.items() if sign in text]
    return "\n".join(["pip could not install the packages. Its last words:", *lines[-12:], *advice[:1]])


def install_lock(name: str) -> None:
    """Install a lock, unless it is installed."""
    if read_stamps().get(name) == key_of(name):
        return
    lock = LOCKS[name]
    total = sum("==" in line and line[0] not in " #" for line in lock.read_text().splitlines())
    print(f"Installing {total} locked packages ({lock.relative_to(ROOT)}) ...", flush=True)
    began_s = time.monotonic()
    pip_install("--require-hashes", "-r", str(lock), total=total)
    write_stamps(BRINGS[name])
    print(f"Installed in {time.monotonic() - began_s:.0f} s.", flush=True)


def install_project() -> None:
    """Install Frameloom itself, so that an edit under src/ is in effect at once."""
    if read_stamps().get("project") == key_of("project"):
        return
    pip_install("--no-deps", "--no-build-isolation", "--editable", ".")
    write_stamps(["project"])


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two `make` at once must not install into one environment."""
    with open(VENV / "frameloom-install.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Bring `.venv` to the state that the lock named on the command line describes."""
    if len(sys.argv) != 2 or sys.argv[1] not in LOCKS:
        fail(f"usage: tools/environment.py {'|'.join(LOCKS)}")
    require_python()
    ensure_venv()
    with one_at_a_time():
        install_lock(sys.argv[1])
        if sys.argv[1] != "lock":
            install_project()


if __name__ == "__main__":
    main()
