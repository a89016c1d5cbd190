import json
from typing import Any

import pytest

from lgcn.checks import InputError
from lgcn.models import PRESETS, DetectorConfig, Preset
from lgcn.nn import LandmarkRefiner, TopologyConnectivity

CONFIG = DetectorConfig(
    scheme="wflw98",
    backbone="resnet18",
    preset="default",
    input_size=(128, 96),
    backbone_options={"head": "concat", "pretrained": True, "weights": "start.safetensors"},
    codec={"sigma": 2.0},
    refiner={"hidden_channels": (32,), "connectivity_options": {"class_channels": 8}},
    protocol="hrnet",
    backbone_weights="imagenet.safetensors",
)


def through_json(config: DetectorConfig) -> DetectorConfig:
    return DetectorConfig.from_saved(json.loads(json.dumps(config.saved())))


def test_a_saved_config_comes_back() -> None:
    again = through_json(CONFIG)
    assert again.input_size == (128, 96)
    assert (again.scheme, again.backbone, again.preset, again.protocol) == ("wflw98", "resnet18", "default", "hrnet")
    assert again.codec == {**PRESETS["default"].codec, "sigma": 2.0, "align": "center"}
    options = again.refiner["connectivity_options"]
    assert (options["class_channels"], options["norm"], options["self_loops"]) == (8, None, "none")
    # What was saved once is saved the same ever after.
    assert json.dumps(through_json(again).saved()) == json.dumps(again.saved()) == json.dumps(CONFIG.saved())


def test_a_topology_follows_the_contours_of_the_scheme_and_is_kept() -> None:
    config = DetectorConfig(scheme="ibug68", refiner={"connectivity": "topology"})
    edges = config.saved()["refiner"]["connectivity_options"]["edges"]
    assert (0, 1) in edges and (16, 17) not in edges
    given = DetectorConfig(refiner={"connectivity": "topology", "connectivity_options": {"edges": [[0, 1]]}})
    assert given.saved()["refiner"]["connectivity_options"]["edges"] == [[0, 1]]
    assert json.dumps(through_json(config).saved()) == json.dumps(config.saved())


@pytest.mark.parametrize(
    ("given", "pairs"),
    [
        ({"self_loops": "zero"}, None),
        ({"self_loops": "zero", "edges": [[0, 1]]}, 1),
        ({"contours": [[0, 1, 2]]}, 2),
        ({"edges": None, "contours": [], "num_nearest": 0}, None),
    ],
)
def test_a_topology_with_other_options_follows_the_contours_too(given: dict[str, Any], pairs: int | None) -> None:
    def refiner(options: dict[str, Any]) -> LandmarkRefiner:
        config = DetectorConfig(refiner={"connectivity": "topology", "connectivity_options": options})
        return LandmarkRefiner(68, 8, (64, 64), **through_json(config).refiner_options())

    connectivity = refiner(given).lgcn.connectivity
    assert isinstance(connectivity, TopologyConnectivity)
    assert connectivity.self_loops == given.get("self_loops", "none")
    of_scheme = refiner({}).lgcn.connectivity
    assert isinstance(of_scheme, TopologyConnectivity)
    assert connectivity.num_pairs == (pairs or of_scheme.num_pairs)


def test_options_of_the_preset_s_connectivity_stay_beside_one_s_own() -> None:
    preset = PRESETS["official"].refiner["connectivity_options"]
    given = {"symmetric": True, "class_channels": 3}
    for options in ({"connectivity_options": given}, {"connectivity": "learnable", "connectivity_options": given}):
        config = DetectorConfig(preset="official", refiner=options)
        assert config.refiner_options()["connectivity_options"] == {**preset, **given}
        assert through_json(config).refiner_options()["connectivity_options"].items() >= {**preset, **given}.items()
    assert "symmetric" not in preset
    assert DetectorConfig(preset="official").refiner_options()["connectivity_options"] == preset
    other = DetectorConfig(preset="official", refiner={"connectivity": "adjacency", "connectivity_options": {}})
    assert other.refiner_options()["connectivity_options"] == {}
    # The paper's is learnable too, without saying so.
    config = DetectorConfig(refiner={"connectivity": "learnable", "connectivity_options": given})
    assert config.refiner_options()["connectivity_options"] == given


