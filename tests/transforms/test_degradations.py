import pytest
import torch
from torch_geometric.data import Data

from lgcn.checks import InputError
from lgcn.transforms import (
    BoxBeside,
    BoxJitter,
    CropToInput,
    Darkness,
    FacePatch,
    GaussianBlur,
    JPEGCompression,
    Rotation,
)
from lgcn.transforms.degradations import Degradation


def face(image_id: str = "a.png") -> Data:
    generator = torch.Generator().manual_seed(0)
    return Data(
        image=torch.randint(1, 255, (1, 3, 64, 48), dtype=torch.uint8, generator=generator),
        y=torch.tensor([[10.0, 12.0], [40.0, 12.0], [25.0, 52.0]]),
        visibility=torch.ones(3),
        bbox=torch.tensor([[10.0, 12.0, 40.0, 52.0]]),
        image_id=image_id,
    )


TRANSFORMS = [FacePatch(0.4, seed=1), GaussianBlur(2, seed=1), Darkness(0.25, seed=1), JPEGCompression(5, seed=1)]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_pixels_change_and_landmarks_do_not(transform: Degradation) -> None:
    before, after = face(), transform(face())
    assert after.image.shape == before.image.shape and after.image.dtype == torch.uint8
    assert not torch.equal(after.image, before.image)
    assert torch.equal(after.y, before.y) and torch.equal(after.visibility, before.visibility)
    assert torch.equal(before.image, face().image)


@pytest.mark.parametrize("build", [FacePatch, Darkness, BoxJitter], ids=lambda each: each.__name__)
def test_draws_depend_on_the_seed_and_the_face_only(build: type[Degradation]) -> None:
    key = "bbox" if build is BoxJitter else "image"
    first = build(0.2, 0.4, seed=1)(face())[key]
    torch.rand(5)
    assert torch.equal(build(0.2, 0.4, seed=1)(face())[key], first)
    assert not torch.equal(build(0.2, 0.4, seed=2)(face())[key], first)
    assert not torch.equal(build(0.2, 0.4, seed=1)(face("b.png"))[key], first)
    assert not torch.equal(build(0.2, 0.4)(face())[key], build(0.2, 0.4)(face())[key])


@pytest.mark.parametrize("build", [FacePatch, Darkness, GaussianBlur], ids=lambda each: each.__name__)
def test_degradations_are_as_frequent_as_their_probability(build: type[Degradation]) -> None:
    transform = build(0.9, probability=0.25)
    changed = [not torch.equal(transform(face()).image, face().image) for _ in range(200)]
    assert 30 < sum(changed) < 70


@pytest.mark.parametrize("axis", [0, 1])
def test_blur_has_the_width_that_was_asked_for(axis: int) -> None:
    """The response to a line is a Gaussian across it."""
    line = face()
    line.image = torch.zeros(1, 3, 49, 49, dtype=torch.uint8)
    line.image.select(2 + axis, 24).fill_(255)
    response = GaussianBlur(1.5)(line).image[0, 0].select(1 - axis, 20)
    density = torch.exp(-(torch.arange(49.0) - 24).square() / (2 * 1.5**2))
    torch.testing.assert_close(response.float(), 255 * density / density.sum(), atol=1.0, rtol=0)


def test_blur_of_an_image_smaller_than_its_kernel() -> None:
    small = face()
    small.image = small.image[..., :3, :1]
    assert GaussianBlur(4)(small).image.shape == (1, 3, 3, 1)


def test_strengths() -> None:
    assert torch.equal(FacePatch(0.0)(face()).image, face().image)
    assert torch.equal(GaussianBlur(0.0)(face()).image, face().image)
    assert torch.equal(Darkness(1.0, noise=0.0)(face()).image, face().image)
    assert torch.equal(Darkness(0.5, noise=0.0)(face()).image, (face().image * 0.5).round().to(torch.uint8))
    smooth = face()
    smooth.image = torch.arange(0, 240, 5, dtype=torch.uint8).expand(1, 3, 64, 48).contiguous()
    worse, better = (JPEGCompression(quality)(smooth).image.float() for quality in (5, 95))
    assert (worse - smooth.image).abs().mean() > 2 * (better - smooth.image).abs().mean()


