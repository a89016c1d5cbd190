"""Saved refiner of points alone: improves the landmarks of any detector by statistics of shapes and errors."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor

from lgcn.checks import InputError, check_at_least, check_floating, check_mask, check_number, check_shape
from lgcn.covariance import expected_error
from lgcn.models.loading import CONFIG_NAME, WEIGHTS_NAME, check_weights, load_saved
from lgcn.models.model_card import shape_refiner_card
from lgcn.models.saving import save_model
from lgcn.models.shape_config import KIND, OUTLIER_SHARE, Refinement, ShapeRefinerConfig, read_shape_config
from lgcn.models.shape_statistics import (
    EXPECTED_ERRORS,
    HELD_OUT,
    LEAST_IMAGES,
    MAX_SLOPES,
    NOISE_SCALES,
    NUM_LEVELS,
    Frame,
    LinearErrors,
    complete,
    fill,
    find_donors,
    fit_linear_errors,
    mahalanobis,
    most_cautious,
    observed_landmarks,
    share_as_large,
)
from lgcn.nn import GaussianRefiner, Refiner
from lgcn.nn.functional.similarity import Similarity, fit_similarity
from lgcn.options import update
from lgcn.typing import KeyPoints

LEAST_OBSERVED = 2  # landmarks, without which position, scale and rotation of a shape are open


class ShapeRefiner(Refiner, PyTorchModelHubMixin):
    """Improves the points of any detector in images of any size; a :class:`lgcn.nn.GaussianRefiner` that can be saved.

    It needs points alone, and confidences if it is built so: no image, no heatmaps and no features.

    Args:
        config: options.
        num_landmarks: K, of a default configuration instead.
        use_confidence: whether the noise depends on confidences, with ``num_landmarks``.

    Raises:
        InputError: if neither ``config`` nor ``num_landmarks`` is given, or both are, or options do not fit.
    """

    levels: Tensor
    bias: Tensor
    directions: Tensor
    slopes: Tensor
    error_scale: Tensor

    def __init__(
        self,
        config: ShapeRefinerConfig | None = None,
        *,
        num_landmarks: int | None = None,
        use_confidence: bool = False,
    ) -> None:
        super().__init__()
        if config is None:
            if num_landmarks is None:
                raise InputError("Expected 'num_landmarks' or 'config' (got neither).")
            check_at_least("num_landmarks", num_landmarks, 3)
            # A small set of landmarks has fewer directions than the default rank.
            gaussian = {"use_confidence": use_confidence, "rank": max(1, min(16, 2 * num_landmarks - 4))}
            config = update(ShapeRefinerConfig(num_landmarks), {"gaussian": gaussian})
        elif num_landmarks is not None or use_confidence:
            raise InputError("Expected 'num_landmarks' and 'use_confidence' in 'config' (got them besides it).")
        self.config = config
        self.chosen: dict[str, float] = {}
        """What the last :meth:`fit` decided: ``slope``, ``bias_share``, ``noise_scale``; empty in a loaded one."""
        self.gaussian = GaussianRefiner(config.num_landmarks, 0, (1, 1), **asdict(config.gaussian))
        K, R = config.num_landmarks, min(MAX_SLOPES, 2 * config.num_landmarks - 4)
        self.register_buffer("bias", torch.zeros(K, 2))
        self.register_buffer("directions", torch.zeros(2 * K, R))
        self.register_buffer("slopes", torch.zeros(R, 2 * K))
        self.register_buffer("levels", torch.zeros(NUM_LEVELS))
        self.register_buffer("error_scale", torch.ones(2))

    @property
    def num_landmarks(self) -> int:
        """K."""
        return self.config.num_landmarks

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """``confidence``, if the refiner was built so."""
        return self.gaussian.needs

    @property
    def is_fitted(self) -> bool:
        """Whether :meth:`fit` has been called, or a saved refiner was loaded."""
        return self.gaussian.is_fitted

    @torch.no_grad()
    def fit(
        self, shapes: Tensor, predictions: Tensor | KeyPoints | None = None, confidences: Tensor | None = None
    ) -> "ShapeRefiner":
        """Learns shapes and errors in closed form: in seconds, without images and without gradients.

        Each image counts the same, whatever its size in pixels. A fifth of the images, if there are 100 or more,
        decides whether errors depend linearly on the shape, how much of the expected error is removed and how far
        landmarks follow the others (a detector whose errors are plausible shapes gains nothing from a shape prior), and
        calibrates expected errors and outliers.

        Args:
            shapes: [N, K, 2], true landmarks of N images, pixels; NaN where not annotated.
            predictions: [N, K, 2], landmarks of the same images by the detector that is to be refined, in the same
                pixels; NaN where it found none. Their errors must be like those in new images: take images that the
                detector was not trained on. Without predictions the noise is a guess, as large as what is unique to
                each landmark. Or :class:`KeyPoints` of the N images, with their confidences and what is missing.
            confidences: [N, K], of the predictions; needed with them if the refiner uses confidences.

        Returns:
            The module itself, in eval mode.

        Raises:
            InputError: for tensors that do not match, shapes that vary too little, and landmarks that are never both
                annotated and predicted.
        """
        if isinstance(predictions, KeyPoints):
            if confidences is not None:
                raise InputError("Expected 'confidences' in the KeyPoints of 'predictions' (got them besides it).")
            confidences, missing = predictions.confidence, predictions.mask
            predictions = predictions.pos
            if missing is not None:
                check_mask("predictions.mask", missing, "N K", N=len(predictions), K=self.num_landmarks)
                predictions = predictions.masked_fill(~missing.unsqueeze(-1), torch.nan)
        for name, tensor in (("shapes", shapes), ("predictions", predictions)):
            if tensor is not None:
                check_shape(name, tensor, "N K 2", N=len(shapes), K=self.num_landmarks)
                check_floating(name, tensor)
        annotated = shapes.isfinite().all(-1).cpu()
        known = annotated.sum(-1) > LEAST_OBSERVED
        shapes, annotated = shapes.cpu().double()[known], annotated[known]
        frame = Frame.of(shapes, annotated)
        shapes = complete(self.gaussian, frame.apply(shapes), annotated)
        self._remove(None)
        self.error_scale.fill_(1.0)
        self.gaussian.fit(shapes)
        # The lengths of standard normal errors in the plane, until held-out images say otherwise.
        fraction = torch.linspace(0, 1, NUM_LEVELS, dtype=torch.double)
        self.levels.copy_((-2 * torch.log1p(-fraction)).sqrt())
        if predictions is None:
            return self.eval()
        predictions = frame.apply(predictions.cpu().double()[known])
        confidences = None if confidences is None else confidences.cpu().double()[known]
        pairs = annotated & predictions.isfinite().all(-1)
        errors = predictions - shapes
        donor = find_donors(pairs)
        matrix = self._to_frame(shapes).matrix
        errors = (errors @ matrix.mT).gather(0, donor.unsqueeze(-1).expand_as(errors)) @ matrix.inverse().mT
        if confidences is None:
            self.check_needs(KeyPoints(predictions))
        else:
            check_shape("confidences", confidences, "N K", N=len(shapes), K=self.num_landmarks)
            confidences = confidences.gather(0, donor)
        predictions = shapes + errors
        held, (slope, share, noise) = torch.arange(len(shapes)) % HELD_OUT == 0, (0.0, 1.0, 1.0)
        if len(shapes) >= LEAST_IMAGES:
            slope, share, noise = self._choose(shapes, predictions, confidences, held, pairs)
            self.gaussian.fit(shapes)
        self._fit_errors(shapes, predictions, confidences, slope, share)
        self.gaussian.noise.log_variance[:, :2] += math.log(noise)
        if confidences is not None and len(shapes) >= LEAST_IMAGES:
            variance = self.gaussian.align(None, predictions.to(self.bias), confidences.to(self.bias))[2]
            self.gaussian.reliability.fit(variance, torch.ones(len(variance), dtype=torch.bool))
        self.chosen = {"slope": slope, "bias_share": share, "noise_scale": noise}
        return self.eval()

    def _fit_errors(
        self, shapes: Tensor, predictions: Tensor, confidences: Tensor | None, slope: float, share: float
    ) -> None:
        """Set expected errors to a share of their estimate, and the noise to what is left without them."""
        similarity = self._to_frame(predictions)
        aligned = similarity.apply(predictions)
        deviation, errors = aligned - self.gaussian.frame.to(aligned), aligned - similarity.apply(shapes)
        found = fit_linear_errors(deviation, errors, self.slopes.shape[0], slope)
        self._remove(found)
        left = (self._without_bias(predictions) - shapes) @ self._to_frame(shapes).matrix.mT
        self.gaussian.noise.fit(left, confidences)
        self._remove(found.times(share))

    def _remove(self, errors: LinearErrors | None) -> None:
        """Set the errors that are expected in predictions; None are none."""
        for name in LinearErrors._fields:
            buffer = getattr(self, name)
            buffer.copy_(torch.zeros_like(buffer) if errors is None else getattr(errors, name))

    def _choose(
        self, shapes: Tensor, predictions: Tensor, confidences: Tensor | None, held: Tensor, pairs: Tensor
    ) -> tuple[float, float, float]:
        """Slope and share of the expected error and factor of the noise for held-out images; calibrates to them."""
        rest = ~held
        known = None if confidences is None else confidences[rest]
        truth, pairs = shapes[held].to(self.bias), pairs[held]
        given = KeyPoints(
            predictions[held].to(self.bias), None if confidences is None else confidences[held].to(self.bias)
        )
        self.gaussian.fit(shapes[rest])
        found: dict[tuple[float, float, float], float] = {}
        for slope, share in EXPECTED_ERRORS:
            self._fit_errors(shapes[rest], predictions[rest], known, slope, share)
            start = self.gaussian.noise.log_variance[:, :2].clone()
            for noise in NOISE_SCALES:
                self.gaussian.noise.log_variance[:, :2] = start + math.log(noise)
                moved = self.gaussian(None, self._without_bias(given.pos), given.confidence)
                found[share, slope, noise] = (moved - truth).norm(dim=-1)[pairs].mean().item()
        share, slope, noise = most_cautious(found)
        self._fit_errors(shapes[rest], predictions[rest], known, slope, share)
        self.gaussian.noise.log_variance[:, :2] += math.log(noise)
        refined = self(given)
        deviation = refined.deviation[pairs].sort().values
        self.levels.copy_(deviation[torch.linspace(0, len(deviation) - 1, NUM_LEVELS).long()])
        # Missing ones are measured by hiding a quarter of the landmarks.
        generator = torch.Generator().manual_seed(0)
        hidden = torch.rand(pairs.shape, generator=generator) < 0.25
        hidden &= (pairs & ~hidden).sum(1, keepdim=True) >= LEAST_OBSERVED
        partial = self(given._replace(mask=~hidden))
        for place, (result, chosen) in enumerate(((refined, pairs), (partial, hidden & pairs))):
            actual = (result.pos - truth).norm(dim=-1)[chosen].mean()
            self.error_scale[place] = actual / result.expected_error[chosen].mean().clamp_min(1e-12)
        return slope, share, noise

    def forward(self, keypoints: KeyPoints, drop_outliers: int = 0, outlier_share: float = OUTLIER_SHARE) -> Refinement:
        """Refine landmarks; say how large the error of each is expected to be, and which contradict the others.

        Args:
            keypoints: landmarks in pixels of any image. Those whose ``mask`` is False or whose position is not finite
                are missing. Heatmaps and features are not read.
            drop_outliers: up to so many landmarks of each image, the worst first, are replaced by what the others
                predict if they are outliers; otherwise they pull the others along.
            outlier_share: ``p`` of :meth:`Refinement.outliers`, for ``drop_outliers``: landmarks that contradict the
                others more than all but this share of those in the fit. If a share of those were outliers, give that.

        Raises:
            InputError: if the refiner is not fitted, or lacks confidences, or shapes and types do not fit.
        """
        if not self.is_fitted:
            raise InputError("Expected a refiner that is fitted (got one that is not). Call fit, or load a saved one.")
        check_at_least("drop_outliers", drop_outliers, 0)
        check_number("outlier_share", outlier_share, 0, 1)
        self.check_needs(keypoints)
        observed = used = observed_landmarks(keypoints, self.num_landmarks)
        refined = self._refine(keypoints, used)
        deviation = refined.deviation
        for _ in range(drop_outliers):
            worst, place = refined.deviation.masked_fill(~used, 0.0).max(dim=1, keepdim=True)
            dropped = (
                torch.zeros_like(used).scatter(1, place, share_as_large(self.levels, worst) <= outlier_share) & used
            )
            if not dropped.any():
                break
            used = used & ~dropped
            refined = self._refine(keypoints, used)
            deviation = torch.where(used, refined.deviation, deviation.where(~dropped, worst))
        share = share_as_large(self.levels, deviation).masked_fill(~observed, 1.0)
        return refined._replace(deviation=deviation.masked_fill(~observed, 0.0), outlier_p=share, observed=observed)

    def _refine(self, keypoints: KeyPoints, observed: Tensor) -> Refinement:
        """Refine landmarks, of which some are read; without shares of outliers."""
        pos = keypoints.pos
        frame = Frame.of(pos, observed)
        moved = frame.apply(pos.masked_fill(~observed.unsqueeze(-1), 0.0)).to(self.bias)
        given = (None, self._without_bias(moved, observed), keypoints.confidence, observed)
        result = self.gaussian.posterior(*given)
        area = frame.radius.square().unsqueeze(-1)
        unknown = (observed.sum(-1) < LEAST_OBSERVED)[:, None, None]
        scale = torch.where(observed, self.error_scale[0], self.error_scale[1]).to(pos)[..., None, None]
        covariance = result.covariance.to(pos) * area * scale.square()
        covariance = covariance.masked_fill(unknown.unsqueeze(-1), torch.nan)
        deviation = mahalanobis(result.residual, result.residual_covariance)
        return Refinement(
            frame.invert(result.mean.to(pos)).masked_fill(unknown, torch.nan),
            covariance,
            expected_error(covariance),
            deviation,
            deviation,
            observed,
            self.gaussian.reliability(self.gaussian.align(*given)[2], mask=observed)[0],
        )

    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        if return_connectivity:
            raise InputError("Expected 'return_connectivity' to be False for a ShapeRefiner (got True).")
        refined = self(keypoints)
        known = {name: getattr(refined, name) for name in ("pos", "covariance", "expected_error", "covered")}
        return keypoints._replace(**known)

    @classmethod
    def from_pretrained(cls, source: str | Path, **download: Any) -> "ShapeRefiner":  # type: ignore[override]
        """Load a saved refiner, in eval mode.

        Args:
            source: a folder of :meth:`save_pretrained`, or the id ``owner/name`` of a refiner on the hub.
            **download: arguments of :func:`huggingface_hub.hf_hub_download`.

        Raises:
            InputFileError: if there is no such refiner, or its files do not fit together.
        """
        otherwise = (
            f"Expected the refiner to be a folder with {CONFIG_NAME} and {WEIGHTS_NAME} of a ShapeRefiner, as "
            f"'lgcn fit-refiner' writes it, or a hub id 'owner/name' (got '{source}')."
        )
        config, weights = load_saved(source, read_shape_config, otherwise, **download)
        refiner = cls(config)
        check_weights(source, refiner.state_dict(), weights)
        refiner.load_state_dict(weights)
        return refiner.eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """What :meth:`save_pretrained` writes to ``README.md`` if there is none."""
        return shape_refiner_card(self.config)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(save_directory, {"model": KIND, **asdict(self.config)}, self.state_dict())

    def _to_frame(self, pos: Tensor, observed: Tensor | None = None) -> Similarity:
        """The similarities from shapes [N, K, 2] to the mean shape."""
        weight = None if observed is None else observed.to(pos.dtype)
        return fit_similarity(pos, self.gaussian.frame.to(pos), weight)

    def _without_bias(self, pos: Tensor, observed: Tensor | None = None) -> Tensor:
        """Shapes [N, K, 2] less the errors that are expected in them."""
        similarity = self._to_frame(pos, observed)
        deviation = similarity.apply(pos) - self.gaussian.frame.to(pos)
        errors = LinearErrors(self.bias, self.directions, self.slopes)
        if observed is not None:
            deviation = fill(self.gaussian, deviation, errors.bias.to(pos), observed)
        return pos - errors(deviation) @ similarity.inverse_matrix().mT
