import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from lgcn.checks import InputError
from lgcn.geometry import (
    crop_affine,
    crop_region,
    heatmap_to_input,
    input_to_heatmap,
    invert_affine,
    landmark_box,
    transform_points,
    warp_image,
)

BOX = torch.tensor([10.0, 20.0, 50.0, 40.0])
CENTRE = torch.tensor([30.0, 30.0])
EVERYTHING = {"rotation": 25.0, "scale": 0.8, "translation": (0.1, -0.05), "flip": True}


def noise(*size: int) -> Tensor:
    return torch.randint(256, size, dtype=torch.uint8)


def whole(image: Tensor) -> Tensor:
    """The box around all of an image, its outermost pixels included."""
    height, width = image.shape[-2:]
    return torch.tensor([-0.5, -0.5, width - 0.5, height - 0.5])


def centre_of_mass(image: Tensor) -> Tensor:
    mass = image[0].double()
    xs, ys = torch.arange(mass.shape[1]), torch.arange(mass.shape[0])
    return (torch.stack([(mass.sum(0) * xs).sum(), (mass.sum(1) * ys).sum()]) / mass.sum()).float()


def test_the_box_is_tight() -> None:
    pos = torch.tensor([[[1.5, 8.0], [4.0, 2.0], [3.0, 5.0]], [[0.0, 0.0], [-1.0, 3.0], [2.0, 1.0]]])
    assert torch.equal(landmark_box(pos), torch.tensor([[1.5, 2.0, 4.0, 8.0], [-1.0, 0.0, 2.0, 3.0]]))


def test_missing_landmarks_do_not_widen_the_box() -> None:
    pos = torch.tensor([[1.0, 2.0], [math.nan, math.nan], [-1000.0, 1000.0], [3.0, 5.0]])
    assert torch.equal(landmark_box(pos, torch.tensor([1, 0, 0, 1])), torch.tensor([1.0, 2.0, 3.0, 5.0]))


def test_a_box_of_no_landmarks_cannot_be_cropped() -> None:
    with pytest.raises(InputError, match="Expected 'box' as finite"):
        crop_affine(landmark_box(torch.zeros(3, 2), torch.zeros(3)), (64, 64))


def test_a_box_needs_points() -> None:
    with pytest.raises(InputError, match="'pos' to have shape"):
        landmark_box(torch.zeros(4, 3))


def test_the_corners_of_the_square_hit_the_edges_of_the_input() -> None:
    corners = torch.tensor([[5.0, 5.0], [55.0, 55.0]])  # 1.25 x 40 around the centre
    expected = torch.tensor([[-0.5, -0.5], [63.5, 63.5]])
    torch.testing.assert_close(transform_points(corners, crop_affine(BOX, (64, 64))), expected)


@pytest.mark.parametrize(("size", "left"), [((64, 96), 15.5), ((96, 64), -0.5)])
def test_the_square_fills_the_shorter_side_of_the_input(size: tuple[int, int], left: float) -> None:
    mapped = transform_points(torch.tensor([[5.0, 5.0], [55.0, 55.0], [30.0, 30.0]]), crop_affine(BOX, size))
    top = (size[0] - 64) / 2 - 0.5
    expected = torch.tensor([[left, top], [left + 64, top + 64], [(size[1] - 1) / 2, (size[0] - 1) / 2]])
    torch.testing.assert_close(mapped, expected)


def test_rotation_is_clockwise_in_the_displayed_image() -> None:
    right_of_centre = CENTRE + torch.tensor([[10.0, 0.0]])
    mapped = transform_points(right_of_centre, crop_affine(BOX, (50, 50), rotation=90.0))
    torch.testing.assert_close(mapped, torch.tensor([[24.5, 34.5]]))  # below it


def test_scale_is_about_the_centre_and_above_1_enlarges() -> None:
    points = CENTRE + torch.tensor([[0.0, 0.0], [4.0, -2.0]])
    mapped = transform_points(points, crop_affine(BOX, (50, 50), scale=1.5))
    torch.testing.assert_close(mapped, torch.tensor([[24.5, 24.5], [30.5, 21.5]]))


