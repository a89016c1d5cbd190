import math

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torchvision.transforms.v2.functional import resize

from lgcn.checks import InputError
from lgcn.geometry import invert_affine, transform_points
from lgcn.protocols import PROTOCOLS, get_protocol
from lgcn.schemes import LandmarkScheme, get_scheme
from lgcn.transforms import CropToInput, RandomAffineCrop

# Three landmarks, so that each has a colour channel of its own; the first two are partners.
SCHEME = LandmarkScheme("three", ("left", "right", "middle"), flip_pairs=((0, 1),))
NEUTRAL = {"rotation": 0.0, "scale": (1.0, 1.0), "translation": 0.0}


def spots(pos: Tensor, size: tuple[int, int] = (160, 200), sigma: float = 4.0) -> Tensor:
    """uint8 [1, 3, H, W] with a bright spot of landmark k in channel k."""
    ys, xs = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    squared = (xs - pos[:, 0, None, None]) ** 2 + (ys - pos[:, 1, None, None]) ** 2
    return (255 * torch.exp(-squared / (2 * sigma**2))).round().to(torch.uint8)[None]


def centres(image: Tensor) -> Tensor:
    """Centre of mass of every channel, [3, 2]."""
    mass = image[0].double()
    total = mass.sum((-2, -1))
    xs, ys = torch.arange(image.shape[-1]), torch.arange(image.shape[-2])
    return torch.stack([(mass.sum(-2) * xs).sum(-1) / total, (mass.sum(-1) * ys).sum(-1) / total], dim=-1).float()


def example() -> Data:
    pos = torch.tensor([[80.3, 60.7], [118.6, 71.2], [97.0, 104.9]])
    return Data(
        image=spots(pos),
        y=pos,
        visibility=torch.tensor([1.0, 0.0, 1.0]),
        occlusion=torch.tensor([1.0, 0.0, 0.0]),
        landmark_id=torch.arange(3),
        bbox=torch.tensor([[80.0, 60.0, 119.0, 105.0]]),
        num_nodes=3,
    )


def test_the_evaluation_crop_maps_the_square_around_the_box_to_the_input() -> None:
    data = CropToInput((64, 64), enlargement=2.0)(example())
    assert data.image.shape == (1, 3, 64, 64)
    assert data.image.dtype == torch.uint8
    torch.testing.assert_close(centres(data.image), data.y, atol=0.1, rtol=0)
    torch.testing.assert_close(data.y, transform_points(example().y, data.affine[0]))
    middle = transform_points(torch.tensor([[99.5, 82.5]]), data.affine[0])
    torch.testing.assert_close(middle, torch.tensor([[31.5, 31.5]]))
    assert data.affine[0, 0, 0].item() == pytest.approx(64 / 90)


@pytest.mark.parametrize("input_size", [(96, 96), (64, 96), (96, 64)])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_landmarks_follow_the_image_under_any_random_affine(input_size: tuple[int, int], flip: float) -> None:
    crop = RandomAffineCrop(SCHEME, input_size, enlargement=2.8, flip=flip)
    channels = [1, 0, 2] if flip else [0, 1, 2]
    for _ in range(12):
        data = crop(example())
        assert data.image.shape[-2:] == input_size
        torch.testing.assert_close(centres(data.image)[channels], data.y, atol=0.25, rtol=0)
        back = transform_points(data.y, invert_affine(data.affine[0]))
        torch.testing.assert_close(back[channels], example().y, atol=1e-3, rtol=0)


def test_a_flip_mirrors_the_image_and_swaps_partners() -> None:
    plain = RandomAffineCrop(SCHEME, (48, 64), 2.0, flip=0.0, **NEUTRAL)(example())
    mirrored = RandomAffineCrop(SCHEME, (48, 64), 2.0, flip=1.0, **NEUTRAL)(example())
    assert (mirrored.image.flip(-1).int() - plain.image.int()).abs().max() <= 1
    torch.testing.assert_close(mirrored.y[[1, 0, 2]], torch.tensor([63.0, 0.0]) + plain.y * torch.tensor([-1.0, 1.0]))
    assert plain.visibility.tolist() == [1, 0, 1]
    assert mirrored.visibility.tolist() == [0, 1, 1]
    assert plain.occlusion.tolist() == [1, 0, 0]
    assert mirrored.occlusion.tolist() == [0, 1, 0]
    assert mirrored.landmark_id.tolist() == [0, 1, 2]


def test_flipping_twice_is_no_flip() -> None:
    once = RandomAffineCrop(SCHEME, (64, 64), 2.0, flip=1.0, **NEUTRAL)
    data = once(example())
    data.bbox = torch.tensor([[0.5, 0.5, 62.5, 62.5]])
    twice = RandomAffineCrop(SCHEME, (64, 64), 64 / 62, flip=1.0, **NEUTRAL)(data)
    plain = CropToInput((64, 64), 2.0)(example())
    torch.testing.assert_close(twice.y, plain.y, atol=1e-3, rtol=0)
    assert twice.visibility.tolist() == plain.visibility.tolist()
    assert (twice.image.int() - plain.image.int()).abs().max() <= 2


