"""Who can reach the web server, and what follows from it: whether a login is needed."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """True if only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def needs_login(host: str, login: bool | str = "auto") -> bool:
    """Whether a server that listens on `host` asks who calls; `login` as in site.yaml.

    Where others can reach it, only an express `false` does without: whatever else is read there means yes.
    """
    if login is False:
        return False
    return login is True or not is_loopback(host)
