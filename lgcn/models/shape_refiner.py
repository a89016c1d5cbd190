"""Saved refiner of points alone: improves the landmarks of any detector by statistics of shapes and errors."""

import json
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from huggingface_hub import PyTorchModelHubMixin
from pydantic.dataclasses import dataclass
from safetensors.torch import save_file
from torch import Tensor

from lgcn.checks import InputError, check_floating, check_mask, check_shape
from lgcn.files import replace_when_done, write_text
from lgcn.geometry import expected_error
from lgcn.models.loading import CONFIG_NAME, WEIGHTS_NAME, check_weights, load_saved
from lgcn.models.refiner_config import GaussianConfig
from lgcn.nn import GaussianRefiner, Refiner
from lgcn.nn.functional.gaussian import solve_2x2
from lgcn.nn.functional.similarity import Similarity, fit_similarity
from lgcn.options import STRICT_KEYS, Bounds, input_errors, update
from lgcn.schemes import SCHEMES
from lgcn.typing import KeyPoints

KIND = "shape_refiner"
"""Value of ``model`` in the ``config.json`` of a saved :class:`ShapeRefiner`."""

LEAST_OBSERVED = 2
"""Landmarks without which position, scale and rotation of a shape are open."""

NUM_LEVELS = 1001


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class ShapeRefinerConfig:
    """Options of a :class:`ShapeRefiner`.

    Args:
        num_landmarks: K.
        scheme: Name of the landmark scheme, or null; only a reminder of what the landmarks are.
        gaussian: Options of the shape prior and of the noise.
    """

    num_landmarks: Annotated[int, Bounds(3, 100_000)]
    scheme: str | None = None
    gaussian: GaussianConfig = field(
        default_factory=lambda: GaussianConfig(
            noise="full", use_confidence=False, noise_inputs=("confidence",), offset=False, hidden_channels=()
        )
    )

    def __post_init__(self) -> None:
        if self.scheme in SCHEMES.names() and SCHEMES[self.scheme].num_landmarks != self.num_landmarks:
            raise InputError(
                f"Expected 'num_landmarks' to be {SCHEMES[self.scheme].num_landmarks}, as in the scheme "
                f"'{self.scheme}' (got {self.num_landmarks})."
            )


class Refinement(NamedTuple):
    """Refined landmarks and what is known of each; pixels of the image that the points were given in."""

    pos: Tensor
    """[N, K, 2], refined; missing landmarks are predicted from the others. NaN where fewer than two were given."""
    covariance: Tensor
    """[N, K, 2, 2], of the errors of ``pos``, square pixels."""
    expected_error: Tensor
    """[N, K], expected distance of ``pos`` from the truth."""
    deviation: Tensor
    """[N, K], distance of the given landmark from where the others predict it, in units of the expected deviation; 0
    where it was missing."""
    outlier_p: Tensor
    """[N, K], share of the landmarks that the refiner was fitted to with a ``deviation`` as large: small for outliers.
    """
    observed: Tensor
    """[N, K], False where a landmark was missing and has been filled in."""

    def outliers(self, p: float = 0.002) -> Tensor:
        """[N, K], whether a landmark contradicts the others more than all but a share ``p`` of those in the fit."""
        return self.outlier_p <= p


