from typing import NamedTuple

import pytest

from lgcn.checks import InputError
from lgcn.registry import Registry


class Named(NamedTuple):
    name: str


@pytest.fixture
def shapes() -> Registry[int]:
    registry: Registry[int] = Registry("shape")
    assert registry.register("square", 4) == 4
    registry.register("pentagon", 5)
    return registry


def test_look_up_by_name(shapes: Registry[int]) -> None:
    assert shapes["square"] == 4
    assert "square" in shapes
    assert "hexagon" not in shapes
    assert 4 not in shapes
    assert len(shapes) == 2


def test_names_are_sorted_and_iteration_keeps_the_order_of_registration(shapes: Registry[int]) -> None:
    assert shapes.names() == ["pentagon", "square"]
    assert list(shapes) == ["square", "pentagon"]
    assert repr(shapes) == "Registry(shape: pentagon, square)"


def test_register_as_a_decorator() -> None:
    registry: Registry[type] = Registry("class")

    @registry.register("thing")
    class Thing:
        pass

    assert Thing.__name__ == "Thing"
    assert registry["thing"] is Thing


def test_a_name_is_taken_only_once(shapes: Registry[int]) -> None:
    with pytest.raises(InputError, match=r"new shape name \(got 'square', which is taken\)"):
        shapes.register("square", 16)
    with pytest.raises(InputError, match="which is taken"):
        shapes.register("square")(16)
    assert shapes["square"] == 4


def test_an_object_with_a_name_is_registered_under_it() -> None:
    registry: Registry[Named] = Registry("person")
    registry.register("ada", Named("ada"))
    with pytest.raises(InputError, match=r"'name' to be the person's own, 'ada' \(got 'eve'\)"):
        registry.register("eve", Named("ada"))
    assert registry.names() == ["ada"]


def test_an_unknown_name_lists_the_choices_and_the_nearest(shapes: Registry[int]) -> None:
    with pytest.raises(
        InputError, match=r"'shape' to be one of pentagon, square \(got 'squares'\)\. Did you mean 'square'"
    ):
        shapes["squares"]
    with pytest.raises(
        InputError, match=r"one of pentagon, square \(got 'xyz'\)\. If it is your own, .* lgcn --import"
    ):
        shapes["xyz"]


def test_an_empty_registry_says_so() -> None:
    empty: Registry[int] = Registry("shape")
    assert empty.names() == []
    with pytest.raises(InputError, match="'shape'"):
        empty["square"]
