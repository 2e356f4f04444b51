"""Every code block of README.md and docs/ runs; what a block may say is described in CONTRIBUTING.md."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.demo import DemoSite, demo_site
from tests.house.documents import (
    ROOT,
    Block,
    blocks_of,
    document_paths,
    modules_beside,
    problems_of,
    run_block,
)

BLOCKS = [block for path in document_paths() if path.exists() for block in blocks_of(path)]
RUN_BLOCKS = [block for block in BLOCKS if block.is_run]


@pytest.fixture(scope="module", autouse=True)
def demo(module_runtime_dir: Path) -> Iterator[DemoSite | None]:
    """One demo site for all blocks that want one; None where none does."""
    if not any(block.wants_demo for block in RUN_BLOCKS):
        yield None
        return
    with demo_site(module_runtime_dir) as site:
        yield site


def test_the_readme_shows_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make run" in text
    assert "make test" in text


def test_every_block_is_marked_well() -> None:
    assert [problem for block in BLOCKS for problem in problems_of(block)] == []


@pytest.mark.parametrize("block", RUN_BLOCKS, ids=str)
def test_block(block: Block, tmp_path: Path, runtime_dir: Path, demo: DemoSite | None) -> None:
    for name, text in modules_beside(block, BLOCKS).items():
        (tmp_path / name).write_text(text)
    if demo is not None and block.wants_demo:
        names = {"SOURCE": demo.source, "FILM": str(demo.film), "ADDRESS": demo.url.rstrip("/")}
        run_block(block, tmp_path, demo.runtime_dir, names)
    else:
        run_block(block, tmp_path, runtime_dir, {})