def test_translation_is_in_fractions_of_the_crop_after_scale_and_rotation() -> None:
    still = crop_affine(BOX, (50, 100), rotation=30.0, scale=0.8)
    moved = crop_affine(BOX, (50, 100), rotation=30.0, scale=0.8, translation=(0.1, -0.2))
    points = torch.rand(7, 2) * 60
    expected = transform_points(points, still) + torch.tensor([5.0, -10.0])
    torch.testing.assert_close(transform_points(points, moved), expected)


def test_flip_mirrors_after_everything_else() -> None:
    plain = transform_points(
        points := torch.rand(7, 2) * 60, crop_affine(BOX, (50, 80), **{**EVERYTHING, "flip": False})
    )
    flipped = transform_points(points, crop_affine(BOX, (50, 80), **EVERYTHING))
    torch.testing.assert_close(flipped[:, 0], 79 - plain[:, 0])
    torch.testing.assert_close(flipped[:, 1], plain[:, 1])


def test_boxes_of_a_batch_are_those_one_by_one() -> None:
    boxes = torch.tensor([[0.0, 0.0, 20.0, 10.0], [5.0, 6.0, 7.0, 90.0], [-30.0, 2.0, 30.0, 3.0]])
    together = crop_affine(boxes, (64, 48), **EVERYTHING)
    assert together.shape == (3, 2, 3)
    torch.testing.assert_close(together, torch.stack([crop_affine(box, (64, 48), **EVERYTHING) for box in boxes]))


@pytest.mark.parametrize(
    "box",
    [
        [5.0, 5.0, 5.0, 5.0],
        [50.0, 20.0, 10.0, 40.0],
        [10.0, 40.0, 50.0, 20.0],
        [math.nan, 0.0, 1.0, 1.0],
        [0.0, 0.0, math.inf, 1.0],
    ],
)
def test_a_box_without_extent_is_refused(box: list[float]) -> None:
    with pytest.raises(InputError, match=r"Expected 'box' as finite \(x0, y0, x1, y1\)"):
        crop_affine(torch.tensor(box), (64, 64))


def test_one_bad_box_of_a_batch_is_refused() -> None:
    with pytest.raises(InputError, match="'box'"):
        crop_affine(torch.tensor([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 5.0, 5.0]]), (64, 64))


@pytest.mark.parametrize("box", [torch.zeros(2), torch.zeros(2, 3)])
def test_a_box_has_four_numbers(box: Tensor) -> None:
    with pytest.raises(InputError, match="'box' to have shape"):
        crop_affine(box, (64, 64))


def test_a_box_that_is_a_line_has_an_extent() -> None:
    mapped = transform_points(
        torch.tensor([[7.0, 0.0], [7.0, 40.0]]), crop_affine(torch.tensor([7.0, 0, 7, 40]), (50, 50))
    )
    torch.testing.assert_close(mapped, torch.tensor([[24.5, 4.5], [24.5, 44.5]]))


@settings(deadline=None, max_examples=50)
@given(
    st.floats(-4000, 4000),
    st.floats(-4000, 4000),
    st.floats(2, 2000),
    st.floats(2, 2000),
    st.floats(-180, 180),
    st.floats(0.3, 3),
    st.booleans(),
)
def test_the_inverse_is_exact_to_a_hundredth_of_a_pixel(
    x: float, y: float, width: float, height: float, rotation: float, scale: float, flip: bool
) -> None:
    box = torch.tensor([x, y, x + width, y + height])
    affine = crop_affine(box, (256, 192), rotation=rotation, scale=scale, translation=(0.1, -0.1), flip=flip)
    points = box[:2] + torch.rand(9, 2) * (box[2:] - box[:2])
    back = transform_points(transform_points(points, affine), invert_affine(affine))
    # float32 positions of thousands of pixels, and offsets larger still, carry so much.
    torch.testing.assert_close(back, points, atol=1e-2, rtol=0)


def test_batches_of_affines_are_inverted_and_applied_one_by_one() -> None:
    affines = torch.stack([crop_affine(BOX, (64, 64), rotation=r) for r in (0.0, 20.0, -45.0)]).double()
    points = torch.rand(3, 5, 2, dtype=torch.float64) * 60
    mapped = transform_points(points, affines)
    for i in range(3):
        torch.testing.assert_close(mapped[i], transform_points(points[i], affines[i]))
    torch.testing.assert_close(transform_points(mapped, invert_affine(affines)), points)


