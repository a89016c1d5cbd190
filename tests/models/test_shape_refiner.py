import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lgcn
from lgcn.checks import InputError, InputFileError
from lgcn.covariance import expected_error
from lgcn.models import LandmarkDetector, ShapeRefiner, ShapeRefinerConfig, refine
from lgcn.nn.functional.similarity import fit_similarity, mean_shape
from lgcn.typing import KeyPoints

K, FACTORS = 12, 3


def random_images(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes of three factors at many scales, places and rotations; predictions with errors that confidences tell."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    fixed = torch.Generator().manual_seed(99)
    mean, loadings = torch.randn(K, 2, generator=fixed), 0.15 * torch.randn(FACTORS, K, 2, generator=fixed)
    shapes = mean + torch.einsum("nf,fka->nka", normal(count, FACTORS), loadings) + 0.02 * normal(count, K, 2)
    confidences = torch.rand(count, K, generator=generator)
    errors = normal(count, K, 2) * (0.25 - 0.2 * confidences).unsqueeze(-1) + 0.05
    angle, scale = 0.3 * normal(count), (4 + normal(count)).exp()
    cos, sin = scale * angle.cos(), scale * angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))
    place = 300 + 100 * normal(count, 1, 2)
    return shapes @ turn.mT + place, (shapes + errors) @ turn.mT + place, confidences


def relative_error(pos: Tensor, shapes: Tensor, keep: Tensor | None = None) -> float:
    size = (shapes - shapes.mean(1, keepdim=True)).square().sum(-1).mean(-1, keepdim=True).sqrt()
    error = (pos - shapes).norm(dim=-1) / size
    return error.mean().item() if keep is None else error[keep].mean().item()


@pytest.fixture(scope="module")
def refiner() -> ShapeRefiner:
    shapes, predictions, _ = random_images(400)
    return ShapeRefiner(num_landmarks=K).fit(shapes, predictions)


