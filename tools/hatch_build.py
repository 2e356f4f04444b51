"""Puts the built browser's side into a wheel: what hatchling runs before it packs one.

From a source distribution nothing is built: it holds what was built when it was made.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WebHook(BuildHookInterface[Any]):
    """An editable installation is left alone: `make run` builds there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or not (Path(self.root) / "web" / "package.json").is_file():
            return
        sys.path.insert(0, str(Path(self.root) / "tools"))
        import web_build

        web_build.build()