def test_whole_numbered_points_are_not_cut_to_whole_numbers() -> None:
    mapped = transform_points(torch.tensor([[30, 30], [31, 30]]), crop_affine(BOX, (75, 75)))
    torch.testing.assert_close(mapped, torch.tensor([[37.0, 37.0], [38.5, 37.0]]))


@pytest.mark.parametrize("stride", [1, 4, 3.5])
def test_cells_and_pixels_follow_the_half_pixel_rule(stride: float) -> None:
    edges = torch.tensor([[-0.5, -0.5], [8 * stride - 0.5, 16 * stride - 0.5]])
    torch.testing.assert_close(input_to_heatmap(edges, stride), torch.tensor([[-0.5, -0.5], [7.5, 15.5]]))
    # The first cell's centre is in the middle of its pixels.
    middle = torch.tensor([[(stride - 1) / 2, (stride - 1) / 2]])
    torch.testing.assert_close(heatmap_to_input(torch.zeros(1, 2), stride), middle)
    points = torch.rand(20, 2, dtype=torch.float64) * 100
    torch.testing.assert_close(heatmap_to_input(input_to_heatmap(points, stride), stride), points)


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (37, 53), (300, 200)])
def test_the_identity_changes_nothing(size: tuple[int, int]) -> None:
    image = noise(3, *size)
    assert torch.equal(warp_image(image, torch.eye(2, 3), size), image)


def test_quarter_turns_and_mirrors_are_exact() -> None:
    image = noise(3, 40, 40)
    turned = warp_image(image, crop_affine(whole(image), (40, 40), 1.0, rotation=90.0), (40, 40))
    assert torch.equal(turned, image.rot90(-1, (1, 2)))
    mirrored = warp_image(image, crop_affine(whole(image), (40, 40), 1.0, flip=True), (40, 40))
    assert torch.equal(mirrored, image.flip(2))


def test_a_shift_by_whole_pixels_is_exact_and_fills_the_outside() -> None:
    image = noise(3, 20, 30)
    shifted = warp_image(image, torch.tensor([[1.0, 0.0, 4.0], [0.0, 1.0, -3.0]]), (20, 30), fill=114)
    assert torch.equal(shifted[:, :17, 4:], image[:, 3:, :26])
    assert (shifted[:, 17:] == 114).all()
    assert (shifted[:, :, :4] == 114).all()


@pytest.mark.parametrize("rotation", [0.0, 33.0])
@pytest.mark.parametrize("zoom", [0.2, 0.75, 1.0, 2.5])
def test_a_dot_lands_where_its_point_does(zoom: float, rotation: float) -> None:
    dot = torch.tensor([[83.4, 61.7]])
    ys, xs = torch.meshgrid(torch.arange(150.0), torch.arange(200.0), indexing="ij")
    sigma = max(4.0, 2 / zoom)
    image = 255 * torch.exp(-((xs - dot[0, 0]) ** 2 + (ys - dot[0, 1]) ** 2) / (2 * sigma**2))
    image = image.round().to(torch.uint8)[None]
    # A crop of 128 pixels shows 128 / zoom pixels of the image, the dot off its middle.
    half = 64 / zoom
    box = torch.tensor([75.0 - half, 70.0 - half, 75.0 + half, 70.0 + half])
    affine = crop_affine(box, (128, 128), 1.0, rotation=rotation, flip=rotation > 0)
    warped = warp_image(image, affine, (128, 128))
    torch.testing.assert_close(centre_of_mass(warped), transform_points(dot, affine)[0], atol=0.08, rtol=0)


@pytest.mark.parametrize("size", [(30, 40), (36, 48), (75, 100), (110, 146)])
def test_pure_shrinking_is_an_anti_aliased_resize(size: tuple[int, int]) -> None:
    image = noise(3, 120, 160)
    scale = torch.tensor([size[1] / 160, size[0] / 120])
    affine = torch.cat([torch.diag(scale), (scale / 2 - 0.5)[:, None]], dim=1)  # the half-pixel rule
    warped = warp_image(image, affine, size)
    expected = resize(image, list(size), antialias=True)
    assert (warped.int() - expected.int()).abs().max() <= 2


