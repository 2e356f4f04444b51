"""What axe finds wrong for people who do not see, hear or point like most."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_GRAVE = ("serious", "critical")
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def findings(page: Page) -> list[dict[str, Any]]:
    """What it calls serious or critical on the page as it is: the rule, and where."""
    answer = Axe().run(page, options={"runOnly": _TAGS, "resultTypes": ["violations"]}).response
    return [_shown(each) for each in answer["violations"] if each["impact"] in _GRAVE]


def _shown(violation: dict[str, Any]) -> dict[str, Any]:
    places = [(node["html"][:200], node["failureSummary"]) for node in violation["nodes"]]
    return {"rule": violation["id"], "help": violation["help"], "where": places}
