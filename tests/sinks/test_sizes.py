"""Sizes as people write them, and as parameters."""

from __future__ import annotations

from typing import Any

import pytest

from frameloom.model.errors import ParameterError
from frameloom.model.parameters import declared, from_declaration
from frameloom.sinks.sizes import Size, SizeOrShare, in_words, reserve_bytes, size_bytes


class Owner:
    keep = Size("0")
    reserve = SizeOrShare("1GB")


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("0", 0), ("50GB", 50 * 10**9), ("50 gb", 50 * 10**9), ("1.5GiB", 3 << 29), ("2T", 2 * 10**12),
        ("10k", 10_000), ("10KiB", 10_240), ("7B", 7), (" 1MB ", 10**6), ("0.5m", 500_000),
    ],
)  # fmt: skip
def test_read(text: str, nbytes: int) -> None:
    assert size_bytes(text) == nbytes == reserve_bytes(text, 0)


@pytest.mark.parametrize(
    "text", ["", "GB", "-1", "5XB", "1 000", "1e9", "5i", "5iB", "inf", "9999999PB", "5%", "٣"]
)
def test_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: a size such as 500MB"):
        size_bytes(text)


def test_a_share_of_a_disk() -> None:
    assert reserve_bytes("5%", 200) == 10
    assert reserve_bytes("0.5 %", 2000) == 10
    for text in ("100%", "-5%", "%", "5%%"):
        with pytest.raises(ValueError, match="or a share of the disk such as 5%"):
            reserve_bytes(text, 200)


def test_as_parameters() -> None:
    keep, reserve = declared(Owner).values()
    assert (keep.validate("50GB"), keep.validate(5000), reserve.validate(" 5% ")) == ("50GB", "5000", "5%")
    for value in ("5%", 1.5, True, None, "x" * 100, -1):
        with pytest.raises(ParameterError, match=r"keep: read .* allowed: a size such as 500MB"):
            keep.validate(value)


def test_other_processes_take_them_for_texts() -> None:
    known: Any = from_declaration(declared(Owner)["reserve"].declaration())
    assert known.validate("5%") == "5%"


@pytest.mark.parametrize(
    ("nbytes", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (3.2e15, "3.2 PB")]
)
def test_in_words(nbytes: int, text: str) -> None:
    assert in_words(int(nbytes)) == text