class Frame(NamedTuple):
    """Centre and size of each shape; coordinates relative to them do not depend on the size of images."""

    centre: Tensor
    """[N, 1, 2], mean of the observed points."""
    radius: Tensor
    """[N, 1, 1], their root-mean-square distance from it."""

    @classmethod
    def of(cls, pos: Tensor, observed: Tensor | None = None) -> "Frame":
        """The frame of shapes [N, K, 2], of whose landmarks only the ``observed`` [N, K] are read."""
        if observed is None:
            observed = torch.ones_like(pos[..., 0], dtype=torch.bool)
        weight = observed.unsqueeze(-1).to(pos.dtype)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1.0)
        pos = pos.masked_fill(~observed.unsqueeze(-1), 0.0)
        centre = (weight * pos).sum(1, keepdim=True)
        radius = (weight * (pos - centre).square()).sum((1, 2), keepdim=True).sqrt()
        return cls(centre, torch.where(radius > 0, radius, 1.0))

    def apply(self, pos: Tensor) -> Tensor:
        """Points [N, K, 2] of the image, in this frame."""
        return (pos - self.centre) / self.radius

    def invert(self, pos: Tensor) -> Tensor:
        """Points [N, K, 2] of this frame, in the image."""
        return pos * self.radius + self.centre


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
            # A small set of landmarks has fewer directions than the default rank.
            gaussian = {"use_confidence": use_confidence, "rank": max(1, min(16, 2 * num_landmarks - 4))}
            config = update(ShapeRefinerConfig(num_landmarks), {"gaussian": gaussian})
        elif num_landmarks is not None or use_confidence:
            raise InputError("Expected 'num_landmarks' and 'use_confidence' in 'config' (got them besides it).")
        self.config = config
        self.gaussian = GaussianRefiner(config.num_landmarks, 0, (1, 1), **asdict(config.gaussian))
        self.register_buffer("bias", torch.zeros(config.num_landmarks, 2))
        self.register_buffer("levels", torch.zeros(NUM_LEVELS))

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
        self, shapes: Tensor, predictions: Tensor | None = None, confidences: Tensor | None = None
    ) -> "ShapeRefiner":
        """Learns shapes and errors in closed form: in seconds, without images and without gradients.

        Each image counts the same, whatever its size in pixels.

        Args:
            shapes: [N, K, 2], true landmarks of N images, pixels; NaN where not annotated.
            predictions: [N, K, 2], landmarks of the same images by the detector that is to be refined, in the same
                pixels; NaN where it found none. Their errors must be like those in new images: take images that the
                detector was not trained on. Without predictions the noise is a guess, as large as what is unique to
                each landmark.
            confidences: [N, K], of the predictions; needed with them if the refiner uses confidences.

        Returns:
            The module itself, in eval mode.

        Raises:
            InputError: for tensors that do not match, shapes that vary too little, and landmarks that are never both
                annotated and predicted.
        """
        for name, tensor in (("shapes", shapes), ("predictions", predictions)):
            if tensor is not None:
                check_shape(name, tensor, "N K 2", N=len(shapes), K=self.num_landmarks)
                check_floating(name, tensor)
        annotated = shapes.isfinite().all(-1).cpu()
        known = annotated.sum(-1) > LEAST_OBSERVED
        shapes, annotated = shapes.cpu().double()[known], annotated[known]
        frame = Frame.of(shapes, annotated)
        shapes = self._complete(frame.apply(shapes), annotated)
        self.bias.zero_()
        self.gaussian.fit(shapes)
        if predictions is None:
            # The lengths of standard normal errors in the plane.
            share = torch.linspace(0, 1, NUM_LEVELS, dtype=torch.double)
            self.levels.copy_((-2 * torch.log1p(-share)).sqrt())
            return self.eval()
        predictions = frame.apply(predictions.cpu().double()[known])
        confidences = None if confidences is None else confidences.cpu().double()[known]
        pairs = annotated & predictions.isfinite().all(-1)
        similarity = self._to_frame(shapes)
        errors = (predictions - shapes) @ similarity.matrix.mT
        donor = _donors(pairs)
        errors = errors.gather(0, donor.unsqueeze(-1).expand_as(errors))
        if confidences is not None:
            check_shape("confidences", confidences, "N K", N=len(shapes), K=self.num_landmarks)
            confidences = confidences.gather(0, donor)
        predictions = shapes + errors @ similarity.inverse_matrix().mT
        self.bias.copy_(errors.mean(0))
        self.gaussian.fit(shapes, self._without_bias(predictions), confidences)
        found = self(KeyPoints(predictions.to(self.bias), confidences))
        deviation = found.deviation[pairs].sort().values
        self.levels.copy_(deviation[torch.linspace(0, len(deviation) - 1, NUM_LEVELS).long()])
        return self.eval()

    def forward(self, keypoints: KeyPoints) -> Refinement:
        """Refines landmarks; says how large the error of each is expected to be, and which contradict the others.

        Args:
            keypoints: landmarks in pixels of any image. Those whose ``mask`` is False or whose position is not finite
                are missing. Heatmaps and features are not read.

        Raises:
            InputError: if the refiner is not fitted, or lacks confidences, or shapes and types do not fit.
        """
        if not self.is_fitted:
            raise InputError("Expected a refiner that is fitted (got one that is not). Call fit, or load a saved one.")
        self.check_needs(keypoints)
        pos, observed = keypoints.pos, _observed(keypoints, self.num_landmarks)
        frame = Frame.of(pos, observed)
        moved = frame.apply(pos.masked_fill(~observed.unsqueeze(-1), 0.0)).to(self.bias)
        result = self.gaussian.posterior(None, self._without_bias(moved, observed), keypoints.confidence, observed)
        area = frame.radius.square().unsqueeze(-1)
        unknown = (observed.sum(-1) < LEAST_OBSERVED)[:, None, None]
        covariance = (result.covariance.to(pos) * area).masked_fill(unknown.unsqueeze(-1), torch.nan)
        deviation = _mahalanobis(result.residual, result.residual_covariance)
        below = torch.searchsorted(self.levels, deviation.detach().contiguous())
        return Refinement(
            frame.invert(result.mean.to(pos)).masked_fill(unknown, torch.nan),
            covariance,
            expected_error(covariance),
            deviation,
            (1 - below / (NUM_LEVELS - 1)).clamp_min(0.0).masked_fill(~observed, 1.0),
            observed,
        )

    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        if return_connectivity:
            raise InputError("Expected 'return_connectivity' to be False for a ShapeRefiner (got True).")
        refined = self(keypoints)
        return keypoints._replace(pos=refined.pos, covariance=refined.covariance)

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
            f"Expected 'model' to be a folder with {CONFIG_NAME} and {WEIGHTS_NAME} of a ShapeRefiner, or a hub id "
            f"'owner/name' (got '{source}')."
        )
        config, weights = load_saved(source, _read_config, otherwise, **download)
        refiner = cls(config)
        check_weights(source, refiner.state_dict(), weights)
        refiner.load_state_dict(weights)
        return refiner.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        saved = {"model": KIND, **asdict(self.config)}
        write_text(save_directory / CONFIG_NAME, json.dumps(saved, indent=2) + "\n")
        with replace_when_done(save_directory / WEIGHTS_NAME) as temporary:
            save_file({key: value.contiguous() for key, value in self.state_dict().items()}, temporary)

    def _complete(self, shapes: Tensor, annotated: Tensor, iterations: int = 5) -> Tensor:
        """Shapes [N, K, 2] with what the others predict for the landmarks that are not annotated."""
        if annotated.all():
            return shapes
        if not annotated.any(0).all():
            raise InputError(
                f"Expected 'shapes' with each landmark in at least one image (got none of landmark "
                f"{int(annotated.any(0).long().argmin())}). Leave that landmark out."
            )
        missing = ~annotated.unsqueeze(-1)
        weight = annotated.double()
        mean = shapes.masked_fill(missing, 0.0).sum(0) / weight.sum(0).unsqueeze(-1)
        for _ in range(iterations):
            filled = shapes.masked_fill(missing, 0.0)
            similarity = fit_similarity(filled, mean, weight)
            mean = (similarity.apply(filled) * weight.unsqueeze(-1)).sum(0) / weight.sum(0).unsqueeze(-1)
        shapes = torch.where(missing, similarity.invert(mean.expand_as(shapes)), shapes)
        for _ in range(iterations):
            self.gaussian.fit(shapes)
            predicted = self.gaussian.posterior(None, shapes.to(self.bias), self._confident(shapes), annotated).mean
            shapes = torch.where(missing, predicted.to(shapes), shapes)
        return shapes

    def _confident(self, shapes: Tensor) -> Tensor | None:
        return torch.ones_like(shapes[..., 0]).to(self.bias) if "confidence" in self.needs else None

    def _to_frame(self, pos: Tensor, observed: Tensor | None = None) -> Similarity:
        """The similarities from shapes [N, K, 2] to the mean shape."""
        weight = None if observed is None else observed.to(pos.dtype)
        return fit_similarity(pos, self.gaussian.frame.to(pos), weight)

    def _without_bias(self, pos: Tensor, observed: Tensor | None = None) -> Tensor:
        """Shapes [N, K, 2] less the mean error of each landmark type."""
        return pos - self.bias.to(pos) @ self._to_frame(pos, observed).inverse_matrix().mT


