import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lgcn.checks import (
    InputError,
    InputFileError,
    check_at_least,
    check_choice,
    check_device,
    check_floating,
    check_ids,
    check_images,
    check_shape,
)


def test_error_classes_derive_from_standard_exceptions() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(InputFileError, InputError)
    assert issubclass(InputFileError, OSError)
    assert str(InputFileError("no file 'a.jpg'")) == "no file 'a.jpg'"


def test_check_at_least() -> None:
    assert check_at_least("batch_size", 1, 1) == 1
    with pytest.raises(InputError, match=r"'batch_size' to be 1 or more \(got 0\)"):
        check_at_least("batch_size", 0, 1)


def test_check_choice_returns_the_value() -> None:
    assert check_choice("activation", "clamp", iter(["sigmoid", "clamp"])) == "clamp"


def test_check_choice_lists_the_choices() -> None:
    with pytest.raises(InputError, match=r"'activation' to be one of sigmoid, clamp \(got 'relu'\)"):
        check_choice("activation", "relu", ["sigmoid", "clamp"])


@pytest.mark.parametrize(
    ("size", "shape", "sizes"),
    [
        ((2, 68, 2), "B K 2", {}),
        ((2, 68, 2), "B K 2", {"K": 68}),
        ((68, 2), "... K 2", {}),
        ((5, 3, 68, 2), "... K 2", {"K": 68}),
        ((4, 7, 7), "B K K", {}),
        ((0, 68, 2), "B K 2", {}),
    ],
)
def test_shapes_that_fit(size: tuple[int, ...], shape: str, sizes: dict[str, int]) -> None:
    check_shape("pos", torch.zeros(size), shape, **sizes)


@pytest.mark.parametrize(
    ("size", "shape", "sizes"),
    [
        ((68, 2), "B K 2", {}),
        ((1, 2, 68, 2), "B K 2", {}),
        ((2, 68, 3), "B K 2", {}),
        ((2, 67, 2), "B K 2", {"K": 68}),
        ((2,), "... K 2", {}),
        ((4, 7, 8), "B K K", {}),
    ],
)
def test_shapes_that_do_not_fit(size: tuple[int, ...], shape: str, sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="Expected 'pos' to have shape"):
        check_shape("pos", torch.zeros(size), shape, **sizes)


def test_the_message_shows_expected_and_actual_shape() -> None:
    with pytest.raises(InputError, match=r"shape \[\.\.\., K, 2\] with K=68 \(got \[3, 67, 2\]\)"):
        check_shape("pos", torch.zeros(3, 67, 2), "... K 2", K=68)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_a_shape_fits_its_own_numbers_and_no_others(size: list[int]) -> None:
    tensor = torch.zeros(size)
    check_shape("x", tensor, " ".join(map(str, size)))
    with pytest.raises(InputError):
        check_shape("x", tensor, " ".join(str(length + 1) for length in size))


def test_check_shape_does_not_break_a_compiled_graph() -> None:
    def double(pos: torch.Tensor) -> torch.Tensor:
        check_shape("pos", pos, "B K 2", K=68)
        return pos * 2

    pos = torch.rand(2, 68, 2)
    compiled = torch.compile(double, fullgraph=True, backend="eager")
    assert torch.equal(compiled(pos), pos * 2)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_ids_that_can_be_an_index(dtype: torch.dtype) -> None:
    check_ids("landmark_id", torch.tensor([0, 3], dtype=dtype), 4)
    with pytest.raises(InputError, match=r"'landmark_id' in 0 ... 2 \(got 3\)"):
        check_ids("landmark_id", torch.tensor([0, 3], dtype=dtype), 3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.bool, torch.float32])
def test_ids_that_cannot(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=rf"integers \(got {dtype}\), torch.int64 or torch.int32. Use .long\(\)"):
        check_ids("landmark_id", torch.zeros(2).to(dtype), 4)


def test_check_floating() -> None:
    check_floating("confidence", torch.zeros(2, dtype=torch.bfloat16))
    with pytest.raises(InputError, match=r"'confidence' to hold floating-point numbers \(got torch.bool\). Use .float"):
        check_floating("confidence", torch.zeros(2, dtype=torch.bool))


def test_check_images() -> None:
    check_images([2], pos=(torch.zeros(2, 5, 2), 2), mask=(torch.zeros(5), 1), edge_weight=(None, 1))
    with pytest.raises(InputError, match=r"'pos' for 2 images, as 'x' is, or one for all \(got \[3, 5, 2\]\)"):
        check_images([2], pos=(torch.zeros(3, 5, 2), 2))
    with pytest.raises(InputError, match=r"'mask' for one image, as 'confidence' is \(got \[3, 5\]\)"):
        check_images([], "confidence", mask=(torch.zeros(3, 5), 1))


def test_a_device_that_torch_cannot_use_is_named() -> None:
    assert check_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="'device'.*'abacus'"):
        check_device("abacus")