def test_errors_shrink_in_images_of_any_size(refiner: ShapeRefiner) -> None:
    shapes, predictions, _ = random_images(200, seed=1)
    refined = refine(predictions, refiner)
    before, after = relative_error(predictions, shapes), relative_error(refined.pos, shapes)
    assert after < 0.75 * before
    twice = refine(2 * predictions - 1000, refiner)
    torch.testing.assert_close(twice.pos, 2 * refined.pos - 1000, rtol=1e-4, atol=1e-1)
    torch.testing.assert_close(twice.expected_error, 2 * refined.expected_error, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(twice.outlier_p, refined.outlier_p, rtol=0, atol=2e-3)


def test_the_expected_error_is_that_of_new_images(refiner: ShapeRefiner) -> None:
    shapes, predictions, _ = random_images(400, seed=2)
    refined = refine(predictions, refiner)
    size = (shapes - shapes.mean(1, keepdim=True)).square().sum(-1).mean(-1, keepdim=True).sqrt()
    actual = relative_error(refined.pos, shapes)
    assert (refined.expected_error / size).mean().item() == pytest.approx(actual, rel=0.15)


def test_a_systematic_error_is_removed() -> None:
    shapes, _, _ = random_images(300)
    refiner = ShapeRefiner(num_landmarks=K).fit(shapes, shapes + 0.0)
    size = (shapes - shapes.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt()[:, None, None]
    shift = torch.zeros(K, 2).index_fill(0, torch.tensor([2, 5]), 0.3)
    shifted = shapes + size * shift
    refiner.fit(shapes, shifted)
    assert relative_error(refine(shifted, refiner).pos, shapes) < 0.4 * relative_error(shifted, shapes)


def test_errors_that_depend_on_the_shape_are_removed(tmp_path: Path) -> None:
    """A detector that stays too near to the mean shape: no noise of single landmarks describes that."""

    def too_average(shapes: Tensor) -> Tensor:
        similarity = fit_similarity(shapes, mean)
        aligned = similarity.apply(shapes)
        return similarity.invert(mean + 0.4 * (aligned - mean)) + 0.1 * (predictions - shapes)

    shapes, predictions, _ = random_images(400)
    mean = mean_shape(shapes)
    knowing = ShapeRefiner(num_landmarks=K).fit(shapes, too_average(shapes))
    assert knowing.chosen["slope"] > 0
    shapes, predictions, _ = random_images(200, seed=1)
    found = too_average(shapes)
    after = relative_error(refine(found, knowing).pos, shapes)
    assert after < 0.5 * relative_error(found, shapes)
    knowing.save_pretrained(tmp_path)
    assert torch.equal(refine(found, tmp_path).pos, refine(found, knowing).pos)
    missing = found.clone()
    missing[:, 3] = torch.nan
    assert relative_error(refine(missing, knowing).pos, shapes) < 0.6 * relative_error(found, shapes)


def test_confidences_pay_and_are_needed_by_a_refiner_that_uses_them() -> None:
    shapes, predictions, confidences = random_images(400)
    plain = ShapeRefiner(num_landmarks=K).fit(shapes, predictions)
    knowing = ShapeRefiner(num_landmarks=K, use_confidence=True).fit(shapes, predictions, confidences)
    shapes, predictions, confidences = random_images(200, seed=1)
    found = KeyPoints(predictions, confidences)
    assert relative_error(refine(found, knowing).pos, shapes) < 0.95 * relative_error(refine(found, plain).pos, shapes)
    assert knowing.needs == ("confidence",)
    covered = refine(found, knowing).covered
    assert abs(covered.double().mean() - 0.05) < 0.02
    assert confidences[covered].max() < confidences[~covered].median()
    assert refine(found._replace(mask=confidences > 0.5), knowing).covered[confidences <= 0.5].all()
    assert refine(found, plain).covered is None
    with pytest.raises(InputError, match="'keypoints' with confidence for ShapeRefiner"):
        refine(predictions, knowing)


def test_it_is_fitted_to_keypoints_as_it_refines_them() -> None:
    shapes, predictions, confidences = random_images(150)
    gone = confidences < 0.1
    by_tensors = ShapeRefiner(num_landmarks=K, use_confidence=True)
    by_tensors.fit(shapes, predictions.masked_fill(gone.unsqueeze(-1), torch.nan), confidences)
    by_keypoints = ShapeRefiner(num_landmarks=K, use_confidence=True)
    by_keypoints.fit(shapes, KeyPoints(predictions, confidences, mask=~gone))
    assert gone.any()
    for name, value in by_tensors.state_dict().items():
        assert torch.equal(by_keypoints.state_dict()[name], value), name


def test_missing_landmarks_are_filled_in_whatever_their_values(refiner: ShapeRefiner) -> None:
    shapes, predictions, _ = random_images(50, seed=3)
    mask = torch.rand(50, K, generator=torch.Generator().manual_seed(4)) < 0.7
    mask[:, :4] = True
    refined = refine(KeyPoints(predictions, mask=mask), refiner)
    assert relative_error(refined.pos, shapes, ~mask) < 0.35
    assert torch.equal(refined.observed, mask)
    assert (refined.outlier_p[~mask] == 1).all() and (refined.deviation[~mask] == 0).all()
    assert refined.expected_error[~mask].mean() > refined.expected_error[mask].mean()
    holes = refine(predictions.masked_fill(~mask.unsqueeze(-1), torch.nan), refiner)
    torch.testing.assert_close(holes.pos, refined.pos)


def test_a_row_with_fewer_than_two_landmarks_is_unknown(refiner: ShapeRefiner) -> None:
    _, predictions, _ = random_images(3, seed=3)
    mask = torch.ones(3, K, dtype=torch.bool)
    mask[1, 1:], mask[2] = False, False
    refined = refine(KeyPoints(predictions, mask=mask), refiner)
    assert refined.pos[0].isfinite().all()
    assert refined.pos[1:].isnan().all() and refined.expected_error[1:].isnan().all()
    assert not refined.outliers()[1:].any()


def test_outliers_are_named(refiner: ShapeRefiner) -> None:
    shapes, predictions, _ = random_images(100, seed=5)
    size = (shapes - shapes.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt()
    assert refine(predictions, refiner).outliers(0.01).float().mean() == pytest.approx(0.01, abs=0.02)
    predictions[:, 7, 0] += 2 * size
    plain = refine(predictions, refiner)
    named = plain.outliers()
    assert named[:, 7].float().mean() > 0.95
    dropped = refine(predictions, refiner, drop_outliers=1)
    assert dropped.outliers()[:, 7].float().mean() > 0.95 and dropped.observed.all()
    assert relative_error(dropped.pos, shapes) < 0.8 * relative_error(plain.pos, shapes)
    assert named[:, :7].float().mean() < 0.1


def test_outliers_of_a_fit_that_had_some(refiner: ShapeRefiner) -> None:
    contaminated = copy.deepcopy(refiner)
    contaminated.levels[-10:] = 1e6  # one per cent of the landmarks in the fit
    shapes, predictions, _ = random_images(100, seed=5)
    size = (shapes - shapes.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt()
    predictions[:, 7, 0] += 2 * size
    plain, ignored, dropped = (
        relative_error(refine(predictions, contaminated, **options).pos, shapes)
        for options in ({}, {"drop_outliers": 1}, {"drop_outliers": 1, "outlier_share": 0.02})
    )
    assert ignored == plain and dropped < 0.8 * plain
    with pytest.raises(InputError, match="'outlier_share' to be in"):
        refine(predictions, contaminated, outlier_share=2)


def test_shapes_alone_fit_it_too() -> None:
    shapes, predictions, _ = random_images(300)
    refiner = ShapeRefiner(num_landmarks=K).fit(shapes)
    assert relative_error(refine(predictions, refiner).pos, shapes) < relative_error(predictions, shapes)


def test_landmarks_that_are_not_annotated_or_not_found_cost_little(refiner: ShapeRefiner) -> None:
    shapes, predictions, _ = random_images(400)
    generator = torch.Generator().manual_seed(6)
    holes = [
        each.masked_fill(torch.rand(400, K, 1, generator=generator) < 0.3, torch.nan) for each in (shapes, predictions)
    ]
    partial = ShapeRefiner(num_landmarks=K).fit(*holes)
    shapes, predictions, _ = random_images(200, seed=1)
    full = relative_error(refine(predictions, refiner).pos, shapes)
    assert relative_error(refine(predictions, partial).pos, shapes) < 1.1 * full
    with pytest.raises(InputError, match="each landmark in at least one image .got none of landmark 3"):
        partial.fit(shapes.index_fill(1, torch.tensor([3]), torch.nan))


def test_saved_and_loaded_bit_by_bit(refiner: ShapeRefiner, tmp_path: Path) -> None:
    refiner.save_pretrained(tmp_path / "refiner")
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "refiner").iterdir()}
    _, predictions, _ = random_images(5, seed=1)
    for model in (tmp_path / "refiner", str(tmp_path / "refiner")):
        for mine, other in zip(refine(predictions, refiner), lgcn.refine(predictions, model), strict=True):
            assert mine is other is None or torch.equal(mine, other)


def test_what_is_no_saved_refiner_is_one_line(refiner: ShapeRefiner, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"Expected the refiner to be a folder .*got 'nowhere'"):
        ShapeRefiner.from_pretrained("nowhere")
    refiner.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    for wrong, message in (
        ({**saved, "num_landmarks": K + 1}, "weights .* that fit its configuration"),
        ({**saved, "landmarks": K}, "'option name' to be one of .*got 'landmarks'"),
        ({"scheme": "ibug68"}, "configuration of a ShapeRefiner.*config.json"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(InputFileError, match=message):
            ShapeRefiner.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(InputFileError, match="of a LandmarkDetector .got one with 'model': 'shape_refiner'"):
        LandmarkDetector.from_pretrained(tmp_path)


def test_bad_input_is_named(refiner: ShapeRefiner) -> None:
    shapes, predictions, _ = random_images(50)
    with pytest.raises(InputError, match=r"'pos' to have shape \[N, K, 2\] with K=12"):
        refine(predictions[:, 1:], refiner)
    with pytest.raises(InputError, match="that is fitted"):
        refine(predictions, ShapeRefiner(num_landmarks=K))
    with pytest.raises(InputError, match="'predictions' to have shape"):
        ShapeRefiner(num_landmarks=K).fit(shapes, predictions[1:])
    for wrong in (2, "12"):
        with pytest.raises(InputError, match=r"'num_landmarks' to be .*3 or more \(got"):
            ShapeRefiner(num_landmarks=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'confidences' in the KeyPoints of 'predictions'"):
        ShapeRefiner(num_landmarks=K).fit(shapes, KeyPoints(predictions), torch.ones(50, K))
    with pytest.raises(InputError, match="Expected 'num_landmarks' to be 68, as in the scheme 'ibug68'"):
        ShapeRefinerConfig(num_landmarks=67, scheme="ibug68")


def test_expected_error_of_circles_ellipses_and_lines() -> None:
    deviations = torch.tensor([[1.0, 1.0], [3.0, 3.0], [2.0, 0.5], [2.0, 0.0]])
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    samples = torch.randn(400_000, 2, generator=torch.Generator().manual_seed(0))
    measured = torch.stack([(samples * each).norm(dim=-1).mean() for each in deviations])
    expected = expected_error(turn @ torch.diag_embed(deviations.square()) @ turn.mT)
    torch.testing.assert_close(expected, measured, rtol=6e-3, atol=0)
