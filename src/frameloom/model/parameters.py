"""Declared parameters: from one declaration come validation, forms, the REST schema, MQTT topics and CLI help.

A processor declares them as class attributes and reads them as plain values:

    class Motion(Processor):
        threshold = Number(25, minimum=0, maximum=255, unit="levels", description="Luma change that counts")

A declaration travels as JSON (`declaration()`) and comes back as a parameter (`from_declaration()`), so that processes
which must not load a processor's code can still check its values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar, overload

from .errors import ParameterError

T = TypeVar("T")
Polygon = tuple[tuple[float, float], ...]


class Parameter(Generic[T]):
    """One declared parameter. `validate` turns what a person wrote into the canonical value or raises."""

    type_name: ClassVar[str] = ""

    def __init__(self, default: T, *, unit: str = "", description: str = "") -> None:
        self.name = ""
        self.default = default
        self.unit = unit
        self.description = description

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.default = self.validate(self.default)

    @overload
    def __get__(self, instance: None, owner: type) -> Parameter[T]: ...
    @overload
    def __get__(self, instance: Any, owner: type) -> T: ...
    def __get__(self, instance: Any, owner: type) -> Parameter[T] | T:
        if instance is None:
            return self
        value: T = instance._values[self.name]
        return value

    def __set__(self, instance: Any, value: T) -> None:
        raise AttributeError(f"parameter {self.name!r} is changed by command, not by assignment")

    def validate(self, value: Any) -> T:
        """The canonical form of `value`; raises `ParameterError` that says what was read and what is allowed."""
        raise NotImplementedError

    def allowed(self) -> str:
        """What is allowed, in words, for messages and help."""
        raise NotImplementedError

    def limits(self) -> dict[str, Any]:
        """The part of the declaration that is particular to the type."""
        return {}

    def declaration(self) -> dict[str, Any]:
        """JSON for forms, schemas and other processes."""
        common = {"name": self.name, "type": self.type_name, "default": self.default}
        return {**common, "unit": self.unit, "description": self.description, **self.limits()}

    def refuse(self, value: Any) -> ParameterError:
        return ParameterError(f"{self.name}: read {value!r}, allowed: {self.allowed()}")


class Number(Parameter[float]):
    """A finite number in a range. Text that reads as a number is taken."""

    type_name = "number"

    def __init__(
        self,
        default: float,
        *,
        minimum: float,
        maximum: float,
        step: float = 0,
        unit: str = "",
        description: str = "",
    ) -> None:
        if not (math.isfinite(minimum) and math.isfinite(maximum) and minimum <= maximum):
            raise ValueError(
                f"range: read {minimum} to {maximum}, allowed: finite numbers, the smaller first"
            )
        self.minimum, self.maximum, self.step = minimum, maximum, step
        super().__init__(default, unit=unit, description=description)

    def validate(self, value: Any) -> float:
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not self.minimum <= number <= self.maximum:
            raise self.refuse(value)
        return number

    def allowed(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"a number from {_exact(self.minimum)} to {_exact(self.maximum)}{unit}"

    def limits(self) -> dict[str, Any]:
        return {"minimum": self.minimum, "maximum": self.maximum, "step": self.step}


class Integer(Parameter[int]):
    """A whole number in a range."""

    type_name = "integer"

    def __init__(
        self, default: int, *, minimum: int, maximum: int, unit: str = "", description: str = ""
    ) -> None:
        self.minimum, self.maximum = minimum, maximum
        super().__init__(default, unit=unit, description=description)

    def validate(self, value: Any) -> int:
        number = _whole(value)
        if number is None or not self.minimum <= number <= self.maximum:
            raise self.refuse(value)
        return number

    def allowed(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"a whole number from {self.minimum} to {self.maximum}{unit}"

    def limits(self) -> dict[str, Any]:
        return {"minimum": self.minimum, "maximum": self.maximum, "step": 1}


class Toggle(Parameter[bool]):
    """On or off."""

    type_name = "toggle"
    _on: ClassVar[frozenset[str]] = frozenset({"true", "on", "yes"})
    _off: ClassVar[frozenset[str]] = frozenset({"false", "off", "no"})

    def validate(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word not in self._on | self._off:
            raise self.refuse(value)
        return word in self._on

    def allowed(self) -> str:
        return "on or off"


class Choice(Parameter[str]):
    """One of a few words."""

    type_name = "choice"

    def __init__(
        self, default: str, *, choices: tuple[str, ...], unit: str = "", description: str = ""
    ) -> None:
        self.choices = choices
        super().__init__(default, unit=unit, description=description)

    def validate(self, value: Any) -> str:
        if value not in self.choices:
            raise self.refuse(value)
        return str(value)

    def allowed(self) -> str:
        return "one of " + ", ".join(self.choices)

    def limits(self) -> dict[str, Any]:
        return {"choices": list(self.choices)}


class Text(Parameter[str]):
    """A short text."""

    type_name = "text"

    def __init__(self, default: str, *, longest: int = 200, unit: str = "", description: str = "") -> None:
        self.longest = longest
        super().__init__(default, unit=unit, description=description)

    def validate(self, value: Any) -> str:
        if not isinstance(value, str) or len(value) > self.longest:
            raise self.refuse(value)
        return value

    def allowed(self) -> str:
        return f"a text of at most {self.longest} characters"

    def limits(self) -> dict[str, Any]:
        return {"longest": self.longest}


class Regions(Parameter[tuple[Polygon, ...]]):
    """Polygons in the picture: lists of three or more [x, y], both from 0 to 1 (left to right, top to bottom)."""

    type_name = "regions"

    def validate(self, value: Any) -> tuple[Polygon, ...]:
        try:
            polygons = tuple(tuple((float(x), float(y)) for x, y in polygon) for polygon in value)
        except (TypeError, ValueError):
            raise self.refuse(value) from None
        if len(polygons) > 100 or not all(self._is_polygon(polygon) for polygon in polygons):
            raise self.refuse(value)
        return polygons

    def allowed(self) -> str:
        return "a list of polygons, each a list of 3 to 100 points [x, y] with x and y from 0 to 1; at most 100 of them"

    def declaration(self) -> dict[str, Any]:
        return super().declaration() | {
            "default": [[list(point) for point in polygon] for polygon in self.default]
        }

    @staticmethod
    def _is_polygon(points: Polygon) -> bool:
        return 3 <= len(points) <= 100 and all(0 <= x <= 1 and 0 <= y <= 1 for x, y in points)


def declared(owner: type) -> dict[str, Parameter[Any]]:
    """The parameters of a processor class by name, base classes first, in the order of declaration."""
    found: dict[str, Parameter[Any]] = {}
    for cls in reversed(owner.__mro__):
        for name, value in vars(cls).items():
            if isinstance(value, Parameter):
                found[name] = value
            else:
                found.pop(name, None)  # a subclass fixed it
    return found


def from_declaration(data: Mapping[str, Any]) -> Parameter[Any]:
    """The parameter that `declaration()` described; raises `ParameterError` for a type nobody knows.

    What a later version may have added to a declaration is passed over.
    """
    parameter = _build(data)
    parameter.name = str(data["name"])
    parameter.default = parameter.validate(parameter.default)
    return parameter


def validate_all(parameters: Mapping[str, Parameter[Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """Canonical `values`; raises `ParameterError` naming the first unknown name or unfit value."""
    for name in values:
        if name not in parameters:
            known = ", ".join(sorted(parameters)) or "no parameters"
            raise ParameterError(f"{name}: no such parameter, allowed: {known}")
    return {name: parameters[name].validate(value) for name, value in values.items()}


_TYPES: dict[str, type[Parameter[Any]]] = {
    cls.type_name: cls for cls in (Number, Integer, Toggle, Choice, Text, Regions)
}
_OPTIONS: dict[str, tuple[str, ...]] = {
    "number": ("minimum", "maximum", "step"),
    "integer": ("minimum", "maximum"),
    "choice": ("choices",),
    "text": ("longest",),
}


def _build(data: Mapping[str, Any]) -> Parameter[Any]:
    type_name = str(data.get("type"))
    if type_name not in _TYPES:
        raise ParameterError(f"parameter type: read {type_name!r}, allowed: {', '.join(_TYPES)}")
    known = ("unit", "description", *_OPTIONS.get(type_name, ()))
    options = {name: data[name] for name in known if name in data}
    if "choices" in options:
        options["choices"] = tuple(options["choices"])
    return _TYPES[type_name](data.get("default"), **options)


def _whole(value: Any) -> int | None:
    """`value` as a whole number without a detour that loses digits; None if it is none."""
    if isinstance(value, bool):
        return None
    try:
        return int(value) if isinstance(value, int | str) or value == int(value) else None
    except (TypeError, ValueError, OverflowError):
        return _whole_of_text(value)


def _whole_of_text(value: Any) -> int | None:
    try:
        return int(float(value)) if isinstance(value, str) and float(value).is_integer() else None
    except (ValueError, OverflowError):
        return None


def _exact(number: float) -> str:
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)