def refine(keypoints: KeyPoints | Tensor, model: str | Path | ShapeRefiner, **download: Any) -> Refinement:
    """Improves the points of any detector: the errors of all landmarks together, missing ones filled in, outliers.

    Args:
        keypoints: landmarks [N, K, 2] in pixels of any image, NaN where missing, or :class:`lgcn.typing.KeyPoints`.
        model: folder or hub id of a saved :class:`ShapeRefiner`, or one that is loaded already.
        **download: arguments of :func:`huggingface_hub.hf_hub_download`.

    Raises:
        InputError: if the points do not fit the refiner.
        InputFileError: if there is no such refiner.
    """
    refiner = model if isinstance(model, ShapeRefiner) else ShapeRefiner.from_pretrained(model, **download)
    given = keypoints if isinstance(keypoints, KeyPoints) else KeyPoints(keypoints)
    with torch.no_grad():
        return refiner(given)


def _read_config(saved: Any) -> ShapeRefinerConfig:
    if not isinstance(saved, Mapping) or saved.get("model") != KIND:
        raise InputError(f"Expected the configuration of a ShapeRefiner, with 'model': '{KIND}'.")
    options = {key: value for key, value in saved.items() if key != "model"}
    return update(ShapeRefinerConfig(options.get("num_landmarks", 0)), options)


