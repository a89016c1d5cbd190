from dataclasses import asdict, field, replace
from typing import Annotated, Any, Literal

import pytest
from pydantic.dataclasses import dataclass

from lgcn.checks import InputError
from lgcn.options import STRICT_KEYS, Bounds, Length, input_errors, update


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class Inner:
    width: Annotated[int, Bounds(1, 8)] = 4
    mode: Literal["a", "b"] | None = None

    def __post_init__(self) -> None:
        if self.mode == "b" and self.width == 1:
            raise InputError("Expected 'width' to be 2 or more with mode='b' (got 1).")


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class Outer:
    rate: Annotated[float, Bounds(0, 1)] = 0.5
    sizes: Annotated[tuple[Annotated[int, Bounds(0, 9)], ...], Length(1, 3)] = (1,)
    width: Annotated[int, Bounds(1, 8)] | Annotated[tuple[Annotated[int, Bounds(1, 8)], ...], Length(1, 2)] = 1
    size: tuple[int, int] = (2, 3)
    flags: bool | tuple[bool, ...] = True
    pairs: tuple[tuple[int, int], ...] | None = None
    name: str = "x"
    inner: Inner = field(default_factory=Inner)
    options: dict[str, Any] = field(default_factory=dict)


def test_values_of_json_become_those_of_the_annotations() -> None:
    changed = update(Outer(), {"rate": 1, "sizes": [2, 3], "size": [4, 5], "flags": [True], "pairs": [[0, 1]]})
    assert changed == Outer(rate=1.0, sizes=(2, 3), size=(4, 5), flags=(True,), pairs=((0, 1),))
    assert isinstance(changed.rate, float)
    assert Outer(sizes=[2]).sizes == (2,)  # type: ignore[arg-type]
    assert update(Outer(), asdict(changed)) == changed


def test_nested_options_are_changed_one_by_one_or_replaced() -> None:
    start = Outer(inner=Inner(width=2, mode="a"))
    assert update(start, {"inner": {"mode": "b"}}).inner == Inner(width=2, mode="b")
    assert update(start, {"inner": Inner(mode="b")}).inner == Inner(width=4, mode="b")
    assert start.inner.mode == "a"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": float("nan")}, r"'rate' to be a finite number \(got nan\)"),
        ({"rate": float("inf")}, "'rate' to be a finite number"),
        ({"rate": -0.1}, r"'rate' to be greater than or equal to 0 \(got -0.1\)"),
        ({"rate": "0.5"}, r"'rate' to be a valid number \(got '0.5'\)"),
        ({"rate": True}, "'rate' to be a valid number"),
        ({"rate": 10**400}, "'rate' to be a valid number"),
        ({"sizes": []}, "'sizes' to have at least 1 item "),
        ({"sizes": [1, 2, 3, 4]}, "'sizes' to have at most 3 items "),
        ({"sizes": [1, 1.0]}, r"'sizes.1' to be a valid integer \(got 1.0\)"),
        ({"sizes": [True]}, "'sizes.0' to be a valid integer"),
        ({"sizes": [10]}, r"'sizes.0' to be less than or equal to 9 \(got 10\)"),
        ({"sizes": "12"}, r"'sizes' to be a list \(got '12'\)"),
        ({"width": "a"}, r"'width' to be a valid integer or be a list \(got 'a'\)"),
        ({"width": [1, 9]}, r"'width.1' to be less than or equal to 8 \(got 9\)"),
        ({"width": [1, 2, 3]}, r"'width' to be a valid integer or have at most 2 items"),
        ({"size": [1]}, r"'size.1' to be given \(got \[1\]\)"),
        ({"flags": 3}, "'flags' to be true or false or be a list"),
        ({"pairs": [[0, 1, 2]]}, r"'pairs.0' to have at most 2 items"),
        ({"name": None}, r"'name' to be a string \(got None\)"),
        ({"inner": 3}, r"'inner' to be a mapping of options \(got 3\)"),
        ({"inner": None}, "'inner' to be a mapping of options"),
        ({"inner": {"width": 9}}, r"'inner.width' to be less than or equal to 8 \(got 9\)"),
        ({"inner": {"width": 1e9}}, "'inner.width' to be a valid integer"),
        ({"inner": {"mode": "c"}}, r"'inner.mode' to be 'a' or 'b' \(got 'c'\)"),
        ({"inner": {"mode": ["a"]}}, "'inner.mode' to be 'a' or 'b'"),
        ({"inner": {"widht": 3}}, r"'inner.key' to be one of width, mode \(got 'widht'\). Did you mean 'width'"),
        ({"inner": {1: 3}}, r"'inner.key' to be one of width, mode \(got '1'\)"),
        ({"inner": {"width": 1, "mode": "b"}}, r"'width' to be 2 or more with mode='b' \(got 1\)"),
        ({"options": []}, "'options' to be a mapping"),
        ({"options": {1: 2}}, "'options.1' to be a string"),
        ({"colour": 3}, "'option name' to be one of rate, sizes"),
        (3, r"'options' to be a mapping of options \(got 3\)"),
    ],
)
def test_wrong_values_are_one_line_that_names_the_option(changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^Expected {message}") as error:
        update(Outer(), changes)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_constructor_checks_too() -> None:
    with pytest.raises(InputError, match="'width' to be greater than or equal to 1"):
        Inner(width=0)
    with pytest.raises(InputError, match="'width' to be greater than or equal to 1"):
        replace(Inner(), width=0)
    with pytest.raises(InputError, match="'width' to be 2 or more with mode='b'"):
        Inner(width=1, mode="b")
    with pytest.raises(InputError, match="'option name' to be one of width, mode"):
        Inner(widht=1)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="'inner.width' to be less than or equal to 8"):
        Outer(inner={"width": 9})  # type: ignore[arg-type]


def test_long_values_are_cut() -> None:
    with pytest.raises(InputError, match=r"got .{,40}\.\.\..{,40}\)\.$"):
        Outer(name=["x" * 1000])  # type: ignore[arg-type]
