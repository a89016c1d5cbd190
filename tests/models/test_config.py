import json
from dataclasses import fields
from inspect import Parameter, signature
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch

from lgcn.checks import InputError
from lgcn.codecs import HeatmapCodec
from lgcn.models import (
    CONNECTIVITIES,
    PRESETS,
    REFINERS,
    CodecConfig,
    ConnectivityConfig,
    DetectorConfig,
    GaussianConfig,
    LearnableConfig,
    RefinerConfig,
    TopologyConfig,
    read_config,
)
from lgcn.nn import (
    GaussianRefiner,
    LandmarkRefiner,
    LearnableConnectivity,
    RefinerChain,
    TopologyConnectivity,
    UniformConnectivity,
)
from lgcn.schemes import get_scheme

CONFIG = PRESETS["default"].with_options(
    scheme="wflw98",
    backbone="resnet18",
    input_size=(128, 96),
    backbone_options={"head": "concat", "pretrained": True, "weights": "start.safetensors"},
    codec={"sigma": 2.0},
    refiner={"hidden_channels": (32,), "connectivity": {"learnable": {"class_channels": 8}}},
    protocol="hrnet",
    backbone_weights="imagenet.safetensors",
)
SHARED = {"normalization", "self_loops", "symmetric"}


def through_json(config: DetectorConfig) -> DetectorConfig:
    return read_config(json.loads(json.dumps(config.saved())))


@pytest.mark.parametrize(
    ("config", "build", "given", "apart"),
    [
        (CodecConfig, HeatmapCodec, {"input_size", "heatmap_size"}, set()),
        (LearnableConfig, LearnableConnectivity, {"num_landmarks", *SHARED}, set()),
        (TopologyConfig, TopologyConnectivity, {"num_landmarks", *SHARED}, set()),
        (ConnectivityConfig, UniformConnectivity, {"num_landmarks"}, {"name", "learnable", "topology", "options"}),
        (
            RefinerConfig,
            LandmarkRefiner,
            {"num_landmarks", "feature_channels", "input_size"},
            {"name", "options", "gaussian", "gnn"},
        ),
        (GaussianConfig, GaussianRefiner, {"num_landmarks", "feature_channels", "input_size"}, set()),
    ],
)
def test_fields_match_the_constructor_arguments(config: type, build: type, given: set[str], apart: set[str]) -> None:
    parameters = {name: each for name, each in signature(build).parameters.items() if name not in given}
    assert {each.name for each in fields(config)} - apart == parameters.keys()
    defaults = config()
    for name, parameter in parameters.items():
        assert parameter.default is not Parameter.empty
        # The default of a connectivity is None there: the learnable one, which it is here too.
        assert name == "connectivity" or getattr(defaults, name) == parameter.default, name


@pytest.mark.parametrize("config", [CodecConfig, LearnableConfig, TopologyConfig, ConnectivityConfig, RefinerConfig])
def test_every_choice_of_a_field_is_one_that_can_be_built(config: type) -> None:
    for name, annotation in get_type_hints(config).items():
        for kind in (annotation, *get_args(annotation)):
            for choice in get_args(kind) if get_origin(kind) is Literal else ():
                options = config(**{name: choice})
                if config is CodecConfig:
                    options.build((32, 32), (8, 8))
                elif config is RefinerConfig:
                    options.build(get_scheme("aflw19"), 4, (32, 32))
                else:
                    connectivity = {"learnable": options} if config is LearnableConfig else {name: choice}
                    ConnectivityConfig(**connectivity).build(get_scheme("aflw19"))


@pytest.mark.parametrize("config", [DetectorConfig, CodecConfig, LearnableConfig, TopologyConfig, RefinerConfig])
def test_every_field_has_one_line_of_help(config: type) -> None:
    from docstring_parser import parse

    described = {each.arg_name: each.description or "" for each in parse(config.__doc__ or "").params}
    assert described.keys() == {each.name for each in fields(config)}
    assert all(10 < len(text) < 160 for text in described.values())


def test_the_paper_is_the_default() -> None:
    assert PRESETS["paper"] == DetectorConfig()
    assert (DetectorConfig().refiner.hidden_channels, DetectorConfig().refiner.output) == ((64, 16), "absolute")
    assert (DetectorConfig().codec.target, DetectorConfig().codec.activation) == ("integer", "sigmoid")


def test_a_saved_config_is_restored() -> None:
    again = through_json(CONFIG)
    assert again.backbone_options == {"head": "concat"} and again.backbone_weights is None
    assert CONFIG.backbone_options["pretrained"] is True  # the config itself is left alone
    unchanged = {"backbone_options": {}, "backbone_weights": None}
    assert again.with_options(**unchanged) == CONFIG.with_options(**unchanged)
    assert json.dumps(through_json(again).saved()) == json.dumps(again.saved()) == json.dumps(CONFIG.saved())


