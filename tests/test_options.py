from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from lgcn.checks import InputError
from lgcn.options import Bounds, check_fields, update


@dataclass(frozen=True)
class Inner:
    width: Annotated[int, Bounds(1, 8)] = 4
    mode: Literal["a", "b"] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Outer:
    rate: Annotated[float, Bounds(0, 1)] = 0.5
    sizes: Annotated[tuple[Annotated[int, Bounds(0, 9)], ...], Bounds(1, 3)] = (1,)
    size: tuple[int, int] = (2, 3)
    flags: bool | tuple[bool, ...] = True
    pairs: tuple[tuple[int, int], ...] | None = None
    name: str = "x"
    inner: Inner = field(default_factory=Inner)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)


def test_values_of_json_become_those_of_the_annotations() -> None:
    changed = update(Outer(), {"rate": 1, "sizes": [2, 3], "size": [4, 5], "flags": [True], "pairs": [[0, 1]]})
    assert changed == Outer(rate=1.0, sizes=(2, 3), size=(4, 5), flags=(True,), pairs=((0, 1),))
    assert isinstance(changed.rate, float)
    assert Outer(sizes=[2]).sizes == (2,)  # type: ignore[arg-type]


def test_nested_options_are_changed_one_by_one_or_replaced() -> None:
    start = Outer(inner=Inner(width=2, mode="a"))
    assert update(start, {"inner": {"mode": "b"}}).inner == Inner(width=2, mode="b")
    assert update(start, {"inner": Inner(mode="b")}).inner == Inner(width=4, mode="b")
    assert start.inner.mode == "a"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": float("nan")}, r"'rate' to be a number in 0 to 1 \(got nan\)"),
        ({"rate": float("inf")}, "'rate' to be a number"),
        ({"rate": -0.1}, r"'rate' to be a number in 0 to 1 \(got -0.1\)"),
        ({"rate": "0.5"}, r"'rate' to be a number in 0 to 1 \(got '0.5'\)"),
        ({"rate": True}, "'rate' to be a number"),
        ({"rate": 10**400}, "'rate' to be a number"),
        ({"sizes": []}, "'sizes' to be a list of integers in 0 to 9 of length 1 to 3"),
        ({"sizes": [1, 2, 3, 4]}, "'sizes' to be a list"),
        ({"sizes": [1.0]}, "'sizes' to be a list"),
        ({"sizes": [True]}, "'sizes' to be a list"),
        ({"sizes": [10]}, "'sizes' to be a list"),
        ({"sizes": "12"}, "'sizes' to be a list"),
        ({"size": [1]}, r"'size' to be \[an integer, an integer\] \(got \[1\]\)"),
        ({"flags": 1}, "'flags' to be true or false or a list of"),
        ({"pairs": [[0, 1, 2]]}, "'pairs' to be a list of lists or null"),
        ({"name": None}, r"'name' to be a string \(got None\)"),
        ({"inner": 3}, r"'inner' to map names of options to values \(got 3\)"),
        ({"inner": None}, "'inner' to map"),
        ({"inner": {"width": 9}}, r"'inner.width' to be an integer in 1 to 8 \(got 9\)"),
        ({"inner": {"width": 1e9}}, "'inner.width' to be an integer"),
        ({"inner": {"mode": "c"}}, r"'inner.mode' to be one of a, b or null \(got 'c'\)"),
        ({"inner": {"mode": ["a"]}}, "'inner.mode' to be one of"),
        ({"inner": {"widht": 3}}, r"'inner.key' to be one of width, mode \(got 'widht'\). Did you mean 'width'"),
        ({"options": {1: 2}}, "'options' to be a mapping"),
        ({"colour": 3}, "'option name' to be one of rate, sizes"),
    ],
)
def test_wrong_values_are_one_line_that_names_the_option(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^Expected {message}") as error:
        update(Outer(), changes)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_constructor_checks_too() -> None:
    with pytest.raises(InputError, match="'width' to be an integer in 1 to 8"):
        Inner(width=0)
    with pytest.raises(InputError, match=r"'inner' to be a Inner \(got \{\}\)"):
        Outer(inner={})  # type: ignore[arg-type]


def test_long_values_are_cut() -> None:
    with pytest.raises(InputError, match=r"\.\.\.\)\.$"):
        Outer(name=["x" * 1000])  # type: ignore[arg-type]
