import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from lgcn.checks import InputError
from lgcn.transforms import ColorJitter, RandomOcclusion


def crop_of(image: Tensor) -> Data:
    return Data(image=image, y=torch.rand(5, 2), visibility=torch.ones(5), num_nodes=5)


def noise(height: int = 24, width: int = 32) -> Tensor:
    return torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)


def test_jitter_changes_colours_only() -> None:
    data = crop_of(noise())
    before = data.clone()
    changed = ColorJitter()(data)
    assert changed.image.dtype == torch.uint8
    assert changed.image.shape == before.image.shape
    assert not torch.equal(changed.image, before.image)
    assert torch.equal(data.image, before.image)
    assert torch.equal(changed.y, before.y)
    assert torch.equal(changed.visibility, before.visibility)


def test_jitter_with_nothing_to_do_is_the_identity() -> None:
    data = crop_of(noise())
    idle = ColorJitter(brightness=0, contrast=0, saturation=0, hue=0, grayscale=0)
    assert torch.equal(idle(data).image, data.image)
    assert torch.equal(ColorJitter(probability=0)(data).image, data.image)


def test_brightness_and_grey_have_their_meaning() -> None:
    data = crop_of(torch.full((1, 3, 4, 4), 100, dtype=torch.uint8))
    bright = ColorJitter(brightness=0.3, contrast=0, saturation=0, hue=0, grayscale=0)
    values = torch.stack([bright(data).image.float().mean() for _ in range(200)])
    assert 69 <= values.min() < 75
    assert 125 < values.max() <= 131
    grey = ColorJitter(0, 0, 0, 0, grayscale=1.0)(crop_of(noise())).image
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_hue_is_shifted_as_often_as_asked() -> None:
    data = crop_of(noise(4, 4))
    jitter = ColorJitter(brightness=0, contrast=0, saturation=0, hue=0.5, hue_probability=0.3, grayscale=0)
    changed = sum(not torch.equal(jitter(data).image, data.image) for _ in range(300))
    assert 60 < changed < 120


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_occlusion_covers_one_rectangle_of_the_asked_size(fill: float) -> None:
    occlude = RandomOcclusion(1.0, area=(0.1, 0.2), aspect=2.0, noise=fill)
    for _ in range(30):
        data = crop_of(torch.full((1, 3, 48, 64), 7, dtype=torch.uint8))
        image = occlude(data).image
        assert image.dtype == torch.uint8
        covered = (image[0] != 7).any(0)
        rows, columns = covered.any(1).nonzero()[:, 0], covered.any(0).nonzero()[:, 0]
        height, width = (int(edge[-1] - edge[0]) + 1 for edge in (rows, columns))
        patch = image[0, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert 0.085 <= height * width / (48 * 64) <= 0.215
        assert 0.45 <= height / width <= 2.2
        assert covered.sum() >= 0.95 * height * width
        flat = bool((patch == patch[:, :1, :1]).all())
        assert flat == (fill == 0.0)


def test_occlusion_changes_neither_annotations_nor_the_source() -> None:
    data = crop_of(noise())
    before = data.clone()
    occluded = RandomOcclusion(1.0)(data)
    assert not torch.equal(occluded.image, before.image)
    assert torch.equal(data.image, before.image)
    assert torch.equal(occluded.visibility, before.visibility)
    assert torch.equal(occluded.y, before.y)


def test_occlusion_reaches_every_place_as_often_as_asked() -> None:
    data = crop_of(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    occlude = RandomOcclusion(0.6, area=(0.2, 0.3), noise=1.0)
    hits = torch.stack([(occlude(data).image[0] != 0).any(0) for _ in range(600)]).float()
    assert 0.5 < hits.amax((1, 2)).mean() < 0.7
    assert hits.mean(0).min() > 0
    # Every place is as likely as its mirror image.
    assert (hits.mean(0) - hits.mean(0).flip(0, 1)).abs().max() < 0.1


def test_the_whole_crop_can_be_covered() -> None:
    data = crop_of(torch.zeros(1, 3, 9, 5, dtype=torch.uint8))
    image = RandomOcclusion(1.0, area=(1.0, 1.0), aspect=1.0, noise=1.0)(data).image
    assert image.shape == (1, 3, 9, 5)
    assert (image[0] != 0).any(0).any(1).sum() > 5


def test_seeds_reproduce() -> None:
    data = crop_of(noise())
    for transform in (ColorJitter(), RandomOcclusion(0.9)):
        torch.manual_seed(5)
        first = [transform(data).image for _ in range(4)]
        torch.manual_seed(5)
        assert all(torch.equal(transform(data).image, image) for image in first)
        assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ColorJitter(hue=0.6), "'hue'"),
        (lambda: ColorJitter(brightness=-1), "'brightness'"),
        (lambda: ColorJitter(grayscale=2), "'grayscale'"),
        (lambda: RandomOcclusion(1.1), "'probability'"),
        (lambda: RandomOcclusion(area=(0.0, 0.1)), "'area'"),
        (lambda: RandomOcclusion(aspect=0.5), "'aspect'"),
    ],
)
def test_bad_options(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_repr() -> None:
    assert str(RandomOcclusion()) == "RandomOcclusion(probability=0.5, area=(0.02, 0.25))"
    assert str(ColorJitter()).startswith("ColorJitter(brightness=0.4, contrast=0.4")