def test_box_jitter_stays_within_its_range() -> None:
    boxes = torch.cat([BoxJitter(0.1)(face()).bbox for _ in range(100)])
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    limit = torch.tensor([3.0, 4.0])
    assert ((centre - torch.tensor([25.0, 32.0])).abs() <= limit + 1e-4).all()
    assert ((side - torch.tensor([30.0, 40.0])).abs() <= limit + 1e-4).all()
    assert centre.std(dim=0).min() > 0.5
    assert torch.allclose(side[:, 0] / side[:, 1], torch.tensor(0.75))


@pytest.mark.parametrize("box", [(20.0, 10.0, 40.0, 30.0), (2.0, 4.0, 30.0, 44.0), (0.0, 20.0, 48.0, 60.0)])
def test_a_box_beside_shows_no_part_of_the_face(box: tuple[float, float, float, float]) -> None:
    data = face()
    data.bbox = torch.tensor([box])
    for strength in (0.3, 1.0):
        crop = BoxBeside(strength)(data.clone()).bbox[0]
        side = crop[2] - crop[0]
        assert crop[3] - crop[1] == pytest.approx(side.item())
        assert side <= strength * 48 + 1e-3
        crop = crop + torch.tensor([-1, -1, 1, 1]) * side / 8
        overlap = torch.minimum(crop[2:], data.bbox[0, 2:]) - torch.maximum(crop[:2], data.bbox[0, :2])
        assert overlap.min() <= 0.5 + 1e-3
        assert crop.min() >= -0.51 and crop[2] <= 48 and crop[3] <= 64
    data.bbox = torch.tensor([[0.0, 0.0, 48.0, 64.0]])
    assert (BoxBeside(1.0)(data).bbox[0, 2:] > data.bbox[0, :2]).all(), "a face that fills its image"


@pytest.mark.parametrize("box", ["landmarks", "rect"])
def test_a_rotation_is_that_of_the_whole_photo(box: str) -> None:
    """A quarter turn needs no resampling: the crop is that of the turned image with its own box."""
    turned_right = set()
    for seed in range(6):
        photo = face(f"{seed}.png")
        if box == "rect":
            # Twice as wide as the landmarks; not recomputed from them.
            photo.bbox = photo.rect = torch.tensor([[0.0, 12.0, 47.0, 52.0]])
        crop = CropToInput((32, 32), enlargement=1.0)
        found = crop(Rotation(90, seed=seed)(photo))
        right = bool(found.crop_rotation > 0)
        turned_right.add(right)
        x, y = photo.y.unbind(1)
        turned = photo.clone()
        turned.image = photo.image.rot90(-1 if right else 1, (2, 3))
        turned.y = torch.stack([63 - y, x] if right else [y, 47 - x], dim=1)
        low, high = turned.y.amin(0), turned.y.amax(0)
        if box == "rect":
            middle = torch.tensor([63 - 32.0, 23.5] if right else [32.0, 47 - 23.5])
            low, high = middle - torch.tensor([23.5, 20.0]), middle + torch.tensor([23.5, 20.0])
        turned.bbox = torch.cat([low, high])[None]
        expected = crop(turned)
        torch.testing.assert_close(found.y, expected.y, atol=1e-4, rtol=0)
        assert (found.image.float() - expected.image).abs().max() <= 1
    assert len(turned_right) == 2


def test_repr_shows_what_differs_from_the_default() -> None:
    assert str(FacePatch(0.2)) == "FacePatch(0.2, 0.2)"
    assert str(GaussianBlur(0, 4, probability=0.5, seed=3)) == "GaussianBlur(0, 4, probability=0.5, seed=3)"


@pytest.mark.parametrize(
    ("build", "low", "high"),
    [(FacePatch, -0.1, 0.2), (FacePatch, 0.5, 1.2), (Darkness, 0.5, 0.2), (JPEGCompression, 0, 5), (Rotation, 0, 200)],
)
def test_bad_strengths(build: type[Degradation], low: float, high: float) -> None:
    with pytest.raises(InputError, match=f"strength of {build.__name__}"):
        build(low, high)