def test_a_config_from_elsewhere_names_no_files_to_read_and_downloads_nothing() -> None:
    saved = {"backbone_weights": "/etc/passwd", "backbone_options": {"weights": "/etc/passwd", "pretrained": True}}
    config = read_config(saved)
    assert config.backbone_weights is None and config.backbone_options == {}


def test_a_saved_model_does_not_depend_on_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = PRESETS["official"].saved()
    monkeypatch.setitem(PRESETS._things, "official", DetectorConfig())
    monkeypatch.setitem(PRESETS._things, "paper", DetectorConfig(codec=CodecConfig(sigma=7.0)))
    assert read_config(saved).saved() == saved
    assert read_config(saved).refiner.connectivity.learnable.norm == "batch_norm"


FIRST_FORM = {
    "scheme": "wflw98",
    "backbone": "resnet18",
    "preset": "official",
    "input_size": [128, 128],
    "backbone_options": {},
    "codec": {"sigma": 2.0},
    "refiner": {"connectivity": "learnable", "connectivity_options": {"class_channels": 3, "symmetric": True}},
    "use_refiner": True,
    "protocol": "official",
    "min_confidence": 0.2,
}


def test_the_first_form_is_read_over_its_preset() -> None:
    config = read_config(FIRST_FORM)
    expected = PRESETS["official"].with_options(
        scheme="wflw98",
        backbone="resnet18",
        input_size=(128, 128),
        codec={"sigma": 2.0},
        refiner={"connectivity": {"symmetric": True, "learnable": {"class_channels": 3}}},
        protocol="official",
        min_confidence=0.2,
    )
    assert config == expected
    assert read_config({**FIRST_FORM, "use_refiner": False}).refiner.name == "none"
    topology = {"connectivity": "topology", "connectivity_options": {"edges": [[0, 1]], "self_loops": "none"}}
    connectivity = read_config({**FIRST_FORM, "refiner": topology}).refiner.connectivity
    assert (connectivity.name, connectivity.topology.edges, connectivity.self_loops) == ("topology", ((0, 1),), "none")


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"backbon": "resnet18"}, "'option name' to be one of scheme, backbone, .*Did you mean 'backbone'"),
        (
            {"refiner": {"landmark_channels": 1_000_000_000}},
            "'refiner.landmark_channels' to be less than or equal",
        ),
        ({"refiner": {"landmark_channels": -1}}, "'refiner.landmark_channels' to be greater than or equal to 0"),
        ({"refiner": {"dropout": 1.5}}, r"'refiner.dropout' to be less than or equal to 1 \(got 1.5\)"),
        ({"refiner": {"num_steps": True}}, r"'refiner.num_steps' to be a valid integer \(got True\)"),
        ({"input_size": [19200, 19200]}, "'input_size.0' to be less than or equal to 2048"),
        ({"input_size": [256, 0]}, "'input_size.1' to be greater than or equal to 1"),
        ({"input_size": [256.0, 256.0]}, "'input_size.0' to be a valid integer"),
        ({"codec": {"sigma": float("nan")}}, r"'codec.sigma' to be a finite number \(got nan\)"),
        ({"codec": {"sigma": 1e300}}, r"'codec.sigma' to be less than or equal to 100 \(got 1e\+300\)"),
        ({"min_confidence": "high"}, "'min_confidence' to be a valid number"),
        ({"refiner": {"hidden_channels": [8] * 1000}}, "'refiner.hidden_channels' to have at most 64 items"),
        (
            {"refiner": {"connectivity": {"topology": {"edges": [[0, -1]]}}}},
            "'refiner.connectivity.topology.edges.0.1' to be greater than or equal to 0",
        ),
        ({"scheme": ["ibug68"]}, "'scheme' to be a string"),
        ({"backbone_options": []}, "'backbone_options' to be a mapping"),
        ({"codec": None}, "'codec' to be a mapping of options"),
        ({"preset": "papers"}, "'preset' to be one of default, official, paper"),
        ({"preset": "paper", "backbon": "x"}, "'key' to be one of scheme, backbone, .*use_refiner"),
        ({"preset": "paper", "refiner": 3}, "'refiner' to map"),
        ({"preset": "paper", "refiner": {"connectivity_options": 3}}, "'refiner.connectivity_options' to map"),
        ({"preset": "paper", "refiner": {"connectivity": 3}}, "'refiner.connectivity.name' to be a string"),
        ({"preset": "paper", "refiner": {"connectivity": ["learnable"]}}, "'refiner.connectivity.name' to be a string"),
    ],
)
def test_a_config_from_elsewhere_is_checked_when_it_is_read(saved: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_config(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("saved", [[], None, "text", 3])
def test_a_saved_config_is_a_mapping(saved: Any) -> None:
    with pytest.raises(InputError, match=f"as a mapping .got {type(saved).__name__}"):
        read_config(saved)


def test_a_topology_follows_the_contours_of_the_scheme_and_is_kept() -> None:
    config = DetectorConfig().with_options(refiner={"connectivity": {"name": "topology"}})
    edges = config.saved()["refiner"]["connectivity"]["topology"]["edges"]
    assert (0, 1) in edges and (16, 17) not in edges
    given = {"name": "topology", "topology": {"edges": [[0, 1]]}}
    config = DetectorConfig().with_options(refiner={"connectivity": given})
    assert config.saved()["refiner"]["connectivity"]["topology"]["edges"] == ((0, 1),)


@pytest.mark.parametrize(
    ("topology", "pairs"),
    [({"edges": [[0, 1]]}, 1), ({"contours": [[0, 1, 2]]}, 2), ({}, None), ({"contours": []}, None)],
)
def test_edges_of_a_topology_are_the_given_ones_or_the_contours(topology: dict[str, Any], pairs: int | None) -> None:
    scheme = get_scheme("ibug68")
    built = ConnectivityConfig(name="topology", topology=TopologyConfig(**topology)).build(scheme)
    assert isinstance(built, TopologyConnectivity)
    assert built.num_pairs == (pairs or len({edge for contour in scheme.contours for edge in contour.edges}))


def test_a_custom_connectivity_has_a_name_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CONNECTIVITIES, "_things", dict(CONNECTIVITIES._things))

    @CONNECTIVITIES.register("ring")
    class Ring(TopologyConnectivity):
        def __init__(self, num_landmarks: int, reach: int = 1, **options: Any) -> None:
            pairs = [(k, (k + step + 1) % num_landmarks) for k in range(num_landmarks) for step in range(reach)]
            super().__init__(num_landmarks, edges=pairs, **options)

    scheme = get_scheme("aflw19")
    built = ConnectivityConfig(name="ring", options={"reach": 2}, self_loops="zero").build(scheme)
    assert isinstance(built, Ring) and (built.num_pairs, built.self_loops) == (38, "zero")
    with pytest.raises(InputError, match="options of the connectivity 'ring'"):
        ConnectivityConfig(name="ring", options={"reach": "far"}).build(scheme)


def test_a_custom_refiner_has_a_name_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REFINERS, "_things", dict(REFINERS._things))

    @REFINERS.register("narrow")
    class Narrow(LandmarkRefiner):
        def __init__(self, num_landmarks: int, feature_channels: int, input_size: Any, width: int = 4) -> None:
            super().__init__(num_landmarks, feature_channels, input_size, hidden_channels=(width,))

    built = RefinerConfig(name="narrow", options={"width": 2}).build(get_scheme("aflw19"), 6, (32, 32))
    assert isinstance(built, Narrow) and built.lgcn.convs[0].out_channels == 2
    with pytest.raises(InputError, match=r"'refiner.options' to be one of width \(got 'wdith'\)"):
        RefinerConfig(name="narrow", options={"wdith": 2}).build(get_scheme("aflw19"), 6, (32, 32))