def test_stripes_too_fine_for_the_output_become_grey() -> None:
    image = torch.zeros(1, 240, 240, dtype=torch.uint8)
    image[:, :, ::2] = 255
    affine = crop_affine(torch.tensor([20.0, 20.0, 220.0, 220.0]), (40, 40), 1.0, rotation=10.0)
    warped = warp_image(image, affine, (40, 40))
    assert warped.min() >= 110
    assert warped.max() <= 145


def test_enlarging_interpolates() -> None:
    image = torch.tensor([[[0, 100]]], dtype=torch.uint8)
    row = warp_image(image, torch.tensor([[4.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), (1, 5))
    assert row.flatten().tolist() == [0, 25, 50, 75, 100]


@pytest.mark.parametrize("box", [[500.0, 10.0, 540.0, 50.0], [-90.0, -90.0, -50.0, -50.0], [0.0, 31.0, 1.0, 32.0]])
def test_a_crop_wholly_outside_is_fill(box: list[float]) -> None:
    warped = warp_image(noise(3, 20, 30), crop_affine(torch.tensor(box), (16, 24)), (16, 24), fill=7)
    assert warped.shape == (3, 16, 24)
    assert warped.dtype == torch.uint8
    assert (warped == 7).all()


def test_a_crop_much_larger_than_the_image() -> None:
    image = torch.full((1, 8, 8), 200, dtype=torch.uint8)
    warped = warp_image(image, crop_affine(torch.tensor([-996.0, -996.0, 1003.0, 1003.0]), (64, 64)), (64, 64))
    assert warped.shape == (1, 64, 64)
    assert (warped > 0).sum() <= 4


def test_an_image_of_one_pixel() -> None:
    image = torch.full((3, 1, 1), 200, dtype=torch.uint8)
    warped = warp_image(image, crop_affine(whole(image), (33, 33), 1.25), (33, 33))
    assert (warped[:, 16, 16] == 200).all()


def test_any_number_of_channels() -> None:
    image = noise(5, 24, 24)
    affine = crop_affine(whole(image), (10, 10), 1.0)
    warped = warp_image(image, affine, (10, 10))
    assert torch.equal(warped[3], warp_image(image[3:4], affine, (10, 10))[0])


def test_other_images_are_refused() -> None:
    with pytest.raises(InputError, match="'image' to be uint8 .*float32"):
        warp_image(torch.rand(3, 4, 4), torch.eye(2, 3), (4, 4))
    with pytest.raises(InputError, match=r"'image' to have shape \[C, H, W\]"):
        warp_image(noise(1, 3, 4, 4), torch.eye(2, 3), (4, 4))
    with pytest.raises(InputError, match="'affine' to have shape"):
        warp_image(noise(3, 4, 4), torch.eye(3), (4, 4))


def test_a_square_is_measured_by_the_side_that_is_asked_for() -> None:
    assert crop_region(BOX, 1.5).tolist() == [0.0, 0.0, 60.0, 60.0]
    assert crop_region(BOX, 1.5, side="shorter").tolist() == [15.0, 15.0, 45.0, 45.0]
    mapped = transform_points(
        torch.tensor([[15.0, 15.0], [45.0, 45.0]]), crop_affine(BOX, (64, 64), 1.5, side="shorter")
    )
    torch.testing.assert_close(mapped, torch.tensor([[-0.5, -0.5], [63.5, 63.5]]))


@pytest.mark.parametrize(
    ("aspect", "corners"),
    [("letterbox", [[-0.5, 15.5], [63.5, 47.5]]), ("stretch", [[-0.5, -0.5], [63.5, 63.5]])],
)
def test_letterbox_and_stretch_show_exactly_the_box(aspect: str, corners: list[list[float]]) -> None:
    assert crop_region(BOX, 1.5, aspect=aspect).tolist() == [0.0, 15.0, 60.0, 45.0]
    affine = crop_affine(BOX, (64, 64), 1.5, aspect=aspect)
    mapped = transform_points(torch.tensor([[0.0, 15.0], [60.0, 45.0]]), affine)
    torch.testing.assert_close(mapped, torch.tensor(corners))


@pytest.mark.parametrize(
    ("size", "shown"), [((64, 96), [[-0.5, 7.5], [95.5, 55.5]]), ((96, 64), [[-0.5, 31.5], [63.5, 63.5]])]
)
def test_a_letterbox_is_seen_whole_in_any_input(size: tuple[int, int], shown: list[list[float]]) -> None:
    mapped = transform_points(
        torch.tensor([[10.0, 20.0], [50.0, 40.0]]), crop_affine(BOX, size, 1.0, aspect="letterbox")
    )
    torch.testing.assert_close(mapped, torch.tensor(shown))


def test_clipped_crops_are_slices_of_whole_pixels() -> None:
    box = torch.tensor([-3.0, 4.6, 50.2, 100.0])
    region = crop_region(box, 1.0, aspect="stretch", clip_to=(30, 40))
    assert region.tolist() == [-0.5, 3.5, 38.5, 28.5]  # image[4:29, 0:39]


def test_a_stretched_face_turns_without_being_sheared_in_the_crop() -> None:
    plain = crop_affine(BOX, (64, 64), 1.0, aspect="stretch")
    turned = crop_affine(BOX, (64, 64), 1.0, aspect="stretch", rotation=90.0)
    points = torch.rand(5, 2) * 40
    still, moved = (transform_points(points, affine) - 31.5 for affine in (plain, turned))
    torch.testing.assert_close(moved, torch.stack([-still[:, 1], still[:, 0]], dim=1), atol=1e-4, rtol=0)


def test_boxes_of_a_batch_have_separate_regions() -> None:
    boxes = torch.tensor([[0.0, 0.0, 20.0, 10.0], [5.0, 6.0, 7.0, 90.0]])
    for aspect in ("square", "letterbox", "stretch"):
        together = crop_affine(boxes, (64, 48), aspect=aspect, rotation=20.0)
        torch.testing.assert_close(
            together, torch.stack([crop_affine(box, (64, 48), aspect=aspect, rotation=20.0) for box in boxes])
        )


@pytest.mark.parametrize(
    ("box", "options"),
    [
        ([5.0, 0.0, 5.0, 9.0], {"aspect": "stretch"}),
        ([5.0, 0.0, 5.0, 9.0], {"side": "shorter"}),
        ([60.0, 0.0, 90.0, 9.0], {"clip_to": (40, 50)}),
    ],
)
def test_a_region_without_area_is_refused(box: list[float], options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"'box' to have a width and a height.*square crop that is not clipped"):
        crop_affine(torch.tensor(box), (64, 64), **options)


def test_unknown_kinds_of_crops_list_the_choices() -> None:
    with pytest.raises(InputError, match="'aspect' to be one of square, letterbox, stretch"):
        crop_affine(BOX, (8, 8), aspect="box")
    with pytest.raises(InputError, match="'side' to be one of longer, shorter"):
        crop_affine(BOX, (8, 8), side="left")


def test_outside_of_a_region_is_fill_and_its_border_stays_sharp() -> None:
    image = noise(3, 40, 50)
    image[:, :, 10:30] = 200
    affine = torch.tensor([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]])
    warped = warp_image(image, affine, (80, 100), fill=7, region=torch.tensor([9.5, -0.5, 29.5, 19.5]))
    assert (warped[:, :40, 20:60] == 200).all()
    warped[:, :40, 20:60] = 7
    assert (warped == 7).all()


class WithoutFloat64(torch.Tensor):
    """Stands for a tensor on a device without float64, such as Apple's MPS: ``cpu()`` leads back."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if function is torch.Tensor.cpu:
            return args[0].as_subclass(torch.Tensor)
        result = super().__torch_function__(function, types, args, kwargs or {})
        if isinstance(result, WithoutFloat64) and result.dtype == torch.float64:
            raise TypeError("Cannot convert a tensor to float64: the device does not support it.")
        return result


def test_crops_and_inverses_need_no_float64_on_the_device() -> None:
    box = BOX.as_subclass(WithoutFloat64)
    affine = crop_affine(box, (64, 64))
    assert torch.equal(affine, crop_affine(BOX, (64, 64)))
    inverse = invert_affine(affine.as_subclass(WithoutFloat64))
    assert torch.equal(inverse, invert_affine(affine))
    image = torch.randint(0, 256, (3, 90, 90), dtype=torch.uint8)
    assert torch.equal(
        warp_image(image, affine.as_subclass(WithoutFloat64), (64, 64)), warp_image(image, affine, (64, 64))
    )
