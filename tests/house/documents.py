"""Find and run the code blocks of the documents. What a block may say is described in CONTRIBUTING.md.

Running a demo site for those that want one is the business of `demo.py`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
REASON = re.compile(r"<!-- not run: \S.* -->\s*\Z")
ATTRIBUTES = {"no-run", "site", "site.yaml"}
MODULE = re.compile(r"[a-z_]+\.py")
BLOCK_TIMEOUT_S = 100.0

# Commands that nobody would notice to be wrong: they have to be `console` blocks, which are run.
REFUSED = {"bash", "sh", "shell", "zsh", "pycon", "py", "yml"}


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, its language and attributes, and its text."""

    path: Path
    line: int
    language: str
    attributes: frozenset[str]
    text: str
    reason_given: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"

    @property
    def modules(self) -> set[str]:
        """The file that a Python block is, for other blocks of its document: `python brightness.py`."""
        return {word for word in self.attributes if self.language == "python" and MODULE.fullmatch(word)}

    @property
    def is_site(self) -> bool:
        return self.language == "yaml" and "site.yaml" in self.attributes

    @property
    def is_run(self) -> bool:
        runnable = self.is_site or self.language in ("python", "console")
        return runnable and "no-run" not in self.attributes

    @property
    def wants_demo(self) -> bool:
        names_one = (
            self.language == "python" and re.search(r"\b(SOURCE|FILM|ADDRESS)\b", self.text) is not None
        )
        return names_one or "site" in self.attributes


def document_paths(root: Path = ROOT) -> list[Path]:
    """The documents whose code is run."""
    return sorted([root / "README.md", *root.glob("docs/**/*.md")])


def blocks_of(path: Path, root: Path = ROOT) -> Iterator[Block]:
    """The fenced blocks of one document."""
    text = path.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, *attributes = match["info"].split() or [""]
        indent = len(match["indent"])
        yield Block(
            path=path.relative_to(root),
            line=text.count("\n", 0, match.start()) + 1,
            language=language,
            attributes=frozenset(attributes),
            text="".join(line[indent:] for line in match["body"].splitlines(keepends=True)),
            reason_given=bool(REASON.search(text[: match.start()])),
        )


def modules_beside(block: Block, blocks: Iterable[Block]) -> dict[str, str]:
    """The modules that the blocks of the same document are: name of the file to its text."""
    same = [other for other in blocks if other.path == block.path]
    return {name: other.text for other in same for name in other.modules}


def problems_of(block: Block) -> Iterator[str]:
    """What is wrong with how a block is marked."""
    if block.language in REFUSED:
        yield f"{block}: write `console` (with `$ `), `python` or `yaml` instead of `{block.language}`"
    if unknown := block.attributes - ATTRIBUTES - block.modules:
        yield f"{block}: unknown words {sorted(unknown)}, want some of {sorted(ATTRIBUTES)} or a module's name"
    if "no-run" in block.attributes and not block.reason_given:
        yield f"{block}: `no-run` wants a line above it: <!-- not run: REASON -->"
    if block.language == "console" and not list(commands_of(block)):
        yield f"{block}: a console block without a line that begins with `$ `"


def commands_of(block: Block) -> Iterator[str]:
    """The commands of a console block; a line that ends with a backslash goes on in the next."""
    joined = re.sub(r"\\\n(?:> )?", " ", block.text)
    for line in joined.splitlines():
        if line.startswith("$ "):
            yield line.removeprefix("$ ")


def environment(block: Block, runtime_dir: Path) -> dict[str, str]:
    """The user's shell after `. .venv/bin/activate`, with a runtime folder, and a value for each secret."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python_path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    secrets = dict.fromkeys(re.findall(r"\$\{(\w+)", block.text), "example") if block.is_site else {}
    ours = {"PATH": path, "PYTHONPATH": python_path, "FRAMELOOM_RUNTIME_DIR": str(runtime_dir)}
    return {**os.environ, **secrets, **ours}


def run_block(block: Block, folder: Path, runtime_dir: Path, names: Mapping[str, str]) -> None:
    """Run one block in a folder; AssertionError with its output where the exit code is not 0.

    `runtime_dir` is that of the demo site, or an empty one; `names` are variables that a Python block finds.
    """
    for command in commands_for(block, folder, names):
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(block, runtime_dir),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_TIMEOUT_S,
            check=False,
        )
        what = f"{block}: {shlex.join(command)[:200]}"
        assert done.returncode == 0, f"{what}: exit code {done.returncode}\n{done.stdout}"


def commands_for(block: Block, folder: Path, names: Mapping[str, str]) -> Iterator[list[str]]:
    """What to run for a block, its files written into `folder`."""
    if block.language == "console":
        yield from (["bash", "-c", command] for command in commands_of(block))
    elif block.is_site:
        (folder / "site.yaml").write_text(block.text, encoding="utf-8")
        yield ["frameloom", "check", "site.yaml"]
    else:
        # Always one line, so that line n of the block is line n + 1 of a traceback.
        first = "; ".join(f"{name} = {value!r}" for name, value in names.items())
        (folder / "block.py").write_text(f"{first}\n{block.text}", encoding="utf-8")
        yield [sys.executable, "block.py"]
