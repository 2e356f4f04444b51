"""The runner of the documents' code blocks: it finds them, runs them, and does not let a broken one pass."""

import textwrap
from pathlib import Path

import pytest

from tests.house.documents import Block, blocks_of, commands_of, modules_beside, problems_of, run_block

DOCUMENT = """
# A document

```python one.py
print("one")
```

- an item
  ```console site
  $ echo a \\
  >   b
  a b
  $ true
  ```

<!-- not run: needs two machines -->
```python no-run
one_machine(two)
```

```yaml site.yaml
cameras: {}
```

```python
print(SOURCE)
```

```json
{}
```
"""
FENCE = "`" * 3


@pytest.fixture
def blocks(tmp_path: Path) -> list[Block]:
    path = tmp_path / "document.md"
    path.write_text(DOCUMENT)
    return list(blocks_of(path, root=tmp_path))


def only_block(tmp_path: Path, info: str, text: str, above: str = "") -> Block:
    path = tmp_path / "document.md"
    path.write_text(f"{above}\n{FENCE}{info}\n{text}\n{FENCE}\n")
    (block,) = blocks_of(path, root=tmp_path)
    return block


def test_blocks_are_found_with_their_line_and_language(blocks: list[Block]) -> None:
    assert [str(block) for block in blocks][:2] == ["document.md:4", "document.md:9"]
    assert [block.language for block in blocks] == ["python", "console", "python", "yaml", "python", "json"]
    assert [block.is_run for block in blocks] == [True, True, False, True, True, False]
    assert [block.wants_demo for block in blocks] == [False, True, False, False, True, False]
    assert [problem for block in blocks for problem in problems_of(block)] == []


def test_a_named_block_is_a_module_for_the_others(blocks: list[Block]) -> None:
    assert modules_beside(blocks[3], blocks) == {"one.py": 'print("one")\n'}


def test_commands_of_an_indented_console_block(blocks: list[Block]) -> None:
    assert list(commands_of(blocks[1])) == ["echo a    b", "true"]


@pytest.mark.parametrize(
    ("info", "text", "problem"),
    [
        ("bash", "ls", "write `console`"),
        ("python skip", "", "unknown words"),
        ("python no-run", "", "wants a line above"),
        ("console", "ls", "without a line that begins"),
    ],
)
def test_a_badly_marked_block_is_found(tmp_path: Path, info: str, text: str, problem: str) -> None:
    (found,) = problems_of(only_block(tmp_path, info, text))
    assert problem in found


@pytest.mark.parametrize(
    ("info", "text"),
    [("python", "raise SystemExit(3)"), ("console", "$ true\n$ exit 3"), ("python", "print(SOURCE)")],
)
def test_a_block_that_fails_is_reported(tmp_path: Path, info: str, text: str) -> None:
    block = only_block(tmp_path, info, text)
    with pytest.raises(AssertionError, match=r"document\.md:2.*exit code"):
        run_block(block, tmp_path, tmp_path, {})


def test_a_block_runs_with_our_commands_and_the_demo_site(tmp_path: Path) -> None:
    text = f"""
        import os
        assert SOURCE == "rtsp://127.0.0.1:1/hall"
        assert os.environ["FRAMELOOM_RUNTIME_DIR"] == {str(tmp_path)!r}
    """
    block = only_block(tmp_path, "python", textwrap.dedent(text))
    run_block(block, tmp_path, tmp_path, {"SOURCE": "rtsp://127.0.0.1:1/hall"})
    run_block(only_block(tmp_path, "console", '$ [ "$(command -v pytest)" ]'), tmp_path, tmp_path, {})
