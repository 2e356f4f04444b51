"""Metadata and results as the JSON that travels. What they mean belongs to `frameloom.model`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import protocol


def pack_record(stream: str, values: Mapping[str, Any]) -> bytes:
    """`values` as JSON; NumPy's numbers and arrays as numbers and lists.

    Raises `ValueError` for what JSON cannot say, NaN and infinity among it, and names the value.
    """
    try:
        return _encode(values if isinstance(values, dict) else dict(values)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"stream {stream!r}: {_trouble(values, '') or error}") from None


def pack_metadata(stream: str, metadata: Mapping[str, Any] | None) -> bytes:
    """Nothing if there is none. Raises `ValueError` as `pack_record` does, and if it is too long."""
    if not metadata:
        return b""
    packed = pack_record(stream, metadata)
    if len(packed) > protocol.INLINE_BYTES:
        allowed = protocol.INLINE_BYTES
        raise ValueError(f"stream {stream!r}: metadata of {len(packed)} bytes, allowed: {allowed}")
    return packed


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no number, text, list, mapping or array")


_OPTIONS: Mapping[str, Any] = {"allow_nan": False, "default": _plain, "separators": (",", ":")}
_encode = json.JSONEncoder(**_OPTIONS).encode  # made once: json.dumps makes one for every record


def _trouble(values: Any, path: str) -> str:
    """Which of the values cannot be packed, by name; slow, and only called when one was met."""
    inside = values.items() if isinstance(values, Mapping) else enumerate(values)
    for key, value in inside:
        name = f"{path}.{key}" if path else str(key)
        try:
            json.dumps(value, **_OPTIONS)
        except (TypeError, ValueError, RecursionError) as error:
            deeper = isinstance(value, Mapping | list | tuple) and len(name) < _LONGEST_NAME
            return (deeper and _trouble(value, name)) or f"value {name!r}: {error}"
    return ""


_LONGEST_NAME = 200
