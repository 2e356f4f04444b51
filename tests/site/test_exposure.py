"""What `site.yaml` says of who may reach the server, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from frameloom.model.errors import SiteError
from frameloom.site.exposure import needs_login
from frameloom.site.load import from_text
from frameloom.site.model import Site
from frameloom.site.specs import specs


def server_of(text: str) -> dict[str, Any]:
    """The settings that the server's worker gets."""
    return next(one.config for one in specs(from_text(text, "/sites/site.yaml", {})) if one.name == "server")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_on_this_machine_only_nobody_is_asked_unless_it_is_said(host: str) -> None:
    assert not needs_login(host) and not needs_login(host, False) and needs_login(host, True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "cams", "localhost.evil.example", ""])
def test_elsewhere_everybody_is_asked_unless_it_is_said(host: str) -> None:
    assert needs_login(host) and needs_login(host, True) and not needs_login(host, False)
    for nonsense in ("false", "no", "", "AUTO"):
        assert needs_login(host, nonsense)


def test_what_the_file_says_reaches_the_server() -> None:
    assert not {"login", "tls"} & server_of("server: {port: 1}\n").keys()
    assert server_of("server: {login: true}\n")["login"] is True
    assert server_of("server: {login: off}\n")["login"] is False
    assert "login" not in server_of("server:\n  login:\n")
    tls = server_of("server: {tls: {cert: tls/cert.pem, key: /etc/key.pem}}\n")["tls"]
    assert tls == {"cert": str(Path("/sites/tls/cert.pem")), "key": "/etc/key.pem"}
    assert Site().server.login == "auto" and Site().server.tls.cert is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {login: maybe}", "server.login: read 'maybe', allowed: auto, true or false"),
        ("server: {login: [1]}", "server.login: read a list, allowed: auto, true or false"),
        ("server: {tls: {cert: a}}", "server.tls.key: missing, allowed beside cert: the path of a file"),
        ("server: {tls: {key: a}}", "server.tls.cert: missing, allowed beside key: the path of a file"),
        ("server: {tls: yes}", "server.tls: read 'yes', allowed: a mapping of cert, key"),
        ("server: {tls: {cert: '', key: a}}", "server.tls.cert: read '', allowed: the path of a file"),
    ],
)
def test_what_is_not_allowed_is_said(text: str, said: str) -> None:
    with pytest.raises(SiteError) as error:
        from_text(text, "site.yaml", {})
    assert said in str(error.value)
