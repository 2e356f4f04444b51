"""The house rules that no other tool checks; run by `make check`, needs nothing but Python.

Each rule is a function from the repository's files to findings, `path:line: what is wrong`. Style, types and
import layers are the business of ruff, mypy and import-linter (see pyproject.toml), not of this file.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
LARGEST_FILE_BYTES = 1_000_000
LONGEST_FUNCTION_LINES = 60
MARKDOWN_LINK = re.compile(r"\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]: *(\S+)", re.MULTILINE)

MEDIA_SUFFIXES = set(
    ".264 .265 .aac .avi .bmp .flv .gif .h264 .h265 .heic .hevc .jpeg .jpg .m4a .m4v .mjpeg .mjpg .mkv .mov "
    ".mp3 .mp4 .mpeg .mpg .npy .npz .ogg .png .tif .tiff .wav .webm .webp .y4m .yuv".split()
)
PICTURE_FOLDERS = ("docs/images/", "web/public/")
PICTURE_SUFFIXES = {".png", ".webp"}
FOREIGN_LOCKS = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock"}

# Written with a character class each, so that this file does not find itself.
FORBIDDEN = {
    "a path of one machine": re.compile(
        r"(?<![\w.-])/(?:[w]ork/\w|[r]oot/\.|[h]ome/\w|[U]sers/\w|[o]pt/(?:pypi|wheels)|[t]mp/(?!frameloom)\w)[\w./-]*"
    ),
    "the address of a package registry": re.compile(
        r"[p]ypi\.org/simple|[f]iles\.pythonhosted\.org|[r]egistry\.(?:npmjs|yarnpkg)\b"
        r"|--(?:extra-)?[i]ndex-url[ =]\w+:"
    ),
}

Finding = str
Rule = Callable[[list[Path]], Iterator[Finding]]


def repository_files() -> list[Path]:
    """Every file that is, or would be, committed; relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted({Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()})


def read_text(path: Path) -> str | None:
    """The text of a file, or None where it is not text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def texts(files: list[Path], *suffixes: str) -> Iterator[tuple[Path, str]]:
    """The text files among `files`, of the given suffixes or of all."""
    for path in files:
        if not suffixes or path.suffix in suffixes:
            text = read_text(path)
            if text is not None:
                yield path, text


def modules(files: list[Path]) -> Iterator[tuple[Path, ast.Module]]:
    """The Python files among `files`; what Python 3.11 cannot read is a finding of ruff's."""
    for path, text in texts(files, ".py"):
        with contextlib.suppress(SyntaxError):
            yield path, ast.parse(text, feature_version=(3, 11))


def no_machine_in_the_text(files: list[Path]) -> Iterator[Finding]:
    """No file holds a path of one machine or the address of a registry."""
    for path, text in texts(files):
        for number, line in enumerate(text.splitlines(), 1):
            for what, pattern in FORBIDDEN.items():
                if found := pattern.search(line):
                    yield f"{path}:{number}: {what}: {found[0]}"


def no_foreign_files(files: list[Path]) -> Iterator[Finding]:
    """No large file, no film or picture, no lock of another tool."""
    for path in files:
        size_bytes = (ROOT / path).stat().st_size
        if size_bytes > LARGEST_FILE_BYTES:
            yield f"{path}: {size_bytes} bytes, at most {LARGEST_FILE_BYTES} are allowed"
        if path.name in FOREIGN_LOCKS:
            yield f"{path}: the locks are requirements/*.txt (make lock)"
        if path.suffix.lower() in MEDIA_SUFFIXES and not is_allowed_picture(path):
            yield f"{path}: no media in the repository; render it (frameloom.testing)"


def is_allowed_picture(path: Path) -> bool:
    """Pictures for the documents and the browser are the one exception."""
    return path.suffix.lower() in PICTURE_SUFFIXES and path.as_posix().startswith(PICTURE_FOLDERS)


def short_functions(files: list[Path]) -> Iterator[Finding]:
    """No function is longer than a screen, its docstring not counted."""
    for path, module in modules(files):
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = code_lines(node)
                if lines > LONGEST_FUNCTION_LINES:
                    want = f"want {LONGEST_FUNCTION_LINES} at most"
                    yield f"{path}:{node.lineno}: {node.name} has {lines} lines, {want}"


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def packages_say_what_they_are_for(files: list[Path]) -> Iterator[Finding]:
    """Every folder of modules under src is a package, and every module there has a docstring."""
    ours = [path for path in files if path.suffix == ".py" and path.parts[0] == "src"]
    for folder in sorted({path.parent for path in ours}):
        if folder / "__init__.py" not in ours:
            yield f"{folder}: has modules but no __init__.py"
    for path, module in modules(ours):
        if not ast.get_docstring(module):
            yield f"{path}:1: no docstring: what is it for, and what does not belong in it?"


def changelog_is_kept(files: list[Path]) -> Iterator[Finding]:
    """CHANGELOG.md has a place for what comes next."""
    text = read_text(Path("CHANGELOG.md")) if Path("CHANGELOG.md") in files else ""
    if not re.search(r"^## \[Unreleased\]", text or "", re.MULTILINE):
        yield "CHANGELOG.md: no section `## [Unreleased]`"


def without_code(text: str) -> str:
    """Markdown with its code blanked, line numbers kept."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n")

    return re.sub(r"^( *)(```+|~~~+).*?^\1\2 *$|`[^`\n]+`", blank, text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a Markdown file."""
    # Code in a heading counts, code blocks do not: a `# comment` in them is no heading.
    text = re.sub(r"^( *)(```+|~~~+).*?^\1\2 *$", "", read_text(path) or "", flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.*?)#* *$", text, re.MULTILINE)
    names = [re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings]
    repeated = {f"{name}-{number}" for name in names for number in range(1, names.count(name))}
    return {*names, *repeated, *re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)}


def links_resolve(files: list[Path]) -> Iterator[Finding]:
    """Every relative link in a Markdown file leads to a file, and its #anchor to a heading."""
    for path, text in texts(files, ".md"):
        plain = without_code(text)
        for match in MARKDOWN_LINK.finditer(plain):
            problem = broken_link(path, match[1] or match[2])
            if problem:
                yield f"{path}:{plain.count(chr(10), 0, match.start()) + 1}: {problem}"


def broken_link(path: Path, link: str) -> str | None:
    """What is wrong with one link of the file `path`, or None; links to other sites are not followed."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
    if not (ROOT / target).exists():
        return f"the link {link} leads nowhere"
    if parts.fragment and target.suffix == ".md" and parts.fragment not in anchors(target):
        return f"the link {link} names no heading of {target}"
    return None


RULES: tuple[Rule, ...] = (
    no_machine_in_the_text,
    no_foreign_files,
    short_functions,
    packages_say_what_they_are_for,
    changelog_is_kept,
    links_resolve,
)


def main() -> int:
    """Print every finding; 1 where there is one."""
    files = repository_files()
    findings = [finding for rule in RULES for finding in rule(files)]
    for finding in findings:
        print(finding)
    print(f"house check: {len(files)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
