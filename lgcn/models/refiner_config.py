"""Options of the refiner and of its connectivity, and the registries of both."""

from collections.abc import Callable
from dataclasses import asdict, field, fields
from typing import Annotated, Any, Literal

from pydantic.dataclasses import dataclass

from lgcn.checks import InputError, check_choice, check_options
from lgcn.models.gnn_config import GNNConfig
from lgcn.nn import (
    AdjacencyConnectivity,
    Connectivity,
    GaussianRefiner,
    GNNRefiner,
    LandmarkRefiner,
    LearnableConnectivity,
    Refiner,
    RefinerChain,
    TopologyConnectivity,
    UniformConnectivity,
)
from lgcn.options import STRICT_KEYS, Bounds, Length, input_errors
from lgcn.registry import Registry
from lgcn.schemes import LandmarkScheme
from lgcn.typing import Size

Width = Annotated[int, Bounds(1, 4096)]
Widths = Annotated[tuple[Width, ...], Length(1, 64)]
Landmark = Annotated[int, Bounds(0, 100_000)]
Coordinate = Annotated[float, Bounds(-1e9, 1e9)]
MANY = Length(0, 100_000)

CONNECTIVITIES: Registry[Callable[..., Connectivity]] = Registry("connectivity")
"""name -> ``create(num_landmarks, normalization=..., self_loops=..., symmetric=..., **options)``."""

CONNECTIVITIES.register("learnable", LearnableConnectivity)
CONNECTIVITIES.register("adjacency", AdjacencyConnectivity)
CONNECTIVITIES.register("topology", TopologyConnectivity)
CONNECTIVITIES.register("uniform", UniformConnectivity)

REFINERS: Registry[Callable[..., Refiner]] = Registry("refiner")
"""name -> ``create(num_landmarks, feature_channels, input_size, **options)``, a :class:`lgcn.nn.Refiner`."""

REFINERS.register("lgcn", LandmarkRefiner)
REFINERS.register("gaussian", GaussianRefiner)
REFINERS.register("gnn", GNNRefiner)

BUILT_IN = {*CONNECTIVITIES.names(), *REFINERS.names()}

NO_REFINER = "none"
"""Name of the refiner that leaves the graph out: the heatmap network alone."""

OWN_REFINER = "custom"
"""Refiner name in the saved configuration of a detector that was built around a custom refiner."""

