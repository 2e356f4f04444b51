"""Pin the dependencies of pyproject.toml in requirements/*.txt, with the hashes of all files of each release.

One version of each package serves every Python from 3.11 and every machine (`--universal`, `--fork-strategy
fewest`). The files name no index: where packages come from is the business of the machine that installs them.
Run by `make lock`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
OPTIONS = (
    "--universal --fork-strategy fewest --python-version 3.11 --generate-hashes --strip-extras "
    "--no-annotate --no-emit-index-url --no-emit-find-links --quiet"
).split()

# In this order: the later ones take the versions of dev.txt, so that one environment can hold them all.
LOCKS: dict[str, list[str]] = {
    "dev": ["pyproject.toml", "--group=build", "--group=test", "--group=check"],
    "run": ["pyproject.toml", "--group=build", "--constraint=requirements/dev.txt"],
    "bench": ["pyproject.toml", "--group=build", "--group=bench", "--constraint=requirements/dev.txt"],
    "lock": ["--group=lock"],
}


def compile_lock(name: str, upgrade: bool) -> None:
    """Write `requirements/<name>.txt`; versions that stand there are kept unless `upgrade`."""
    command = [str(UV), "pip", "compile", *OPTIONS, *LOCKS[name], "--output-file", f"requirements/{name}.txt"]
    environment = {**os.environ, "UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    subprocess.run([*command, *(["--upgrade"] if upgrade else [])], cwd=ROOT, env=environment, check=True)


def main() -> None:
    """Write all locks; `--upgrade` takes the newest versions that pyproject.toml allows."""
    for name in LOCKS:
        print(f"Locking requirements/{name}.txt ...", flush=True)
        compile_lock(name, upgrade="--upgrade" in sys.argv[1:])


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
