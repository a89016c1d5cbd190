import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from lgcn.checks import InputError
from lgcn.transforms import ColorJitter


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


def test_seeds_reproduce() -> None:
    data = crop_of(noise())
    transform = ColorJitter()
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
    ],
)
def test_bad_options(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_repr() -> None:
    assert str(ColorJitter()).startswith("ColorJitter(brightness=0.4, contrast=0.4")