def test_a_changed_connectivity_of_a_preset_leaves_saved_models_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = DetectorConfig(preset="official").saved()
    monkeypatch.setitem(PRESETS["official"].refiner["connectivity_options"], "symmetric", True)
    assert DetectorConfig(preset="official").refiner_options()["connectivity_options"]["symmetric"] is True
    assert DetectorConfig.from_saved(saved).refiner_options()["connectivity_options"]["symmetric"] is False


@pytest.mark.parametrize("preset", PRESETS.names())
def test_another_connectivity_leaves_the_options_of_the_preset_s_behind(preset: str) -> None:
    assert (
        not DetectorConfig(preset=preset, refiner={"connectivity": "adjacency"})
        .refiner_options()
        .get("connectivity_options")
    )


def test_the_defaults_come_back() -> None:
    assert json.dumps(through_json(DetectorConfig()).saved()) == json.dumps(DetectorConfig().saved())


def test_how_training_started_is_not_kept() -> None:
    saved = CONFIG.saved()
    assert "backbone_weights" not in saved
    assert saved["backbone_options"] == {"head": "concat"}
    assert CONFIG.backbone_options["pretrained"] is True  # the config itself is left alone


def test_a_changed_preset_leaves_saved_models_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = DetectorConfig(preset="paper").saved()
    monkeypatch.setitem(PRESETS["paper"].codec, "sigma", 7.0)
    assert DetectorConfig.from_saved(saved).saved()["codec"]["sigma"] == 1.5
    assert DetectorConfig(preset="paper").saved()["codec"]["sigma"] == 7.0


def test_options_of_ones_own_go_over_those_of_the_preset() -> None:
    saved = DetectorConfig(preset="paper", codec={"decode": "argmax"}, refiner={"output": "offset"}).saved()
    assert saved["codec"]["decode"] == "argmax"
    assert saved["codec"]["sigma"] == 1.5
    assert saved["refiner"]["output"] == "offset"


@pytest.mark.parametrize("size", [[256, 192], (256, 192)])
def test_sizes_of_json_and_yaml_are_lists(size: Any) -> None:
    assert DetectorConfig(input_size=size).input_size == (256, 192)


@pytest.mark.parametrize("size", [(256,), (256, 256, 3), (0, 256), (-64, 64), (256.0, 256.0), ("256", "256")])
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(InputError, match="'input_size' as two positive integers"):
        DetectorConfig(input_size=size)


@pytest.mark.parametrize("name", ["backbone_options", "codec", "refiner"])
def test_options_are_mappings(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' to map options to values .got None"):
        DetectorConfig(**{name: None})


def test_unknown_keys_list_the_choices() -> None:
    with pytest.raises(InputError, match=r"'config key' to be one of scheme, backbone, .*Did you mean 'backbone'"):
        DetectorConfig.from_saved({"backbon": "resnet18"})


@pytest.mark.parametrize("saved", [[], None, "text", 3])
def test_a_saved_config_is_a_mapping(saved: Any) -> None:
    with pytest.raises(InputError, match=f"as a mapping .got {type(saved).__name__}"):
        DetectorConfig.from_saved(saved)


def test_saving_an_unknown_preset_lists_the_choices() -> None:
    with pytest.raises(InputError, match="'preset' to be one of default, official, paper"):
        DetectorConfig(preset="none").saved()


def test_a_saved_model_does_not_depend_on_presets_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DetectorConfig(preset="default", refiner={"hidden_channels": [8]})
    saved = config.saved()
    changed = Preset(codec={"sigma": 9.0}, refiner=dict.fromkeys(saved["refiner"], "changed"))
    monkeypatch.setitem(PRESETS._things, "default", changed)
    options = {**changed.refiner, **DetectorConfig.from_saved(saved).refiner}
    assert "changed" not in options.values()
    assert options["hidden_channels"] == [8]
    assert options["landmark_channels"] == 32
    assert options["sampling"] == "bilinear"
