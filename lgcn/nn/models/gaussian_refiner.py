"""Refinement of landmarks by a Gaussian shape prior and noise learned from types, confidences and features."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch_geometric.nn import MLP

from lgcn.checks import InputError, check_at_least, check_choice, check_finite, check_shape
from lgcn.graph import SAMPLING_MODES, sample_features
from lgcn.nn.conv.dense_factor_analysis_conv import DenseFactorAnalysisConv
from lgcn.nn.conv.factor_analysis_prior import FactorAnalysisPrior
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.nn.functional.gaussian import GaussianPosterior
from lgcn.nn.functional.similarity import Similarity, fit_similarity
from lgcn.nn.models.aligned_refiner import AlignedRefiner
from lgcn.nn.models.covariance_calibration import CovarianceCalibration, log_spread
from lgcn.nn.models.gaussian_inputs import POSE_FACTORS, alignment_weight, check_examples, check_inputs, fit_prior
from lgcn.nn.models.landmark_noise import LandmarkNoise
from lgcn.nn.models.reliability import Reliability
from lgcn.typing import KeyPoints, Size

NOISE_INPUTS = ("confidence", "features")


class GaussianRefiner(AlignedRefiner):
    r"""Replaces every landmark by its posterior under a Gaussian shape prior, given all landmarks and their noise.

    .. math::
        \mathbf{m}_i = T(\mathbf{p}_i) + d(\mathbf{h}_i), \qquad
        \mathbf{R}_i = \exp\bigl(\rho_{l_i} + g(c_i) + \mathrm{MLP}(\mathbf{h}_i)\bigr), \qquad
        \hat{\mathbf{p}} = T^{-1}\bigl(\boldsymbol\mu + \mathbf{S} (\mathbf{S} + \mathbf{R})^{-1}
        (\mathbf{m} - \boldsymbol\mu)\bigr)

    T is the similarity of this image that brings its landmarks nearest to the mean shape, each weighted by its
    precision. Four of the factors of :math:`\mathbf{S}` are the pose, small similarities of the mean shape: errors
    of T, where landmarks are missing or wrong, are inferred together with the shape, and their uncertainty is included.
    The noise :math:`\mathbf{R}_i` depends on the type :math:`l_i`, on the confidence :math:`c_i` through a piecewise
    linear function g, and on :math:`\mathbf{h}_i`: an embedding of the type, the confidence and, where there is a
    feature map, its features at the landmark. See :class:`~lgcn.nn.conv.FactorAnalysisConv` for the rest.

    :meth:`fit` sets mean shape, prior, :math:`\rho` and g from statistics in seconds; both MLPs start at 0, so that
    training continues from there. Fit it before training: random parameters do not describe the shape.

    Args:
        num_landmarks: K.
        feature_channels: C of the feature map; 0 if there is none.
        input_size: (H, W) of the network's input, to whose pixels positions refer.
        rank: number of factors of the shape; the prior has four more, of the pose.
        num_components: number of Gaussians in the prior, each with a mean shape and factors of its own; more than one
            are a mixture, whose components are weighted by the evidence of the observed landmarks.
        noise: ``"isotropic"``, ``"diagonal"`` (by axis of the mean shape) or ``"full"``.
        use_confidence: whether noise and offset depend on confidences.
        noise_inputs: what the noise depends on besides the type: ``"confidence"``, ``"features"``, both or none.
        offset: whether landmarks are moved by d(h) before they are combined. It depends on all inputs.
        landmark_channels: width of the embedding of a type.
        hidden_channels: widths of the hidden layers of the MLPs for noise and offset; none leaves both out.
        decoder_channels: width of the hidden layer of a decoder, an MLP that moves the mean of the prior by a
            nonlinear function of the inferred shape, after which the shape is inferred once more; 0 leaves it out.
        sampling: of the feature map, ``"bilinear"`` or ``"nearest"``.
        detach_alignment: whether gradients stop at the alignment and at the places where features are sampled.

    Raises:
        InputError: for names or numbers that cannot be used.
    """

    def __init__(
        self,
        num_landmarks: int,
        feature_channels: int,
        input_size: Size,
        *,
        rank: int = 16,
        num_components: int = 1,
        noise: str = "isotropic",
        use_confidence: bool = True,
        noise_inputs: Sequence[str] = NOISE_INPUTS,
        offset: bool = True,
        landmark_channels: int = 16,
        hidden_channels: Sequence[int] = (128, 64),
        decoder_channels: int = 0,
        sampling: str = "bilinear",
        detach_alignment: bool = True,
    ) -> None:
        super().__init__(num_landmarks, input_size)
        for each in noise_inputs:
            check_choice("noise_inputs", each, NOISE_INPUTS)
        self.feature_channels = check_at_least("feature_channels", feature_channels, 0)
        self.use_confidence = use_confidence
        self.noise_inputs = tuple(noise_inputs)
        self.sampling = check_choice("sampling", sampling, SAMPLING_MODES)
        self.detach_alignment = detach_alignment
        self.rank = check_at_least("rank", rank, 1)
        if rank + POSE_FACTORS > 2 * num_landmarks:
            raise InputError(
                f"Expected 'rank' of at most {2 * num_landmarks - POSE_FACTORS} for {num_landmarks} landmarks, "
                f"since the pose has {POSE_FACTORS} factors more (got {rank})."
            )
        self.conv = DenseFactorAnalysisConv(FactorAnalysisPrior(num_landmarks, rank + POSE_FACTORS, num_components))
        by_confidence = use_confidence and "confidence" in noise_inputs
        by_features = feature_channels > 0 and "features" in noise_inputs
        self.noise = LandmarkNoise(num_landmarks, noise, by_confidence)
        self.landmark_embedding = nn.Embedding(num_landmarks, landmark_channels) if hidden_channels else None
        self.noise_mlp: MLP | None = None
        if hidden_channels and (by_confidence or by_features):
            width = landmark_channels + by_confidence + by_features * feature_channels
            self.noise_mlp = MLP([width, *hidden_channels, self.noise.num_parameters], norm=None)
        self.offset_mlp: MLP | None = None
        if hidden_channels and offset:
            width = landmark_channels + use_confidence + feature_channels
            self.offset_mlp = MLP([width, *hidden_channels, 2], norm=None)
        self.decoder: MLP | None = None
        if check_at_least("decoder_channels", decoder_channels, 0):
            self.decoder = MLP([2 * num_landmarks, decoder_channels, 2 * num_landmarks], norm=None)
        self.calibration = CovarianceCalibration()
        self.reliability = Reliability(num_landmarks)
        self.reset_parameters()

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """``confidence`` and ``features``, as the refiner was built."""
        return ("confidence",) * self.use_confidence + ("features",) * (self.feature_channels > 0)

    @property
    def prior(self) -> FactorAnalysisPrior:
        """The shape prior; its unit is the root-mean-square radius of the mean shape."""
        return self.conv.prior

    def reset_parameters(self) -> None:
        """Draw new parameters; the last layers of the MLPs start at zero. Removes the calibration."""
        self.calibration.reset_parameters()
        self.reliability.reset_parameters()
        self.conv.reset_parameters()
        self.noise.reset_parameters()
        if self.landmark_embedding is not None:
            self.landmark_embedding.reset_parameters()
        for mlp in (self.noise_mlp, self.offset_mlp, self.decoder):
            if mlp is not None:
                mlp.reset_parameters()
                for parameter in mlp.lins[-1].parameters():
                    nn.init.zeros_(parameter)

    @torch.no_grad()
    def fit(
        self, shapes: Tensor, predictions: Tensor | None = None, confidences: Tensor | None = None
    ) -> "GaussianRefiner":
        """Set mean shape, prior and noise from statistics alone, without gradients; the MLPs do not change.

        Args:
            shapes: [N, K, 2], annotated landmarks, pixels of the input.
            predictions: [N, K, 2], predicted landmarks of the same images, with errors like those at inference.
                Without them the noise is a guess, as large as the uniqueness of the prior.
            confidences: [N, K], of the predictions; needed with them if the refiner uses confidences.

        Returns:
            The module itself.

        Raises:
            InputError: for values that are not finite, a shape whose landmarks all coincide, and shapes (of a
                component) that do not vary in ``rank`` directions once they are aligned.
        """
        check_examples(self.num_landmarks, shapes, predictions, confidences, self.use_confidence)
        # On the CPU, since not every accelerator has double precision.
        shapes = shapes.cpu().double()
        similarity, aligned = self._fit_frame(shapes)
        fit_prior(self.prior, self.rank, aligned)
        if predictions is None:
            self.noise.fill(self.prior.uniqueness.mean())
        else:
            errors = (predictions.cpu().double() - shapes) / self.scale.cpu()
            self.noise.fit(errors @ similarity.matrix.mT, confidences)
        return self

    def forward(
        self, features: Tensor | None, pos: Tensor, confidence: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        """Refine landmarks.

        Args:
            features: [B, C, h, w], the backbone's, or [B, K, C], sampled at the landmarks; None if the refiner was
                built without.
            pos: [B, K, 2], initial landmarks, pixels of the input.
            confidence: [B, K], finite, normally in [0, 1]; None if the refiner uses none.
            mask: [B, K], False where a landmark is missing: it is predicted from the others. Its values are not
                read. If fewer than two places are observed, which leaves rotation and scale open, those of the average
                training image are taken; if none is, its position too.

        Returns:
            Refined landmarks [B, K, 2], pixels of the input.

        Raises:
            InputError: for shapes, types or values that do not fit (values are checked on the CPU only, and not
                while compiling).
        """
        similarity, observed, variance = self.align(features, pos, confidence, mask)
        with autocast_disabled(pos.device.type):
            shift = self._shift(observed, variance, mask)
            return self._to_input(similarity, self.conv(observed - shift, variance, mask) + shift)

    def refine(self, keypoints: KeyPoints, return_connectivity: bool = False) -> KeyPoints:
        self.check_needs(keypoints)
        posterior, spread, (observed, variance) = self._infer(keypoints)
        with autocast_disabled(posterior.mean.device.type):
            covariance = self.calibration(posterior.covariance, spread, keypoints.mask)
            connectivity = None
            if return_connectivity:
                # Over the square root of 2: a landmark that follows another exactly has 1.
                connectivity = self.conv.edge_weight(variance, keypoints.mask, observed).norm(dim=(-2, -1)) / 2**0.5
            error = self.calibration.expected_error(covariance)
            covered, score = self.reliability(variance, posterior, keypoints.mask)
        known = {"covariance": covariance, "expected_error": error, "covered": covered, "score": score}
        return keypoints._replace(pos=posterior.mean, connectivity=connectivity, **known)

    def posterior(
        self, features: Tensor | None, pos: Tensor, confidence: Tensor | None, mask: Tensor | None = None
    ) -> GaussianPosterior:
        """Means, covariances and leave-one-out residuals in pixels of the input; arguments as :meth:`forward`.

        Covariances are those of the model, without :meth:`calibrate`.
        """
        return self._infer(KeyPoints(pos, confidence, features=features, mask=mask))[0]

    @torch.no_grad()
    def calibrate(
        self,
        keypoints: KeyPoints,
        target: Tensor,
        level: float = 0.9,
        groups: Tensor | None = None,
        clean: Tensor | None = None,
        fits: Tensor | None = None,
    ) -> "GaussianRefiner":
        """Scale the covariances of :meth:`refine` so that regions of probability ``level`` hold that share of errors.

        Calibrate last, on images that neither refiner nor network has been trained on, and under all conditions that
        matter: half of them degraded, for instance. See :class:`CovarianceCalibration` and :class:`Reliability`.

        Args:
            keypoints: as for :meth:`refine`, landmarks of N images; features best sampled at the landmarks.
            target: [N, K, 2], the true landmarks, pixels of the input; NaN where they are not known or do not count.
            level: the probability.
            groups: [N], integers, the condition of each image; the worst one decides on the form of the calibration.
            clean: bool [N], images in which nothing is covered; without, ``covered`` and ``score`` stay unknown.
            fits: [N], 1 for images whose landmarks fit, 0 for others; without, ``score`` stays unknown.

        Returns:
            The module itself.

        Raises:
            InputError: as :meth:`refine`, :meth:`CovarianceCalibration.fit` and :meth:`Reliability.fit`.
        """
        self.check_needs(keypoints)
        check_shape("target", target, "N K 2", N=len(keypoints.pos), K=self.num_landmarks)
        posterior, spread, (_, variance) = self._infer(keypoints)
        mask = keypoints.mask
        self.calibration.fit(posterior.mean - target, posterior.covariance, spread, mask, level, groups)
        self.reliability.reset_parameters()
        if clean is not None:
            self.reliability.fit(variance, clean, posterior, fits, mask)
        return self

    def align(
        self, features: Tensor | None, pos: Tensor, confidence: Tensor | None, mask: Tensor | None = None
    ) -> tuple[Similarity, Tensor, Tensor]:
        """Inputs of the graph layer; arguments as :meth:`forward`.

        Returns:
            The similarity to the frame of the mean shape (from positions that the mean scale divides), the landmarks
            there [B, K, 2] and the variances of their noise, [B, K], [B, K, 2] or [B, K, 2, 2].
        """
        features, pos, confidence = check_inputs(
            self.num_landmarks, self.feature_channels, self.use_confidence, features, pos, confidence, mask
        )
        correction, offset = self._heads(features, pos, confidence)
        with autocast_disabled(pos.device.type):
            normalized = self._normalized(pos)
            variance = self.noise(pos.shape[:2], confidence, correction)
            similarity = fit_similarity(normalized, self.frame, alignment_weight(self.prior, self.rank, variance, mask))
            if self.detach_alignment:
                similarity = similarity.detach()
            observed = similarity.apply(normalized)
            return similarity, observed if offset is None else observed + offset, variance

    def _heads(
        self, features: Tensor | None, pos: Tensor, confidence: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Terms that the MLPs add to the logarithms of the noise [B, K, ...] and to positions [B, K, 2]."""
        if self.landmark_embedding is None:
            return None, None
        dtype = self.frame.dtype
        kinds = {"type": self.landmark_embedding.weight.expand(*pos.shape[:2], -1)}
        if self.use_confidence:
            kinds["confidence"] = cast(Tensor, confidence).unsqueeze(-1).to(dtype)
        if features is not None:
            if features.dim() == 4:
                places = pos.detach() if self.detach_alignment else pos
                features = sample_features(features, places, self.input_size, self.sampling)
            check_finite("features", features.detach())
            kinds["features"] = features.to(dtype)
        correction = offset = None
        if self.noise_mlp is not None:
            known = [value for kind, value in kinds.items() if kind in ("type", *self.noise_inputs)]
            correction = self.noise_mlp(torch.cat(known, dim=-1)).to(dtype)
        if self.offset_mlp is not None:
            offset = self.offset_mlp(torch.cat(list(kinds.values()), dim=-1)).to(dtype)
        return correction, offset

    def _shift(self, observed: Tensor, variance: Tensor, mask: Tensor | None) -> Tensor | float:
        """What the decoder adds to the mean of the prior, [B, K, 2]."""
        if self.decoder is None:
            return 0.0
        deviation = self.conv(observed, variance, mask) - self.prior.expectation()
        return self.decoder(deviation.flatten(1)).to(deviation).view_as(deviation)

    def _infer(self, given: KeyPoints) -> tuple[GaussianPosterior, Tensor, tuple[Tensor, Tensor]]:
        """The posterior in pixels, and what is known in the frame of the mean shape.

        That is the spread of the covariances [B, K], and the observations: positions, less what the decoder adds, and
        variances.
        """
        pos, mask = given.pos, given.mask
        similarity, observed, variance = self.align(given.features, pos, given.confidence, mask)
        with autocast_disabled(pos.device.type):
            shift = self._shift(observed, variance, mask)
            observed = observed - shift
            found = self.conv.posterior(observed, variance, mask)
            posterior = self._posterior_to_input(similarity, found._replace(mean=found.mean + shift))
            return posterior, log_spread(found.covariance), (observed, variance)
