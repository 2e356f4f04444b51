"""What the build takes and gives: locked by hash, free of addresses, small."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from tools.web_build import WEB, build

# Compressed. A place that is seldom opened loads its part then: the editor of site.yaml is the largest.
MOST_AT_FIRST_BYTES = 100_000
MOST_BYTES = 320_000
# Names of XML languages, the page that explains an error of Svelte's, an example in a form: none is ever asked.
NAMES = re.compile(r"https?://(www\.w3\.org/|svelte\.dev/e/|192\.168\.0\.\d+/)")


def test_the_lock_pins_by_hash_and_says_no_address() -> None:
    text = (WEB / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []
    assert len(packages) > 30
    assert "resolved" not in text
    assert "registry" not in text


def test_what_is_declared_is_exact() -> None:
    declared = json.loads((WEB / "package.json").read_text())
    versions = {**declared["dependencies"], **declared["devDependencies"]}
    assert [name for name, version in versions.items() if not re.fullmatch(r"[\d.]+", version)] == []


def asked_at_first(built: Path) -> list[str]:
    """The files that the page itself names."""
    asked = re.findall(r'(?:src|href)="([^"]+)"', (built / "index.html").read_text())
    return [each.removeprefix("/static/") for each in asked]


def compressed_bytes(files: list[Path]) -> int:
    return sum(len(gzip.compress(path.read_bytes())) for path in files)


def test_the_build_is_small_and_needs_no_network(built: Path) -> None:
    files = [path for path in built.iterdir() if path.suffix in {".html", ".js", ".css", ".svg"}]
    assert {"index.html", "icon.svg"} <= {path.name for path in files}
    assert compressed_bytes(files) < MOST_BYTES
    asked = asked_at_first(built)
    assert compressed_bytes([path for path in files if path.name in asked]) < MOST_AT_FIRST_BYTES
    for path in files:
        assert re.findall(r"https?://[\w.]+", NAMES.sub("", path.read_text())) == [], path.name


def test_the_server_can_serve_it(built: Path) -> None:
    """Everything lies in one folder, and the page asks for it below /static/."""
    assert [path.name for path in built.iterdir() if path.is_dir()] == []
    asked = asked_at_first(built)
    assert len(asked) >= 3
    assert [name for name in asked if not (built / name).is_file()] == []


def test_what_is_up_to_date_is_not_built_again(built: Path) -> None:
    before = (built / "index.html").stat().st_mtime_ns
    assert build(built) is False
    assert (built / "index.html").stat().st_mtime_ns == before
