"""The shipped recipes: found by name, laid over each other, built and run, and with the numbers of their sources."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lgcn.checks import InputFileError
from lgcn.cli.fit import find_config, resolve_configs, shipped_configs
from lgcn.cli.main import main
from lgcn.training import ScheduleConfig
from tests.datasets.synthetic import pts_tree, wflw_tree

GAUSSIAN = ["gaussian_frozen", "lgcn-68", "lgcn-68-fast", "lgcn-68-hrnet18"]
RECIPES = ["default", *GAUSSIAN, "lgcn-68-paper", "official", "paper_end_to_end", "paper_frozen"]
OF_WFLW = ["lgcn-98"]
GNNS = ["gnn"]
OVERLAYS = ["mild", "tight", "wflw"]
GNN_OVERLAYS = ["gnn_lgcn", "gnn_transformer"]
COMBINATIONS = [(recipe, *overlay) for recipe in RECIPES for overlay in ((), ("wflw",))]
COMBINATIONS += [(recipe,) for recipe in (*OF_WFLW, *GNNS)] + [("gnn", overlay) for overlay in GNN_OVERLAYS]
COMBINATIONS += [(recipe, step) for recipe in ("lgcn-68", "lgcn-68-fast") for step in ("mild", "tight")]

# Quoted from sections IV-B and IV-E; what is asserted below is what they say.
QUOTES = [
    "cropped according to the center location and resized to 256×256",
    "We choose $\\lambda_1 = \\lambda_2 = 1$",
    "The learning rate is set to 10^{-4} and 10^{-3} for CNN backbone and GCN landmark model accordingly",
    "rotate image with a random angle $[-30, 30]$, scale image with a random scale factor in $[0.8, 1.2]$, random "
    "translation in range $[0.9, 1.1]$, random horizontal flip and color jitter",
    "The GCN landmark model is trained with learning rate of 10^{-3} for 2",
    "epochs then the learning rate is reduce to 10^{-4} for 30 epochs",
    "the backbone weights are freezed in this experiment",
]


def options_of(*names: str) -> list[str]:
    return [word for name in names for word in ("--config", name)]


def whole(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    """What --print_config prints, parsed."""
    with pytest.raises(SystemExit) as stop:
        main(["fit", *argv, "--data.root", "somewhere", "--print_config"])
    assert stop.value.code == 0
    printed: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return printed


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Five faces each in the layouts of 300-W and WFLW."""
    folder = tmp_path_factory.mktemp("data")
    pts_tree(folder / "ibug300w", "afw", 5)
    wflw_tree(folder / "wflw", train=5, test=1)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_every_recipe_builds_and_takes_two_steps(
    names: tuple[str, ...], roots: dict[str, Path], tmp_path: Path
) -> None:
    dataset = "wflw" if {"wflw", *OF_WFLW}.intersection(names) else "ibug300w"
    small = {
        "data.root": str(roots[dataset]),
        "data.batch_size": "2",
        "data.num_workers": "0",
        "model.detector.backbone": "test_resnet",
        "model.detector.input_size": "[32, 32]",
        "trainer.accelerator": "cpu",
        "trainer.default_root_dir": str(tmp_path),
        "trainer.max_epochs": "1",
        "trainer.limit_train_batches": "2",
        "trainer.limit_val_batches": "1",
        "trainer.num_sanity_val_steps": "0",
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    command = ["fit", *options_of(*names), *(f"--{key}={value}" for key, value in small.items())]
    if names[0] == "gnn":  # the shipped model is of another size
        command += ["--model.initial_weights=null", "--model.allow_untrained_backbone=true"]
    if names[0] in GAUSSIAN:  # few shapes, and a closed form
        command += ["--model.detector.refiner.gaussian.rank=1", "--data.val_fraction=0.2"]
    if names[0] in ("paper_frozen", "gaussian_frozen"):
        assert main(command) == 2, "it needs a trained backbone"
        assert not list(tmp_path.iterdir())
        command.append("--model.allow_untrained_backbone=true")
    assert main(command) == 0

    saved = yaml.safe_load((tmp_path / "version_0" / "config.yaml").read_text())
    assert saved["data"]["dataset"] == dataset
    state = torch.load(tmp_path / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2
    recipe = yaml.safe_load(Path(find_config(names[0])).read_text())["model"]
    assert state["detector_config"]["scheme"] == {"wflw": "wflw98", "ibug300w": "ibug68"}[dataset]
    (optimizer,) = state["optimizer_states"]
    groups = {each["name"].partition("/")[0] for each in optimizer["param_groups"]}
    assert groups == ({"refiner"} if recipe.get("freeze_backbone") else {"backbone", "refiner"})
    if recipe["schedule"]["name"] == "constant":
        rates = {each["name"]: each["lr"] for each in optimizer["param_groups"]}
        assert rates == {"backbone": recipe["backbone_lr"], "refiner": recipe["refiner_lr"]}
        assert not state["lr_schedulers"]


def test_all_that_is_shipped_is_tested_here() -> None:
    assert shipped_configs() == sorted([*RECIPES, *OF_WFLW, *GNNS, *OVERLAYS, *GNN_OVERLAYS])
    for name in (*RECIPES, *OF_WFLW, *GNNS):
        content = yaml.safe_load(Path(find_config(name)).read_text())
        assert content["trainer"]["default_root_dir"] == f"runs/{name}", "runs of two recipes must not mix"


def test_names_resolve_wherever_they_stand() -> None:
    paths = {name: find_config(name) for name in (*RECIPES, *OVERLAYS)}
    assert resolve_configs(["--config", "official", "-c", "wflw", "--config=default", "--x", "wflw"]) == [
        *("--config", paths["official"], "-c", paths["wflw"], f"--config={paths['default']}", "--x", "wflw")
    ]
    with pytest.raises(
        InputFileError,
        match="default, gaussian_frozen, gnn, gnn_lgcn, gnn_transformer, lgcn-68, "
        "lgcn-68-fast, lgcn-68-hrnet18, lgcn-68-paper, lgcn-98, mild, official, paper_end_to_end, paper_frozen, tight",
    ):
        resolve_configs(["--config", "official", "--config", "wlfw"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_overlay_changes_the_dataset_and_nothing_else(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    alone, over = (whole(capsys, *options_of(*names)) for names in ((recipe,), (recipe, "wflw")))
    assert over["model"]["detector"].pop("scheme") == "wflw98"
    assert alone["model"]["detector"].pop("scheme") == "ibug68"
    for key, was, is_now in (("dataset", "ibug300w", "wflw"), ("scheme", "ibug68", "wflw98")):
        if key in alone["data"]:
            assert (alone["data"].pop(key), over["data"].pop(key)) == (was, is_now)
    assert over["data"].pop("batch_size") == 98
    alone["data"].pop("batch_size")
    assert alone == over


def test_later_arguments_override_earlier_ones(capsys: pytest.CaptureFixture[str]) -> None:
    printed = whole(capsys, "--config=paper_frozen", "-c", "wflw", "--data.batch_size", "7")
    assert (printed["data"]["dataset"], printed["data"]["batch_size"]) == ("wflw", 7)
    assert printed["model"]["freeze_backbone"] is True
    assert whole(capsys, "--config", "wflw", "--config", "official")["data"]["dataset"] == "ibug300w"


def check_the_papers_setting(printed: dict[str, Any]) -> None:
    """Section IV-B: network, crop, augmentation, weight of the coordinate loss."""
    detector = printed["model"]["detector"]
    assert (detector["backbone"], printed["preset"], detector["input_size"]) == ("hrnet_w18", "paper", [256, 256])
    assert printed["model"]["loss"]["coordinate"] == "l1"
    assert (printed["model"]["loss"]["refined_weight"], printed["model"]["loss"]["initial_weight"]) == (1, 0)
    augmentation = printed["data"]["augmentation"]
    assert (augmentation["rotation"], augmentation["scale"], augmentation["translation"]) == (30, [0.8, 1.2], 0.1)
    assert augmentation["flip"] == 0.5 and augmentation["color_jitter"] and augmentation["occlusion"] == 0


def test_paper_end_to_end_is_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    printed = whole(capsys, *options_of("paper_end_to_end"))
    check_the_papers_setting(printed)
    model = printed["model"]
    assert (model["backbone_lr"], model["refiner_lr"]) == (1e-4, 1e-3)
    assert (model["loss"]["heatmap"], model["loss"]["heatmap_weight"]) == ("focal", 1)
    assert model["schedule"]["name"] == "constant" and not model["freeze_backbone"]


def test_paper_frozen_is_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    printed = whole(capsys, *options_of("paper_frozen"))
    check_the_papers_setting(printed)
    model = printed["model"]
    assert model["freeze_backbone"] is True and model["loss"]["heatmap_weight"] == 0
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=model["refiner_lr"])
    epochs, steps = printed["trainer"]["max_epochs"], 3
    scheduler = ScheduleConfig(**model["schedule"]).build(optimizer, epochs * steps, steps)
    assert scheduler is not None
    rates = []
    for _ in range(epochs * steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(2 * steps * [1e-3] + 30 * steps * [1e-4])


def test_official_is_the_released_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for names, batch_size in ((("official",), 48), (("official", "wflw"), 98)):
        printed = whole(capsys, *options_of(*names))
        model, detector = printed["model"], printed["model"]["detector"]
        assert (printed["preset"], detector["protocol"]) == ("official", "official")
        assert (detector["backbone"], detector["input_size"]) == ("hrnet_w18", [256, 256])
        loss = model["loss"]
        assert (loss["heatmap"], loss["heatmap_weight"], loss["coordinate"], loss["refined_weight"]) == (
            *("focal", 1, "l1", 1),
        )
        assert loss["initial_weight"] == 0
        assert (model["optimizer"], model["weight_decay"], model["schedule"]["name"]) == ("adam", 0, "constant")
        assert (model["backbone_lr"], model["refiner_lr"]) == (10e-4, 10e-3)  # as written there
        assert (printed["trainer"]["max_epochs"], printed["data"]["batch_size"]) == (100, batch_size)


def test_default_is_the_preset_with_occlusion(capsys: pytest.CaptureFixture[str]) -> None:
    printed = whole(capsys, *options_of("default"))
    detector = printed["model"]["detector"]
    assert (detector["backbone"], printed["preset"], detector["input_size"]) == ("hrnet_w18", "default", [256, 256])
    assert printed["data"]["augmentation"]["occlusion"] > 0
    assert "NOT been trained to the end" in Path(find_config("default")).read_text()
    # The losses of the model that was trained to the end.
    assert printed["model"]["loss"] == whole(capsys, *options_of("lgcn-68-paper"))["model"]["loss"]


def test_lgcn_98_is_lgcn_68_paper_for_other_landmarks_and_few_faces(capsys: pytest.CaptureFixture[str]) -> None:
    of_68, of_98 = (whole(capsys, *options_of(name)) for name in ("lgcn-68-paper", "lgcn-98"))
    assert of_68["model"]["detector"].pop("scheme") == "ibug68" and of_98["model"]["detector"].pop("scheme") == "wflw98"
    assert of_68["model"] == of_98["model"]
    assert of_68["data"]["augmentation"] == of_98["data"]["augmentation"]


def test_quotes_match_the_paper(shared: Path) -> None:
    text = (shared / "paper.txt").read_text(encoding="utf-8")
    assert not [quote for quote in QUOTES if quote not in text]