def _observed(keypoints: KeyPoints, num_landmarks: int) -> Tensor:
    """[N, K], False where a landmark is missing."""
    pos, mask = keypoints.pos, keypoints.mask
    check_shape("pos", pos, "N K 2", K=num_landmarks)
    check_floating("pos", pos)
    observed = pos.isfinite().all(-1)
    if mask is None:
        return observed
    check_mask("mask", mask, "N K", N=len(pos), K=num_landmarks)
    return observed & mask


def _donors(pairs: Tensor) -> Tensor:
    """Indices [N, K] of images whose error of a landmark is known: the own one [N, K], else that of a random other."""
    if not pairs.any(0).all():
        raise InputError(
            f"Expected each landmark predicted in at least one image where it is annotated (got none of landmark "
            f"{int(pairs.any(0).long().argmin())}). Leave that landmark out, or fit to shapes alone."
        )
    generator = torch.Generator().manual_seed(0)
    own = torch.arange(len(pairs)).unsqueeze(-1).expand_as(pairs)
    drawn = torch.multinomial(pairs.mT.float(), len(pairs), replacement=True, generator=generator).mT
    return torch.where(pairs, own, drawn)


def _mahalanobis(residual: Tensor, covariance: Tensor) -> Tensor:
    """Lengths [...] of residuals [..., 2] in units of their covariances [..., 2, 2]."""
    solved = solve_2x2(covariance, residual.unsqueeze(-1)).squeeze(-1)
    return (residual * solved).sum(-1).clamp_min(0.0).sqrt()
