"""Gradient accumulation, bfloat16, channels-last and compilation: switches of a configuration, a few steps each."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lgcn.backbones import BACKBONES, ModuleBackbone
from lgcn.checks import InputError
from lgcn.cli.main import main
from lgcn.models import DetectorConfig, LandmarkDetector
from lgcn.training import LandmarkModule, LossConfig

CONFIG = """
preset: default
model:
  detector:
    backbone: tiny
    input_size: [32, 32]
    refiner: {hidden_channels: [8]}
  loss: {heatmap: cross_entropy, initial_weight: 1.0}
  backbone_lr: 1.0e-3
  schedule: {name: one_cycle}
data:
  batch_size: 4
  num_workers: 0
  val_split: lfpw/testset
  # Faces stay inside their crops, so that every batch has as many heatmaps to be judged by.
  augmentation: {rotation: 0, scale: [0.8, 1.0], translation: 0}
trainer:
  max_epochs: 2
  accelerator: cpu
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
"""


def build_tiny(num_landmarks: int) -> ModuleBackbone:
    """Two convolutions, without batch normalisation, whose statistics are those of the smaller batch."""
    first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    net = nn.Sequential(first, nn.Tanh(), nn.Conv2d(4, num_landmarks, 3, stride=2, padding=1))
    return ModuleBackbone(net, num_landmarks, feature_channels=num_landmarks, stride=4)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[DetectorConfig]:
    monkeypatch.setitem(BACKBONES._things, "tiny", build_tiny)
    torch.compiler.reset()
    yield DetectorConfig().with_options(backbone="tiny", input_size=(32, 32), refiner={"hidden_channels": (8,)})
    # What was compiled for one network counts against the recompilations of the next.
    torch.compiler.reset()


@pytest.fixture
def fit(tmp_path: Path, face_root: Path) -> Any:
    (tmp_path / "tiny.yaml").write_text(CONFIG)

    def run(name: str, *options: str) -> Path:
        """The folder of a run with these options."""
        places = ["--data.root", str(face_root), "--trainer.default_root_dir", str(tmp_path / name)]
        assert main(["fit", "--config", str(tmp_path / "tiny.yaml"), *places, *options]) == 0
        return tmp_path / name / "version_0"

    return run


def figures(run: Path) -> dict[str, list[float]]:
    log = EventAccumulator(str(run))
    log.Reload()
    return {tag: [point.value for point in log.Scalars(tag)] for tag in log.Tags()["scalars"]}


def last(run: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def test_accumulated_gradients_are_those_of_the_larger_batch(fit: Any) -> None:
    exact = ("--trainer.precision", "64-true")
    whole = last(fit("whole", *exact))
    parts = last(fit("parts", *exact, "--data.batch_size", "2", "--trainer.accumulate_grad_batches", "2"))
    assert whole["global_step"] == parts["global_step"] == 6
    assert whole["lr_schedulers"][0]["total_steps"] == parts["lr_schedulers"][0]["total_steps"] == 6
    for name, value in whole["state_dict"].items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, parts["state_dict"][name], rtol=0, atol=1e-9, msg=name)


SWITCHES = {
    "bfloat16": ("--trainer.precision", "bf16-mixed"),
    "channels_last": ("--model.channels_last", "true"),
    "compile": ("--model.compile", "true", "--model.compile_backend", "eager"),
}


def test_all_switches_together_train_and_leave_checkpoints_and_models_as_they_are(fit: Any) -> None:
    plain = fit("plain")
    options = [word for each in SWITCHES.values() for word in each]
    run = fit("all", *options, "--trainer.accumulate_grad_batches", "2")
    logged = figures(run)
    assert len(logged["train/loss"]) == 4, "three batches in each of two epochs, two steps of the optimiser in each"
    assert all(math.isfinite(value) for values in logged.values() for value in values)
    assert abs(logged["val/nme_percent"][0] - figures(plain)["val/nme_percent"][0]) < 0.2 * logged["val/nme_percent"][0]

    for name, value in last(plain)["state_dict"].items():
        other = last(run)["state_dict"][name]
        assert (other.shape, other.dtype) == (value.shape, value.dtype), name
    assert last(plain)["state_dict"].keys() == last(run)["state_dict"].keys()
    assert (run / "model" / "config.json").read_text() == (plain / "model" / "config.json").read_text()
    exported = load_file(run / "model" / "model.safetensors")
    assert exported.keys() == load_file(plain / "model" / "model.safetensors").keys()
    assert all(torch.isfinite(value).all() for value in exported.values())
    assert torch.isfinite(LandmarkDetector.from_pretrained(run / "model")(torch.rand(1, 3, 32, 32)).pos).all()


def test_a_compiled_run_can_be_continued_without_compilation(fit: Any) -> None:
    once = ("--model.schedule.name", "constant", "--trainer.max_epochs", "1")
    run = fit("runs", *SWITCHES["compile"], *once)
    assert last(run)["epoch"] == 0
    assert last(fit("runs", "--model.schedule.name", "constant", "--ckpt_path", "last"))["epoch"] == 1


@pytest.mark.parametrize(
    "backend", ["eager", *(pytest.param(each, marks=pytest.mark.slow) for each in ("aot_eager", "inductor"))]
)
def test_compilation_changes_neither_values_nor_names(tiny: DetectorConfig, backend: str) -> None:
    soft = LossConfig(heatmap="cross_entropy")
    plain = LandmarkModule(tiny, soft)
    compiled = LandmarkModule(tiny, soft, compile=True, compile_backend=backend)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    compiled.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 32, 32)
    for training in (True, False):
        outputs = [module.train(training)(images) for module in (plain, compiled)]
        for field in ("pos", "initial", "confidence", "heatmaps"):
            first, second = (getattr(output, field) for output in outputs)
            torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-3)
    grads = []
    for module in (plain, compiled):
        module.train()(images).pos.sum().backward()
        grads.append({name: parameter.grad for name, parameter in module.named_parameters()})
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-3)


def test_the_detector_is_really_compiled(tiny: DetectorConfig) -> None:
    calls: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        calls.append(len(list(graph.graph.nodes)))
        return graph.forward

    module = LandmarkModule(tiny, LossConfig(heatmap="cross_entropy"), compile=True)
    module.detector.compile(backend=backend)
    module.eval()(torch.rand(1, 3, 32, 32))
    assert sum(calls) > 100


def test_an_unknown_compiler_is_named(tiny: DetectorConfig) -> None:
    with pytest.raises(InputError, match="'compile_backend' to be one of .*inductor.*got 'inductr'.*'inductor'"):
        LandmarkModule(tiny, LossConfig(heatmap="cross_entropy"), compile=True, compile_backend="inductr")