def test_refiners_are_chained_by_their_names() -> None:
    config = RefinerConfig(name="lgcn+gaussian", gaussian=GaussianConfig(rank=3))
    chain = config.build(get_scheme("aflw19"), 6, (32, 32))
    assert isinstance(chain, RefinerChain)
    assert [type(each) for each in chain.refiners] == [LandmarkRefiner, GaussianRefiner]
    assert chain.refiners[1].rank == 3
    with pytest.raises(InputError, match=r"'refiner' to be one of gaussian, gnn, lgcn \(got 'none'\)"):
        RefinerConfig(name="lgcn+none").build(get_scheme("aflw19"), 6, (32, 32))


def test_a_refiner_that_breaks_the_contract_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REFINERS, "_things", dict(REFINERS._things))
    REFINERS.register("linear", lambda *arguments: torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"'linear' to be an lgcn.nn.Refiner \(got Linear\)"):
        RefinerConfig(name="linear").build(get_scheme("aflw19"), 6, (32, 32))


def test_free_options_are_for_custom_classes_only() -> None:
    scheme = get_scheme("aflw19")
    with pytest.raises(InputError, match=r"no 'connectivity.options' for the connectivity 'learnable'.*got norm"):
        ConnectivityConfig(options={"norm": "batch_norm"}).build(scheme)
    with pytest.raises(InputError, match=r"no 'refiner.options' for the refiner 'lgcn'.*got heads"):
        RefinerConfig(options={"heads": 2}).build(scheme, 4, (32, 32))


def test_without_a_refiner() -> None:
    assert RefinerConfig(name="none").build(get_scheme("aflw19"), 4, (32, 32)) is None
    with pytest.raises(InputError, match=r"'refiner' to be one of gaussian, gnn, lgcn, none \(got 'gcn'\)"):
        RefinerConfig(name="gcn").build(get_scheme("aflw19"), 4, (32, 32))
