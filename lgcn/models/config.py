"""All that says what a detector is, in plain types: a ``config.json``, a part of a training configuration."""

from dataclasses import asdict, dataclass, field, fields
from inspect import signature
from typing import Any

from lgcn.checks import InputError, check_choice
from lgcn.codecs import HeatmapCodec
from lgcn.models.presets import PRESETS
from lgcn.nn import CONNECTIVITIES, LandmarkRefiner
from lgcn.schemes import get_scheme
from lgcn.typing import Size


@dataclass
class DetectorConfig:
    """The makings of a :class:`lgcn.models.LandmarkDetector`.

    Args:
        scheme: name of the landmark scheme.
        backbone: a registered backbone or any timm network.
        preset: ``"paper"``, ``"official"`` or ``"default"``: the options of codec and refiner.
        input_size: (H, W) of the network's input, multiples of 32 for timm's networks.
        backbone_options: arguments of the backbone.
        codec: arguments of :class:`lgcn.codecs.HeatmapCodec`, over those of the preset.
        refiner: arguments of :class:`lgcn.nn.LandmarkRefiner`, over those of the preset; so are the
            ``connectivity_options``, unless the connectivity is another one.
        use_refiner: False leaves the graph out: the heatmap network alone.
        protocol: the crop that the network is made for.
        min_confidence: mean confidence of the landmarks below which what a face detector has found is taken
            for no face; it depends on the weights, and 0 keeps everything.
        backbone_weights: file of ImageNet weights to start training from; not kept in saved models.
    """

    scheme: str = "ibug68"
    backbone: str = "hrnet_w18"
    preset: str = "paper"
    input_size: Size = (256, 256)
    backbone_options: dict[str, Any] = field(default_factory=dict)
    codec: dict[str, Any] = field(default_factory=dict)
    refiner: dict[str, Any] = field(default_factory=dict)
    use_refiner: bool = True
    protocol: str = "zero_based"
    min_confidence: float = 0.0
    backbone_weights: str | None = None

    def __post_init__(self) -> None:
        size = tuple(self.input_size)
        if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
            raise InputError(f"Expected 'input_size' as two positive integers (H, W) (got {self.input_size}).")
        self.input_size = (size[0], size[1])
        for name in ("backbone_options", "codec", "refiner"):
            if not isinstance(getattr(self, name), dict):
                raise InputError(f"Expected '{name}' to map options to values (got {getattr(self, name)!r}).")

    def saved(self) -> dict[str, Any]:
        """What a finished model keeps: everything but how its training started.

        Every option is written out, so that a later change of a preset or of a default leaves saved models alone.
        """
        preset = PRESETS[self.preset]
        start = {"pretrained", "weights"}
        kept = {key: value for key, value in asdict(self).items() if key != "backbone_weights"}
        refiner = {**_defaults(LandmarkRefiner), **self.refiner_options()}
        connectivity = _defaults(CONNECTIVITIES[refiner["connectivity"]])
        refiner["connectivity_options"] = {**connectivity, **refiner["connectivity_options"]}
        return {
            **kept,
            "backbone_options": {key: value for key, value in self.backbone_options.items() if key not in start},
            "codec": {**_defaults(HeatmapCodec), **preset.codec, **self.codec},
            "refiner": refiner,
        }

    def refiner_options(self) -> dict[str, Any]:
        """Arguments of the refiner: the preset's, and over them this config's.

        So are the options of the connectivity, if it is the preset's. A hand-made topology follows the scheme's
        contours unless it is given.
        """
        preset = {**_defaults(LandmarkRefiner), **PRESETS[self.preset].refiner}
        options = {**PRESETS[self.preset].refiner, **self.refiner}
        name = options.get("connectivity", preset["connectivity"])
        chosen = dict(self.refiner.get("connectivity_options") or {})
        if name == preset["connectivity"]:
            chosen = {**(preset["connectivity_options"] or {}), **chosen}
        if name == "topology" and not any(chosen.get(source) for source in ("edges", "contours", "num_nearest")):
            chosen["edges"] = [edge for contour in get_scheme(self.scheme).contours for edge in contour.edges]
        return {**options, "connectivity_options": chosen}

    @classmethod
    def from_saved(cls, saved: dict[str, Any]) -> "DetectorConfig":
        """The config of a saved model.

        Raises:
            InputError: for a key that this version does not know (lists the choices).
        """
        if not isinstance(saved, dict):
            raise InputError(f"Expected a detector's configuration as a mapping (got {type(saved).__name__}).")
        for key in saved:
            check_choice("config key", key, [known.name for known in fields(cls)])
        return cls(**saved)


def _defaults(build: type) -> dict[str, Any]:
    parameters = signature(build).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}
