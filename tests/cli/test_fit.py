import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lgcn.checks import InputError, InputFileError
from lgcn.cli.fit import find_config, resolve_configs, shipped_configs, single_error
from lgcn.cli.main import main
from lgcn.datasets import write_pts
from lgcn.models import LandmarkDetector

TINY = """
preset: default
model:
  detector:
    backbone: test_efficientnet
    input_size: [32, 32]
    backbone_options: {head: pyramid, width: 8}
    refiner: {hidden_channels: [8]}
  loss: {heatmap: cross_entropy}
data: {batch_size: 2, num_workers: 0, val_fraction: 0.3}
trainer: {max_epochs: 1, accelerator: cpu, log_every_n_steps: 1, enable_model_summary: false}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


def faces(root: Path) -> str:
    """Five images of noise in 300-W's layout."""
    (root / "afw").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(root / f"afw/{number}.png")
        write_pts(root / f"afw/{number}.pts", torch.from_numpy(rng.uniform(10, 50, (68, 2))))
    return str(root)


def error_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one message of a command that ends with status 2."""
    assert main(["fit", *argv]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lgcn: error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_run_leaves_checkpoints_log_configuration_and_model(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    root = faces(tmp_path / "300w")
    assert main(["fit", "--config", config, "--data.root", root, "--trainer.default_root_dir", str(runs)]) == 0
    run = runs / "version_0"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list(run.glob("events.out.tfevents.*"))
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["root"] == root
    printed = capsys.readouterr()
    assert f"weights: {run / 'model'}\n" in printed.out
    assert "litlogger" not in printed.out + printed.err
    assert {path.name for path in run.iterdir() if "tfevents" not in path.name} == {
        *("checkpoints", "config.yaml", "model"),
    }
    exported = LandmarkDetector.from_pretrained(run / "model").state_dict()
    from_checkpoint = LandmarkDetector.from_pretrained(run / "checkpoints" / "best.ckpt").state_dict()
    assert exported.keys() == from_checkpoint.keys()
    assert all(value.equal(from_checkpoint[name]) for name, value in exported.items())
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["detector_config"]["backbone"] == "test_efficientnet"

    # What was saved is a configuration again, and an explicit checkpoint starts a folder of its own.
    again = ["fit", "--config", str(run / "config.yaml"), "--ckpt_path", str(run / "checkpoints" / "last.ckpt")]
    assert main([*again, "--trainer.max_epochs", "2"]) == 0
    assert torch.load(runs / "version_1" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1


def test_averaged_weights_are_saved_exported_and_resumed(tmp_path: Path, config: str) -> None:
    runs = tmp_path / "runs"
    averaging = ["--trainer.callbacks+=lightning.pytorch.callbacks.EMAWeightAveraging", "--trainer.callbacks.decay=0.5"]
    command = ["fit", "--config", config, "--data.root", faces(tmp_path / "300w"), *averaging]
    command += ["--trainer.default_root_dir", str(runs)]
    assert main([*command, "--trainer.max_epochs", "2"]) == 0
    run = runs / "version_0"
    best, last = (torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    name = "detector.refiner.lgcn.convs.0.lin_self.weight"
    assert not last["state_dict"][name].equal(last["current_model_state"][name])
    exported = LandmarkDetector.from_pretrained(run / "model").state_dict()
    assert exported[name.removeprefix("detector.")].equal(best["state_dict"][name])
    assert main([*command, "--trainer.max_epochs", "3", "--ckpt_path", "last"]) == 0


# Others are laid over one of these.
COMPLETE = [name for name in shipped_configs() if "backbone:" in Path(find_config(name)).read_text()]


@pytest.mark.parametrize("name", COMPLETE)
def test_shipped_configurations_are_found_by_name_and_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", name, "--data.root", "somewhere", "--model.refiner_lr", "0.5", "--print_config"])
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    shipped = yaml.safe_load(Path(find_config(name)).read_text())
    assert printed["model"]["detector"]["backbone"] == shipped["model"]["detector"]["backbone"]
    assert printed["model"]["refiner_lr"] == 0.5
    assert printed["data"]["root"] == "somewhere"


def test_the_frozen_recipe_is_the_papers() -> None:
    model = yaml.safe_load(Path(find_config("paper_frozen")).read_text())["model"]
    assert model["freeze_backbone"] is True
    assert model["schedule"] == {"name": "multistep", "milestones": [2], "factor": 0.1}
    assert float(model["refiner_lr"]) == 1e-3


def test_names_of_configurations(tmp_path: Path, config: str) -> None:
    assert set(COMPLETE) >= {"lgcn-68", "paper_end_to_end", "paper_frozen"}
    assert resolve_configs(["--config", config, "--x", "lgcn-68"]) == ["--config", config, "--x", "lgcn-68"]
    assert resolve_configs(["--config=lgcn-68"]) == [f"--config={find_config('lgcn-68')}"]
    with pytest.raises(InputFileError, match="one of .*lgcn-68, .*paper_frozen"):
        resolve_configs(["-c", "lgcn-67"])


def test_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for option in ("--data.root", "--model.freeze_backbone", "--trainer.max_epochs", "--ckpt_path", "--config"):
        assert option in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data.root", "x"], "'--config' with a file or one of .*lgcn-68"),
        (["--config", "nothing"], "one of .*lgcn-68, .*paper_frozen.* .got 'nothing'"),
        (["--config", "TINY"], "--data.root DIR"),
        (["--config", "TINY", "--data.root", "x", "--model.colour", "3"], "colour"),
        (["--config", "TINY", "--data.root", "x", "--data.batch_size", "many"], "batch_size"),
        (["--config", "TINY", "--data.root", "x", "--data.batch_size", "0"], "'batch_size' to be 1 or more .got 0"),
        (["--config", "TINY", "--data.root", "x", "--data.num_workers", "-1"], "'num_workers' to be 0 or more .got -1"),
        (["--config", "TINY", "--data.root", "/nowhere"], "'/nowhere'"),
        (["--config", "TINY", "--data.root", "x", "--model.detector.backbone", "nonet"], "'nonet'"),
        (["--config", "TINY", "--data.root", "x", "--model.loss.heatmap", "none"], "cross_entropy, focal"),
        (["--config", "TINY", "--data.root", "x", "--data.dataset", "none"], "ibug300w"),
        (["--config", "TINY", "--data.root", "x", "--ckpt_path", "no.ckpt"], "'no.ckpt'"),
    ],
)
def test_bad_arguments_are_one_message(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    argv = [config if word == "TINY" else word for word in argv]
    runs = tmp_path / "runs"
    assert re.search(message, error_of(capsys, *argv, "--trainer.default_root_dir", str(runs)))
    assert not runs.exists()


@pytest.mark.parametrize("key", ["model: {colour: 3}", "model: {detector: {colour: 3}}", "colour: 3"])
def test_an_unknown_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    (tmp_path / "bad.yaml").write_text(key)
    assert "colour" in error_of(capsys, "--config", str(tmp_path / "bad.yaml"), "--data.root", "x")


def test_a_checkpoint_of_another_scheme_is_refused(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = faces(tmp_path / "300w")
    runs = ["--data.root", root, "--trainer.default_root_dir", str(tmp_path / "runs")]
    assert main(["fit", "--config", config, *runs]) == 0
    last = tmp_path / "runs" / "version_0" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["detector_config"]["scheme"] = "wflw98"
    torch.save(checkpoint, last)
    assert "got 'wflw98'" in error_of(capsys, "--config", config, *runs, "--ckpt_path", "last")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_file_other_than_a_checkpoint_is_refused(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = tmp_path / "x.ckpt"
    if content is None:
        torch.save({"state_dict": {}}, path)
    else:
        path.write_bytes(content)
    places = ["--data.root", faces(tmp_path / "300w"), "--trainer.default_root_dir", str(tmp_path / "runs")]
    assert f"lgcn fit' in '{path}'" in error_of(capsys, "--config", config, *places, "--ckpt_path", str(path))


def test_a_damaged_image_met_by_a_worker_is_one_message(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(faces(tmp_path / "300w"))
    for path in root.glob("afw/*.png"):
        path.write_bytes(path.read_bytes()[:500])
    places = ["--data.root", str(root), "--trainer.default_root_dir", str(tmp_path / "runs")]
    assert main(["fit", "--config", config, *places, "--data.num_workers", "1"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert re.search(r"^lgcn: error: Expected a whole image in '.*\.png' \(Pillow cannot decode it", err, re.MULTILINE)


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    places = ["--data.root", faces(tmp_path / "300w"), "--trainer.default_root_dir", str(tmp_path / "file" / "runs")]
    assert re.search(
        r"'trainer.default_root_dir'.*runs': Not a directory", error_of(capsys, "--config", config, *places)
    )


def test_without_lightning_the_extra_is_named() -> None:
    code = "import sys; sys.modules['lightning'] = None; from lgcn.cli.main import main; sys.exit(main(['fit']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'lgcn[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def trainer_of(world_size: int, killed: list[int] | None = None) -> Any:
    launcher = None if killed is None else SimpleNamespace(kill=killed.append)
    return SimpleNamespace(world_size=world_size, strategy=SimpleNamespace(launcher=launcher))


def test_the_launching_process_ends_the_others() -> None:
    killed: list[int] = []
    with pytest.raises(InputError, match="cut off"), single_error(trainer_of(2, killed)):
        raise InputError("cut off")
    assert len(killed) == 1


def test_a_process_left_by_the_others_prints_one_line() -> None:
    with pytest.raises(InputError, match="another process of this run"), single_error(trainer_of(2)):
        raise RuntimeError("[pair.cc:561] Connection closed by peer [127.0.0.1]:5523.")


@pytest.mark.parametrize(("world_size", "message"), [(1, "Connection closed by peer"), (2, "a bug")])
def test_other_errors_are_not_hidden(world_size: int, message: str) -> None:
    with pytest.raises(RuntimeError, match=message), single_error(trainer_of(world_size)):
        raise RuntimeError(message)


def test_nothing_else_is_touched() -> None:
    with single_error(trainer_of(2, [])):
        pass
    with pytest.raises(InputError, match="alone"), single_error(trainer_of(1)):
        raise InputError("alone")
