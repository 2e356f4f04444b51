"""What steers is light: what an import really loads, which import-linter cannot see."""

import subprocess
import sys

import pytest

CODECS = {"av", "cv2", "onnxruntime"}
WEB = {"fastapi", "starlette", "uvicorn"}
SHOW_LOADED = "import {module}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"


def loaded_by(module: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_LOADED.format(module=module)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["model", "bus", "control", "site", "server", "cli"])
def test_no_codec_is_loaded(package: str) -> None:
    assert loaded_by(f"frameloom.{package}") & CODECS == set()


@pytest.mark.parametrize("package", ["model", "bus", "control"])
def test_no_web_framework_is_loaded(package: str) -> None:
    assert loaded_by(f"frameloom.{package}") & WEB == set()


def test_the_measure_sees_what_it_looks_for() -> None:
    assert {"av", "cv2", "uvicorn"} <= loaded_by("av, cv2, uvicorn")
