"""Options of a detector as dataclasses, for ``config.json``, YAML recipes and the command line."""

from dataclasses import asdict, field, replace
from typing import Annotated, Any, Literal

from pydantic.dataclasses import dataclass

from lgcn.codecs import HeatmapCodec
from lgcn.models.refiner_config import RefinerConfig, contour_edges
from lgcn.options import STRICT_KEYS, Bounds, input_errors, update
from lgcn.schemes import get_scheme, scheme_to_dict
from lgcn.schemes.registry import is_shipped
from lgcn.typing import Size

Side = Annotated[int, Bounds(1, 2048)]

OWN_BACKBONE = "custom"
"""Backbone name in the saved configuration of a detector that was built around a custom module."""

_START_OPTIONS = ("pretrained", "weights")


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class CodecConfig:
    """Options of :class:`lgcn.codecs.HeatmapCodec`.

    Args:
        sigma: Standard deviation of the Gaussian in a target heatmap, in cells.
        decode: How a position is read from a heatmap; argmax, quarter, dark, softargmax or hrnet.
        activation: What turns the network's output into heatmap values.
        target: Whether Gaussians are centred on whole cells (the focal loss needs that) or on the landmark.
        align: Whether a cell stands for the centre of the pixels that it covers, or for the first of them (mmpose).
    """

    sigma: Annotated[float, Bounds(0.01, 100)] = 1.5
    decode: str = "dark"
    activation: Literal["sigmoid", "clamp", "linear", "softmax"] = "sigmoid"
    target: Literal["integer", "subpixel"] = "integer"
    align: Literal["center", "corner"] = "center"

    def build(self, input_size: Size, heatmap_size: Size) -> HeatmapCodec:
        """Create the codec between an input of (H, W) pixels and heatmaps of (h, w) cells."""
        return HeatmapCodec(input_size, heatmap_size, **asdict(self))


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class DetectorConfig:
    """Options of a :class:`lgcn.models.LandmarkDetector`; the defaults are those of the preset "paper".

    Args:
        scheme: Name of the landmark scheme, or a .yaml file that defines it.
        backbone: Name of a registered backbone or of any timm network.
        input_size: Height and width of the network input in pixels; multiples of 32 for timm's networks.
        backbone_options: Arguments of the backbone, such as head or width.
        backbone_weights: File of backbone weights to start training from; not kept in saved models.
        codec: How landmarks become heatmaps, and heatmaps landmarks.
        refiner: How landmarks are refined.
        protocol: Name of the evaluation protocol whose crop the network is made for.
        min_confidence: Mean confidence of the landmarks below which a detected face is dropped as a false positive.
        flip_test: Whether heatmaps are averaged with those of the mirrored image (twice the time), except while the
            backbone is trained.
    """

    scheme: str = "ibug68"
    backbone: str = "hrnet_w18"
    input_size: tuple[Side, Side] = (256, 256)
    backbone_options: dict[str, Any] = field(default_factory=dict, hash=False)
    backbone_weights: str | None = None
    codec: CodecConfig = field(default_factory=CodecConfig)
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    protocol: str = "zero_based"
    min_confidence: Annotated[float, Bounds(0, 1)] = 0.0
    flip_test: bool = False

    def with_options(self, **options: Any) -> "DetectorConfig":
        """Return a copy with some options changed.

        >>> PRESETS["default"].with_options(scheme="wflw98", refiner={"connectivity": {"name": "adjacency"}})

        Args:
            **options: fields of this class. ``codec`` and ``refiner`` are dataclasses that replace those of this
                configuration, or mappings of changes to them.

        Raises:
            InputError: for an unknown option (lists the choices), a value of a wrong type, or one out of bounds.
        """
        return update(self, options)

    def saved(self) -> dict[str, Any]:
        """Return the configuration of a finished model as plain types, without its starting weights.

        All values are written out, so saved models do not depend on later changes of presets and defaults. A scheme
        that is not part of the package is written as its definition, which :func:`lgcn.models.read_config` registers.
        """
        config = self
        scheme = get_scheme(self.scheme)
        topology = self.refiner.connectivity.topology
        if self.refiner.connectivity.name == "topology" and not topology.has_edges:
            edges = contour_edges(scheme)
            config = update(self, {"refiner": {"connectivity": {"topology": {"edges": edges}}}})
        return asdict(without_start(config)) | {"scheme": scheme.name if is_shipped(scheme) else scheme_to_dict(scheme)}


def without_start(config: DetectorConfig) -> DetectorConfig:
    """Return a copy that reads no files and downloads nothing when built, since its weights come with it."""
    options = {name: value for name, value in config.backbone_options.items() if name not in _START_OPTIONS}
    return replace(config, backbone_options=options, backbone_weights=None)
