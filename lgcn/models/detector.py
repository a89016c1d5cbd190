"""Landmark detector: backbone, codec and refiner."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor, nn
from torch_geometric.data import Batch

from lgcn.backbones import BACKBONES, Backbone, create_backbone
from lgcn.backbones.contract import check_backbone
from lgcn.checks import InputError, check_shape
from lgcn.codecs import HeatmapCodec
from lgcn.models.config import OWN_BACKBONE, DetectorConfig
from lgcn.models.landmark_graphs import build_landmark_graphs
from lgcn.models.loading import check_weights, load_pretrained
from lgcn.models.model_card import detector_card
from lgcn.models.presets import PRESETS
from lgcn.models.refiner_config import OWN_REFINER
from lgcn.models.refiner_contract import check_refiner
from lgcn.models.saving import save_model
from lgcn.nn import Refiner, for_inference
from lgcn.nn.functional.autocast import autocast_disabled
from lgcn.protocols import get_protocol
from lgcn.schemes import get_scheme
from lgcn.typing import DetectorOutput, HeatmapOutput, KeyPoints, SupervisedHeatmapOutput


class LandmarkDetector(nn.Module, PyTorchModelHubMixin):
    """A landmark detector: a heatmap network proposes landmarks, and a graph network refines them.

    Args:
        config: options of all parts.
        backbone: your own network, with the interface of :class:`lgcn.backbones.Backbone` (see
            :class:`lgcn.backbones.ModuleBackbone`), used instead of the one that ``config`` names.
            The saved configuration then names the backbone "custom"; pass the network to :meth:`from_pretrained`.
        refiner: your own refiner, such as a :class:`lgcn.nn.GNNRefiner` around a model of yours; likewise. Its
            ``num_landmarks``, ``feature_channels`` and ``input_size`` must be those of the detector, where it has them.

    With ``config.flip_test``, heatmaps are the mean of those of the image and of its mirror image, except while the
    backbone is in training mode; features are those of the image. Landmarks are better, and take twice the time.

    Raises:
        InputError: for names or options that are not known, a backbone or a refiner that breaks the contract (those of
            your own are run once), a refiner for other landmarks or inputs, an input size that is not a multiple of
            the backbone's stride (of 32 for most of timm's networks), or ``flip_test`` with heatmaps whose mirror
            images lie between their cells.
    """

    mean: Tensor
    std: Tensor
    mirrored: Tensor

    def __init__(
        self, config: DetectorConfig, backbone: Backbone | None = None, refiner: Refiner | None = None
    ) -> None:
        super().__init__()
        if backbone is not None:
            config = replace(config, backbone=OWN_BACKBONE, backbone_options={}, backbone_weights=None)
        if refiner is not None:
            if not isinstance(refiner, Refiner):
                raise InputError(
                    f"Expected 'refiner' to be an lgcn.nn.Refiner (got {type(refiner).__name__}). Derive it from that "
                    "class, or wrap a PyG model in lgcn.nn.GNNRefiner."
                )
            config = replace(config, refiner=replace(config.refiner, name=OWN_REFINER))
        self.scheme = get_scheme(config.scheme)
        config = replace(config, scheme=self.scheme.name)
        self.config = config
        self.protocol = get_protocol(config.protocol)
        self.input_size = config.input_size
        self.min_confidence = config.min_confidence
        landmarks = self.scheme.num_landmarks
        self.backbone = backbone if backbone is not None else _build_backbone(config, landmarks)
        check_backbone(self.backbone, landmarks, config.scheme, config.input_size)
        (height, width), stride = config.input_size, self.backbone.stride
        self.codec: HeatmapCodec = config.codec.build(config.input_size, (height // stride, width // stride))
        self.refiner: Refiner | None = refiner or config.refiner.build(
            self.scheme, self.backbone.feature_channels, config.input_size
        )
        if self.refiner is not None and not config.refiner.is_built_in:
            check_refiner(self.refiner, landmarks, self.backbone.feature_channels, config.input_size, stride)
        self.flip_test = _check_flip_test(config)
        self.register_buffer("mirrored", torch.tensor(self.scheme.flip_permutation), persistent=False)
        self.register_buffer("mean", torch.tensor(self.backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.backbone.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, mask: Tensor | None = None, return_connectivity: bool = False) -> DetectorOutput:
        """Detect landmarks in crops of faces.

        Args:
            images: [B, 3, H, W] RGB, uint8 or floating point in [0, 1].
            mask: [B, K], False for landmarks that are known to be missing: the graph ignores them, and their
                ``pos`` is the initial one, or what the others predict (Gaussian refiner).
            return_connectivity: return the edge weights [B, K, K] too.
        """
        output = self.heatmaps(images)
        found, intermediate = self._decode(output, mask), getattr(output, "intermediate", None)
        initial, confidence, heatmaps = found.pos, cast(Tensor, found.confidence), cast(Tensor, found.heatmaps)
        if self.refiner is None:
            return DetectorOutput(initial, initial, confidence, heatmaps, intermediate=intermediate)
        with autocast_disabled(initial.device.type):
            refined = self.refiner.refine(found, return_connectivity)
        return DetectorOutput(
            refined.pos,
            initial,
            confidence,
            heatmaps,
            refined.connectivity,
            covariance=refined.covariance,
            expected_error=refined.expected_error,
            covered=refined.covered,
            score=refined.score,
            intermediate=intermediate,
        )

    def propose(self, images: Tensor, mask: Tensor | None = None) -> KeyPoints:
        """Decode landmarks from heatmaps, without the refiner; arguments as :meth:`forward`."""
        return self._decode(self.heatmaps(images), mask)

    def heatmaps(self, images: Tensor) -> HeatmapOutput | SupervisedHeatmapOutput:
        """Heatmaps and features of images, as the backbone returns them or the mean of ``flip_test``."""
        height, width = self.input_size
        check_shape("images", images, "B 3 H W", H=height, W=width)
        scaled = images.to(self.mean.dtype)
        if not images.is_floating_point():
            scaled = scaled / 255
        normalised = (scaled - self.mean) / self.std
        if not self.flip_test or self.backbone.training:
            output: HeatmapOutput | SupervisedHeatmapOutput = self.backbone(normalised)
            return output
        both = self.backbone(torch.cat([normalised, normalised.flip(-1)]))
        (heatmaps, flipped), (features, _) = (each.unflatten(0, (2, -1)) for each in both[:2])
        return HeatmapOutput((heatmaps + flipped.flip(-1)[:, self.mirrored]) / 2, features)

    def _decode(self, output: HeatmapOutput | SupervisedHeatmapOutput, mask: Tensor | None) -> KeyPoints:
        heatmaps, features = output[:2]
        pos, confidence = self.codec.decode(heatmaps)
        return KeyPoints(pos, confidence, None, heatmaps, features.to(pos.dtype), mask)

    def landmark_graphs(self, images: Tensor, y: Tensor | None = None) -> Batch:
        """Initial landmarks of images as PyG graphs, one fully connected ``Data`` a face.

        Args:
            images: as in :meth:`forward`.
            y: [B, K, 2], true landmarks in pixels of the input, where they are known.

        Returns:
            A batch of B graphs with ``x`` [N, C], ``pos`` [N, 2] in pixels of the input, ``confidence`` [N],
            ``landmark_id`` [N], ``edge_index`` [2, E] and, where they are known, ``edge_weight`` [E] and ``y`` [N, 2];
            N = B*K. ``x`` (eq. 2) and ``edge_weight`` (eq. 5 and 6, or the refiner's own) are those of the detector's
            (first) refiner. ``x[:, :2]`` are the positions as fractions of the input, which the paper's layers take as
            ``pos``. A refiner without node features of its own leaves ``x`` to these positions and the feature map's
            values at the landmarks.
        """
        return build_landmark_graphs(self.propose(images), self.refiner, self.input_size, y)

    def for_inference(self) -> "LandmarkDetector":
        """Return a copy for inference: in eval mode, without gradients, with a refiner that is built for speed.

        Its ``forward`` takes the same arguments, and its positions agree with those of this detector in eval mode to
        1e-5 pixels. The copy cannot be trained or saved. Batch normalisation of the backbone is left to a compiler,
        which folds it into the convolutions (:mod:`torch._inductor` freezing, ONNX Runtime).
        """
        return for_inference(self)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        source: str | Path,
        backbone: Backbone | None = None,
        refiner: Refiner | None = None,
        flip_test: bool | None = None,
        **download: Any,
    ) -> "LandmarkDetector":
        """Load a trained detector, in eval mode.

        Args:
            source: a model shipped with the package (``"lgcn-68"``), a folder of :meth:`save_pretrained`, a
                ``.ckpt`` file of ``lgcn fit``, or the id ``owner/name`` of a model on the hub.
            backbone: the custom network that the detector was built around, if any.
            refiner: the custom refiner that the detector was built around, if any.
            flip_test: replaces the one of the model's configuration; None keeps it.
            **download: arguments of :func:`huggingface_hub.hf_hub_download`.

        Raises:
            InputFileError: if there is no such model, its config holds values of a wrong type or out of bounds, or its
                weights do not fit its config.
            InputError: if the detector was built around a custom network or refiner that is not given.
        """
        config, weights = load_pretrained(source, **download)
        if flip_test is not None:
            config = replace(config, flip_test=flip_test)
        if backbone is None and config.backbone not in BACKBONES and config.backbone != OWN_BACKBONE:
            _check_backbone(source, config, weights)
        detector = cls(config, backbone, refiner)
        # Refiners that were saved before they could be calibrated.
        parts = (".calibration.", ".reliability.")
        uncalibrated = {
            key: value for key, value in detector.state_dict().items() if any(part in key for part in parts)
        }
        weights = uncalibrated | weights
        check_weights(source, detector.state_dict(), weights)
        detector.load_state_dict(weights)
        return detector.eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """What :meth:`save_pretrained` writes to ``README.md`` if there is none."""
        return detector_card(self.config, self.scheme.num_landmarks)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(save_directory, self.config.saved(), self.state_dict())


def create_detector(config: str | DetectorConfig = "paper", **options: Any) -> LandmarkDetector:
    """Build an untrained detector from a preset or a configuration, with some of its options changed.

    >>> detector = create_detector("paper", scheme="ibug68", backbone="resnet18", codec={"sigma": 2.0})

    Args:
        config: name of a preset (see :data:`PRESETS`), or a configuration.
        **options: options to change, as :meth:`DetectorConfig.with_options` takes them.

    Raises:
        InputError: for an unknown preset or option (lists the choices), a value of a wrong type or out of bounds, and
            as :class:`LandmarkDetector`.
    """
    if isinstance(options.get("backbone"), nn.Module):
        raise InputError(
            f"Expected 'backbone' to be a name (got {type(options['backbone']).__name__}). Pass your own network "
            "to LandmarkDetector(config, backbone=...)."
        )
    return LandmarkDetector((PRESETS[config] if isinstance(config, str) else config).with_options(**options))


def _check_flip_test(config: DetectorConfig) -> bool:
    codec = config.codec
    if config.flip_test and (codec.align != "center" or codec.decode == "hrnet"):
        raise InputError(
            f"Expected no 'flip_test' with codec.align '{codec.align}' and codec.decode '{codec.decode}' (got one): "
            "the heatmaps of a mirrored image are then off by a part of a cell. It needs 'center', and not 'hrnet'."
        )
    return config.flip_test


def _check_backbone(source: str | Path, config: DetectorConfig, weights: dict[str, Tensor]) -> None:
    """Check that weights fit a backbone before memory is allocated for it: a config may name any network of timm."""
    with torch.device("meta"):
        backbone = _build_backbone(config, get_scheme(config.scheme).num_landmarks)
    prefix = "backbone."
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    check_weights(source, backbone.state_dict(), own)


def _build_backbone(config: DetectorConfig, num_landmarks: int) -> Backbone:
    if config.backbone == OWN_BACKBONE:
        raise InputError(
            "Expected 'backbone', the custom module that this detector was built around (got none). Pass it: "
            "LandmarkDetector.from_pretrained(source, backbone=...)."
        )
    options = dict(config.backbone_options)
    if config.backbone_weights is not None:
        options["weights"] = config.backbone_weights
    return create_backbone(config.backbone, num_landmarks, **options)