CHAIN = "+"
"""Between the names of refiners that are applied one after another."""


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class LearnableConfig:
    """Options of :class:`lgcn.nn.LearnableConnectivity`, eq. 5 and 6.

    Args:
        class_hidden_channels: Width of the hidden layer of the class MLP, or a list of several.
        class_channels: Width of the embedding l_ij of a pair of landmark types.
        edge_hidden_channels: Width of the hidden layer of the edge MLP, or a list of several.
        norm: batch_norm after the activation of each hidden layer, or null.
        act_last: Whether an activation follows the last layers too (released code).
        use_class_embedding: Whether scores depend on the landmark types; false is an ablation.
        use_confidence: Whether scores depend on the confidences; false is an ablation.
    """

    class_hidden_channels: Width | Widths = 32
    class_channels: Width = 32
    edge_hidden_channels: Width | Widths = 32
    norm: Literal["batch_norm"] | None = None
    act_last: bool = False
    use_class_embedding: bool = True
    use_confidence: bool = True


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class TopologyConfig:
    """Options of :class:`lgcn.nn.TopologyConnectivity`; without a source of edges, the contours of the scheme.

    Args:
        edges: Pairs of landmarks.
        contours: Lists of landmarks, each of which is a neighbour of the next.
        closed: For each contour, whether its last landmark is a neighbour of its first.
        mean_shape: One point [x, y] a landmark in any unit, for num_nearest.
        num_nearest: Number of nearest landmarks in the mean shape that a landmark is joined to.
    """

    edges: Annotated[tuple[tuple[Landmark, Landmark], ...], MANY] | None = None
    contours: Annotated[tuple[Annotated[tuple[Landmark, ...], MANY], ...], MANY] | None = None
    closed: Annotated[tuple[bool, ...], MANY] | None = None
    mean_shape: Annotated[tuple[tuple[Coordinate, Coordinate], ...], MANY] | None = None
    num_nearest: Annotated[int, Bounds(0, 1000)] = 0

    @property
    def has_edges(self) -> bool:
        """Whether there is a source of edges."""
        return bool(self.edges or self.contours or self.num_nearest)


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class ConnectivityConfig:
    """Options of the connectivity: where the edge weights e_ij come from.

    Args:
        name: learnable (the paper), adjacency, topology, uniform, or your own registered one.
        normalization: What turns scores into weights.
        self_loops: Whether a landmark is its own neighbour; zero gives it a score of zero (released code).
        symmetric: Whether scores are averaged over both directions.
        learnable: Options of the connectivity "learnable".
        topology: Options of the connectivity "topology".
        options: Further arguments of your own connectivity.
    """

    name: str = "learnable"
    normalization: Literal["softmax", "sigmoid", "raw"] = "softmax"
    self_loops: Literal["none", "scored", "zero"] = "none"
    symmetric: bool = False
    learnable: LearnableConfig = field(default_factory=LearnableConfig)
    topology: TopologyConfig = field(default_factory=TopologyConfig)
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def build(self, scheme: LandmarkScheme) -> Connectivity:
        """Create the connectivity between the landmarks of a scheme.

        Raises:
            InputError: for an unknown name, or options that the connectivity does not take.
        """
        create = CONNECTIVITIES[self.name]
        options = {name: getattr(self, name) for name in ("normalization", "self_loops", "symmetric")}
        if self.name == "learnable":
            options |= asdict(self.learnable)
        elif self.name == "topology":
            options |= asdict(self.topology)
            if not self.topology.has_edges:
                options["edges"] = contour_edges(scheme)
        given = ["num_landmarks", *options]
        return _create("connectivity", self.name, create, (scheme.num_landmarks,), given, options, self.options)


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class GaussianConfig:
    """Options of :class:`lgcn.nn.GaussianRefiner`.

    Args:
        rank: Number of factors of the shape.
        num_components: Number of Gaussians in the shape prior; more than one are a mixture.
        noise: Form of a landmark's noise; diagonal is by axis of the mean shape.
        use_confidence: Whether noise and offset depend on confidences.
        noise_inputs: What the noise depends on besides the landmark type.
        offset: Whether each landmark is moved by its own features before all are combined.
        landmark_channels: Width of the embedding of a landmark type.
        hidden_channels: Widths of the hidden layers of the MLPs for noise and offset; none leaves both out.
        decoder_channels: Width of the hidden layer of a decoder that makes the shape prior nonlinear; 0 leaves it out.
        sampling: How the feature map is read at a landmark.
        detach_alignment: Whether gradients stop at the alignment and at the places where features are read.
    """

    rank: Annotated[int, Bounds(1, 4096)] = 16
    num_components: Annotated[int, Bounds(1, 64)] = 1
    noise: Literal["isotropic", "diagonal", "full"] = "isotropic"
    use_confidence: bool = True
    noise_inputs: tuple[Literal["confidence", "features"], ...] = ("confidence", "features")
    offset: bool = True
    landmark_channels: Width = 16
    hidden_channels: Annotated[tuple[Width, ...], Length(0, 64)] = (128, 64)
    decoder_channels: Annotated[int, Bounds(0, 4096)] = 0
    sampling: Literal["bilinear", "nearest"] = "bilinear"
    detach_alignment: bool = True


