"""Amounts of storage as people write them: '50GB', '512 MiB', '5%'. Loads no codec: the site file is checked by it."""

from __future__ import annotations

import re
from typing import Any

from frameloom.model.errors import ParameterError
from frameloom.model.parameters import Text

SIZE_ALLOWED = "a size such as 500MB, 50GB or 2TiB, or 0"
SHARE_ALLOWED = "a size such as 500MB or 1GB, or a share of the disk such as 5%, or 0"
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE | re.ASCII)
_SHARE = re.compile(r"(\d{1,2}(?:\.\d{1,3})?)\s*%", re.ASCII)
_MOST_BYTES = 1 << 60
_LONGEST = 24


def size_bytes(text: str) -> int:
    """Bytes of a size: KB, MB, GB, TB count in thousands, KiB, MiB ... in 1024. Raises `ValueError`."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"read {text!r}, allowed: {SIZE_ALLOWED}")
    unit_bytes: int = (1024 if found[3] else 1000) ** _UNITS[found[2].lower()]
    nbytes = round(float(found[1]) * unit_bytes)
    if nbytes > _MOST_BYTES:
        raise ValueError(f"read {text!r}, allowed: {SIZE_ALLOWED}")
    return nbytes


def reserve_bytes(text: str, disk_bytes: int) -> int:
    """Bytes of a size, or of a share of a disk of `disk_bytes`. Raises `ValueError`."""
    share = _SHARE.fullmatch(text.strip())
    if share is not None:
        return round(disk_bytes * float(share[1]) / 100)
    try:
        return size_bytes(text)
    except ValueError:
        raise ValueError(f"read {text!r}, allowed: {SHARE_ALLOWED}") from None


def in_words(nbytes: int) -> str:
    """'1.5 GB': three digits are enough for people."""
    amount = float(nbytes)
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} PB"


class Size(Text):
    """A parameter that holds a size as it was written; `size_bytes` reads it."""

    def __init__(self, default: str, *, unit: str = "", description: str = "") -> None:
        super().__init__(default, longest=_LONGEST, unit=unit, description=description)

    def validate(self, value: Any) -> str:
        try:
            text = super().validate(written(value))
            self._read(text)
        except (ValueError, ParameterError):
            raise self.refuse(value) from None
        return text

    def allowed(self) -> str:
        return SIZE_ALLOWED

    def _read(self, text: str) -> int:
        return size_bytes(text)


class SizeOrShare(Size):
    """A parameter that holds a size or a share of the disk; `reserve_bytes` reads it."""

    def allowed(self) -> str:
        return SHARE_ALLOWED

    def _read(self, text: str) -> int:
        return reserve_bytes(text, 0)


def written(value: Any) -> Any:
    """A plain number of bytes as the text that it would be written as; anything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else value