def test_neutral_options_give_the_evaluation_crop() -> None:
    plain = CropToInput((64, 64))(example())
    for crop in (
        RandomAffineCrop(SCHEME, (64, 64), flip=0.0, **NEUTRAL),
        RandomAffineCrop(SCHEME, (64, 64), flip=0.0, probability=0.0),
    ):
        data = crop(example())
        assert torch.equal(data.image, plain.image)
        assert torch.equal(data.y, plain.y)
        assert torch.equal(data.affine, plain.affine)


def drawn(crop: RandomAffineCrop, count: int = 400) -> dict[str, Tensor]:
    """Rotation in degrees, scale, shift [n, 2] and flip as they stand in the affines."""
    source = Data(image=torch.zeros(1, 3, 40, 40, dtype=torch.uint8), bbox=torch.tensor([[10.0, 10.0, 30.0, 30.0]]))
    affine = torch.cat([crop(source).affine for _ in range(count)])
    centre = transform_points(torch.tensor([[20.0, 20.0]]), affine)[:, 0]
    flip = torch.linalg.det(affine[..., :2]) < 0
    cos, sin = affine[:, 1, 1], affine[:, 1, 0]
    return {
        "rotation": torch.rad2deg(torch.atan2(sin, cos)),
        "scale": torch.hypot(cos, sin) / (8 / 25),
        "shift": (centre - 3.5) / 8,
        "flip": flip.float(),
    }


def test_draws_fill_their_range() -> None:
    values = drawn(RandomAffineCrop("ibug68", (8, 8)))
    for name, low, high in (("rotation", -30, 30), ("scale", 0.8, 1.2), ("shift", -0.1, 0.1)):
        span = 0.03 * (high - low)
        assert low - 1e-3 <= values[name].min() < low + span
        assert high - span < values[name].max() <= high + 1e-3
        assert abs(values[name].mean() - (low + high) / 2) < 0.1 * (high - low)
    assert 0.4 < values["flip"].mean() < 0.6


def test_each_transform_is_skipped_independently() -> None:
    values = drawn(RandomAffineCrop("ibug68", (8, 8), probability=0.5))
    neutral = torch.stack(
        [values["rotation"].abs() < 1e-3, (values["scale"] - 1).abs() < 1e-4, values["shift"].abs().amax(-1) < 1e-4]
    ).float()
    assert ((neutral.mean(-1) - 0.5).abs() < 0.1).all()
    assert torch.corrcoef(neutral).fill_diagonal_(0).abs().max() < 0.2


def test_randomness_is_torchs_and_independent_of_the_other_options() -> None:
    crop = RandomAffineCrop(SCHEME, (32, 32))
    torch.manual_seed(3)
    first, second = crop(example()), crop(example())
    torch.manual_seed(3)
    assert torch.equal(crop(example()).affine, first.affine)
    assert not torch.equal(first.affine, second.affine)
    torch.manual_seed(3)
    RandomAffineCrop(SCHEME, (32, 32), rotation=0, translation=0, flip=0)(example())
    assert torch.equal(crop(example()).affine, second.affine)


@pytest.mark.parametrize("transform", [CropToInput((32, 32)), RandomAffineCrop(SCHEME, (32, 32), flip=1.0)])
def test_the_input_is_not_changed(transform) -> None:
    data = example()
    before = data.clone()
    transform(data)
    assert data.keys() == before.keys()
    for key in ("image", "y", "visibility", "bbox"):
        assert torch.equal(data[key], before[key])


def test_shrinking_is_anti_aliased() -> None:
    board = ((torch.arange(600)[:, None] + torch.arange(600)) % 2 * 255).to(torch.uint8).expand(1, 3, 600, 600)
    data = Data(image=board, bbox=torch.tensor([[60.0, 60.0, 540.0, 540.0]]))
    for transform in (CropToInput((32, 32), 1.0), RandomAffineCrop("ibug68", (32, 32), 1.0, translation=0.0)):
        image = transform(data).image.float()
        assert abs(image.mean() - 127.5) < 2
        assert image.std() < 6


def test_outside_of_the_image_is_black() -> None:
    white = torch.full((1, 3, 40, 40), 255, dtype=torch.uint8)
    image = CropToInput((40, 40), 2.0)(Data(image=white, bbox=torch.tensor([[-0.5, -0.5, 39.5, 39.5]]))).image
    assert (image[..., 12:28, 12:28] == 255).all()
    assert (image[..., :8, :] == 0).all()


