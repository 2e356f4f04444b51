"""The sample site file loads, and so does what it shows in comments."""

from __future__ import annotations

import re

from frameloom.site.load import from_text
from frameloom.site.specs import specs
from frameloom.site.template import SITE_TEMPLATE

COMMENTED_KEY = re.compile(r"^( *)# ( *[\w-]+:)", re.MULTILINE)


def test_the_template_is_a_site() -> None:
    site = from_text(SITE_TEMPLATE, "site.yaml", {})
    assert [spec.name for spec in specs(site)] == ["film", "film.view", "film-motion", "server", "webrtc"]


def test_it_keeps_to_this_machine_and_holds_no_password() -> None:
    site = from_text(SITE_TEMPLATE, "site.yaml", {})
    assert site.server.host == "127.0.0.1"
    assert "password: ${" in SITE_TEMPLATE


def test_what_it_shows_in_comments_is_right_too() -> None:
    text = COMMENTED_KEY.sub(r"\1\2", SITE_TEMPLATE)
    site = from_text(text, "site.yaml", {"YARD_PASSWORD": "hunter2"})
    assert list(site.cameras) == ["film", "yard", "desk"]
    assert site.cameras["yard"].username == "admin"
    assert list(site.sinks) == ["film-rec", "film-small"]
    assert site.limits.hang_s == 30
