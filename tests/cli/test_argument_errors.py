import re
from pathlib import Path

import pytest

from lgcn.cli.argument_errors import explain
from lgcn.cli.main import main

UNION = """Parser key "trainer.max_epochs":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
    - Expected a <class 'int'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: x"""
CLASS = """Parser key "trainer.callbacks":

  - Expected a path but [{class_path: foo.Bar}] either not accessible or invalid
  - Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path 'foo.Bar':
        No module named 'foo'
    - Not a valid subclass of Callback
      Subclass types expect one of:
      - a class path (str)
    - Expected a <class 'NoneType'>
  Given value: [{'class_path': 'foo.Bar'}]"""


@pytest.mark.parametrize(
    ("message", "start"),
    [
        (UNION, "Expected 'trainer.max_epochs' to be a whole number or null (got x). See"),
        (CLASS, "Cannot use 'trainer.callbacks': Problem with given class_path 'foo.Bar': No module named 'foo'. See"),
        (
            "Parser key \"model.optimizer\":\n  Expected a typing.Literal['adam', 'adamw']. Got value: sgd",
            "Expected 'model.optimizer' to be one of 'adam', 'adamw' (got sgd). See",
        ),
        (
            'Parser key "model":\nUnable to load config \'3\'\n  - Parser key "model": Unable to load config "3"',
            "Expected 'model' to be a mapping, or a file that holds one (got 3). See",
        ),
        ("unrecognized arguments: --colour 3", "Expected options that 'lgcn fit' has (got --colour 3). See"),
        ('Parser key "a.b":\n  Something else.', "Cannot use 'a.b': Something else. See"),
        ("Something\n  unforeseen.", "Something unforeseen. See"),
    ],
)
def test_every_message_becomes_one_line(message: str, start: str) -> None:
    line = explain(message)
    assert line.startswith(start)
    assert line.endswith("See 'lgcn fit --help' for what a configuration may hold.")
    assert "\n" not in line


GOOD = "model: {detector: {backbone: test_efficientnet}}"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # The words are those of jsonargparse's version.
        (["--trainer.max_epochs", "x"], "'trainer.max_epochs'"),
        (["--trainer.precision", "bf17"], "'trainer.precision'"),
        (["--model.optimizer", "sgd"], "'model.optimizer'"),
        (["--data.on_corrupt", "hide"], "'data.on_corrupt'"),
        (["--model.compile", "often"], "'model.compile' to be true or false (got often)"),
        (["--trainer.callbacks", "[{class_path: foo.Bar}]"], "No module named 'foo'"),
        (["--model", "3"], "'model' to be a mapping, or a file that holds one, some of detector, loss, "),
        (["--model", "{detector: 3}"], "'model.detector' to hold options, some of scheme, backbone, "),
        (["--model.detector.refiner.shape_features", "[true, 3]"], "(got [True, 3])"),
        (["--colour"], "one of config, seed_everything, trainer, model, data, preset, ckpt_path (got 'colour')"),
        (["--model.loss.heats", "focal"], "an option of 'model.loss', one of heatmap, coordinate, heatmap_weight"),
        (["--data.augmentation.rotations=3"], "(got 'rotations'). Did you mean 'rotation'?"),
    ],
)
def test_parser_errors_are_one_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    config = tmp_path / "good.yaml"
    config.write_text(GOOD)
    assert main(["fit", "--config", str(config), "--data.root", "x", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lgcn: error: ")
    assert expected in line


def test_invalid_yaml_is_reported_with_the_file_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("model: [1,2")
    argv = ["--config", str(tmp_path / "good.yaml"), f"--config={tmp_path / 'bad.yaml'}", "--data.root", "x"]
    assert main(["fit", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Expected YAML in '{tmp_path / 'bad.yaml'}' (while parsing" in line
    assert "line 1, column 8" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--trainer.strategy", "foo"], "Cannot use the settings in 'trainer': .*'foo'"),
        (["--trainer.devices", "0"], "Cannot use the settings in 'trainer': .*devices"),
        (["--trainer.limit_train_batches", "-1"], "Cannot use the settings in 'trainer': .*limit_train_batches"),
        (["--trainer.sync_batchnorm", "true"], "'trainer.sync_batchnorm' to be false on the CPU"),
    ],
)
def test_settings_that_the_trainer_refuses_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    argv = ["--config", str(tmp_path / "good.yaml"), "--data.root", "x", "--trainer.accelerator", "cpu", *options]
    assert main(["fit", *argv, "--trainer.default_root_dir", str(tmp_path / "runs")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lgcn: error: ")]
    assert re.search(expected, line)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("colour: 3", "one of config, seed_everything, trainer, model, data, preset, ckpt_path (got 'colour')."),
        ("model: {loss: {wing: {widths: 3}}}", "'model.loss.wing', one of width, epsilon (got 'widths'). Did you mean"),
        ("model: {loss: {wing: 3}}", "Expected 'model.loss.wing' to hold options, some of width, epsilon (got 3)."),
        ("model: {schedule: [1]}", "'model.schedule'"),
        ("model: {detector: 3}", "'model.detector' to hold options, some of scheme, backbone, "),
        ("model: 3", "'model.detector' to hold options, some of scheme, "),
    ],
)
def test_a_wrong_key_in_a_file_lists_the_choices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, expected: str
) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    assert main(["fit", "--config", str(tmp_path / "bad.yaml"), "--data.root", "x"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lgcn: error: ")]
    assert expected in line