def sliced(image: Tensor, x0: int, y0: int, x1: int, y1: int, size: tuple[int, int]) -> Tensor:
    """What public code does: a slice of the array, resized."""
    return resize(image[:, y0:y1, x0:x1], list(size), antialias=True)


def test_the_official_crop_is_a_slice_resized_and_padded() -> None:
    image = torch.randint(256, (3, 300, 200), dtype=torch.uint8)
    face = Data(image=image[None], bbox=torch.tensor([[-8.0, 20.0, 100.0, 220.0]]), y=torch.tensor([[0.0, 20.0]]))
    data = CropToInput((64, 64), **get_protocol("official").crop_options)(face)
    # 100 x 200 pixels become 32 x 64, in the middle of 64.
    expected = sliced(image, 0, 20, 100, 220, (64, 32))
    assert (data.image[0, :, :, 16:48].int() - expected.int()).abs().max() <= 2
    assert (data.image[..., :16] == 114).all() and (data.image[..., 48:] == 114).all()
    # The centre of the slice's first pixel, zoomed by 0.32 about the edges of pixels.
    torch.testing.assert_close(data.y, torch.tensor([[16 + 0.5 * 0.32 - 0.5, 0.5 * 0.32 - 0.5]]))


def test_the_crop_of_pipnet_is_a_slice_stretched_to_the_input() -> None:
    image = torch.randint(256, (3, 300, 200), dtype=torch.uint8)
    face = Data(image=image[None], bbox=torch.tensor([[100.0, 50.0, 200.0, 250.0]]), y=torch.tensor([[95.0, 40.0]]))
    data = CropToInput((64, 64), **get_protocol("pipnet").crop_options)(face)
    # 95 ... 205 of 200 pixels in x, 40 ... 260 in y.
    expected = sliced(image, 95, 40, 199, 260, (64, 64))
    assert (data.image[0].int() - expected.int()).abs().max() <= 4
    torch.testing.assert_close(data.y, torch.tensor([[0.5 * 64 / 104 - 0.5, 0.5 * 64 / 220 - 0.5]]))


@pytest.mark.parametrize("name", PROTOCOLS.names())
def test_landmarks_follow_the_image_under_every_protocol(name: str) -> None:
    options = {**get_protocol(name).crop_options, "fill": 0}
    neutral = RandomAffineCrop(SCHEME, (64, 64), flip=0.0, **NEUTRAL, **options)(example())
    plain = CropToInput((64, 64), **options)(example())
    assert torch.equal(neutral.image, plain.image) and torch.equal(neutral.affine, plain.affine)
    options["enlargement"] *= 2.5
    for _ in range(6):
        data = RandomAffineCrop(SCHEME, (96, 96), flip=0.0, **options)(example())
        inside = ((data.y > 14) & (data.y < 81)).all(dim=-1)
        torch.testing.assert_close(centres(data.image)[inside], data.y[inside], atol=0.35, rtol=0)


def test_a_real_scheme_is_permuted_as_its_table_says() -> None:
    scheme = get_scheme("wflw98")
    pos = torch.rand(98, 2) * 50
    data = Data(image=torch.zeros(1, 3, 60, 60, dtype=torch.uint8), y=pos, bbox=torch.tensor([[0.0, 0.0, 50.0, 50.0]]))
    mirrored = RandomAffineCrop(scheme, (50, 50), 1.0, flip=1.0, **NEUTRAL)(data)
    expected = torch.stack([49 - (pos[:, 0] - 0.5), pos[:, 1] - 0.5], dim=-1)[list(scheme.flip_permutation)]
    torch.testing.assert_close(mirrored.y, expected, atol=1e-3, rtol=0)


def test_bad_options_and_repr() -> None:
    with pytest.raises(InputError, match="'scale'"):
        RandomAffineCrop("ibug68", (8, 8), scale=(1.2, 0.8))
    with pytest.raises(InputError, match="'flip'"):
        RandomAffineCrop("ibug68", (8, 8), flip=1.5)
    with pytest.raises(InputError, match="'probability'"):
        RandomAffineCrop("ibug68", (8, 8), probability=-math.inf)
    with pytest.raises(InputError, match="'aspect'"):
        CropToInput((8, 8), aspect="wide")
    with pytest.raises(InputError, match="'side'"):
        CropToInput((8, 8), side="left")
    official = CropToInput((8, 8), **get_protocol("official").crop_options)
    assert str(official) == "CropToInput((8, 8), enlargement=1.0, aspect=letterbox, clip=True, fill=114)"
    assert str(CropToInput((8, 8))) == "CropToInput((8, 8), enlargement=1.25)"
    assert str(RandomAffineCrop("ibug68", (8, 8))).startswith("RandomAffineCrop(ibug68, (8, 8), enlargement=1.25, ")