@input_errors
@dataclass(frozen=True, config=STRICT_KEYS)
class RefinerConfig:
    """Options of the refiner; those without a section are of :class:`lgcn.nn.LandmarkRefiner`, "lgcn".

    Args:
        name: lgcn (the paper), gaussian, gnn, none, your own registered one, or several joined by + (lgcn+gaussian).
        visual_channels: Widths of the layers of the visual MLP; the last is that of f_i in eq. 2.
        visual_norm: batch_norm after the activation of the visual MLP's hidden layers, or null.
        visual_act_last: Whether an activation follows the visual MLP's last layer too (released code).
        hidden_channels: Widths of the graph layers before the last, whose width is 2.
        connectivity: Where the edge weights come from.
        output: Whether the last layer gives positions (the paper) or offsets to the initial ones.
        coordinates: Origin of positions as node features; pixel is the border of the input, cell (released code)
            the centre of the first heatmap cell.
        act: Activation between the graph layers, or null.
        shape_features: Whether q_ij of eq. 4 enters the graph layers, or a list with one flag per layer.
        bias: Whether the graph layers have a bias.
        norm: Normalisation between the graph layers, or null.
        dropout: Dropout probability between the graph layers.
        sampling: How the feature map is read at a landmark.
        landmark_channels: Width of a learned embedding of the landmark type; 0 leaves it out.
        confidence_feature: Whether a landmark's confidence is one of its node features.
        num_steps: Number of refinement steps; each reads the features where the one before moved the landmarks to.
        share_steps: Whether all steps share their parameters.
        gaussian: Options of the refiner "gaussian".
        gnn: Options of the refiner "gnn".
        options: Arguments of your own refiner.
    """

    name: str = "lgcn"
    visual_channels: Widths = (128, 64)
    visual_norm: Literal["batch_norm"] | None = None
    visual_act_last: bool = False
    hidden_channels: Annotated[tuple[Width, ...], Length(0, 64)] = (64, 16)
    connectivity: ConnectivityConfig = field(default_factory=ConnectivityConfig)
    output: Literal["absolute", "offset"] = "absolute"
    coordinates: Literal["pixel", "cell"] = "pixel"
    act: str | None = "relu"
    shape_features: bool | tuple[bool, ...] = True
    bias: bool = True
    norm: str | None = None
    dropout: Annotated[float, Bounds(0, 1)] = 0.0
    sampling: Literal["bilinear", "nearest"] = "bilinear"
    landmark_channels: Annotated[int, Bounds(0, 4096)] = 0
    confidence_feature: bool = False
    num_steps: Annotated[int, Bounds(1, 64)] = 1
    share_steps: bool = True
    gaussian: GaussianConfig = field(default_factory=GaussianConfig)
    gnn: GNNConfig = field(default_factory=GNNConfig)
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_built_in(self) -> bool:
        """Whether neither the refiner nor its connectivity is a class of the user's."""
        return {*self._names(), self.connectivity.name} <= {*BUILT_IN, NO_REFINER}

    def build(self, scheme: LandmarkScheme, feature_channels: int, input_size: Size) -> Refiner | None:
        """Create the refiner, or None if its name is ``"none"``.

        Args:
            scheme: the landmarks.
            feature_channels: C of the backbone's feature map.
            input_size: (H, W) of the network input.

        Raises:
            InputError: for an unknown name, or options that the refiner does not take.
        """
        if self.name == NO_REFINER:
            return None
        if self.name == OWN_REFINER:
            raise InputError(
                "Expected 'refiner', the custom module that this detector was built around (got none). Pass it: "
                "LandmarkDetector.from_pretrained(source, refiner=...)."
            )
        names = self._names()
        for name in names:
            check_choice("refiner", name, [*REFINERS.names(), NO_REFINER] if len(names) == 1 else REFINERS.names())
        arguments = (scheme.num_landmarks, feature_channels, input_size)
        given = ["num_landmarks", "feature_channels", "input_size"]
        refiners = []
        for name in names:
            options = self._options_of(name, scheme)
            # In a chain, options are of the refiner that is not built in.
            own = self.options if name not in BUILT_IN or len(names) == 1 else {}
            refiner = _create("refiner", name, REFINERS[name], arguments, [*given, *options], options, own)
            if not isinstance(refiner, Refiner):
                raise InputError(
                    f"Expected the refiner '{name}' to be an lgcn.nn.Refiner (got {type(refiner).__name__}). "
                    "Derive it from that class."
                )
            refiners.append(refiner)
        return refiners[0] if len(refiners) == 1 else RefinerChain(*refiners)

    def _names(self) -> list[str]:
        return [each.strip() for each in self.name.split(CHAIN)]

    def _options_of(self, name: str, scheme: LandmarkScheme) -> dict[str, Any]:
        """Return the arguments of a refiner that is built in."""
        if name == "gaussian":
            return asdict(self.gaussian)
        if name == "gnn":
            own = ("visual_channels", "landmark_channels", "confidence_feature", "output", "sampling")
            connectivity = self.connectivity.build(scheme) if self.gnn.use_connectivity else None
            options = {each: getattr(self.gnn, each) for each in own}
            return options | {"model": self.gnn.build, "connectivity": connectivity}
        if name != "lgcn":
            return {}
        others = ("name", "options", "connectivity", "gaussian", "gnn")
        options = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in others}
        return options | {"connectivity": self.connectivity.build(scheme)}


def contour_edges(scheme: LandmarkScheme) -> tuple[tuple[int, int], ...]:
    """Pairs of landmarks that are neighbours on a contour of the scheme."""
    return tuple((int(i), int(j)) for contour in scheme.contours for i, j in contour.edges)


def _create(
    kind: str,
    name: str,
    create: Callable[..., Any],
    arguments: tuple[Any, ...],
    given: list[str],
    options: dict[str, Any],
    own: dict[str, Any],
) -> Any:
    if own and name in BUILT_IN:
        raise InputError(
            f"Expected no '{kind}.options' for the {kind} '{name}', whose options are separate fields "
            f"(got {', '.join(own)})."
        )
    check_options(f"{kind}.options", own, create, given)
    try:
        return create(*arguments, **options, **own)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"Expected options of the {kind} '{name}' (got {options | own}: {error}).") from error
