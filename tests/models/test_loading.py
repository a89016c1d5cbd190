import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lgcn.backbones import ModuleBackbone
from lgcn.checks import InputError, InputFileError
from lgcn.models import SHIPPED_MODELS, LandmarkDetector, ShapeRefiner, create_detector, loading

Build = Callable[..., LandmarkDetector]
Backbones = Callable[..., ModuleBackbone]
TIMM = {"scheme": "aflw19", "backbone": "test_resnet", "input_size": (32, 32)}


def assert_same(loaded: LandmarkDetector, saved: LandmarkDetector) -> None:
    """The very same state, so the very same output."""
    ours, theirs = saved.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(theirs[key], value) for key, value in ours.items())
    images = torch.randint(256, (2, 3, *saved.input_size), dtype=torch.uint8)
    saved.eval()
    for mine, other in zip(saved(images)[:4], loaded(images)[:4], strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("preset", ["paper", "default"])
def test_a_saved_detector_is_loaded_bit_by_bit(preset: str, tmp_path: Path) -> None:
    saved = create_detector(preset, **TIMM, protocol="hrnet", refiner={"hidden_channels": (8,)})
    saved(torch.rand(4, 3, 32, 32))  # moves the running statistics
    saved.save_pretrained(tmp_path / "model")
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "model").iterdir()}
    for source in (tmp_path / "model", str(tmp_path / "model")):
        loaded = LandmarkDetector.from_pretrained(source)
        assert not loaded.training
        assert json.dumps(loaded.config.saved()) == json.dumps(saved.config.saved())
        assert loaded.protocol.name == "hrnet"
        assert_same(loaded, saved)


def test_others_may_read_a_saved_model(tmp_path: Path) -> None:
    create_detector(**TIMM).save_pretrained(tmp_path / "detector")
    ShapeRefiner(num_landmarks=5).save_pretrained(tmp_path / "refiner")
    (tmp_path / "any file").touch()
    saved = [path for path in tmp_path.glob("*/*") if path.is_file()]
    assert len(saved) == 6  # README.md, config.json and model.safetensors of each
    assert {path.stat().st_mode for path in saved} == {(tmp_path / "any file").stat().st_mode}


def test_loading_asks_for_no_other_file(tmp_path: Path) -> None:
    weights = create_detector(**TIMM).backbone.net.state_dict()
    save_file(weights, start := tmp_path / "imagenet.safetensors")
    saved = create_detector(**TIMM, backbone_weights=str(start), backbone_options={"pretrained": False})
    assert all(torch.equal(saved.backbone.net.state_dict()[key], value) for key, value in weights.items())
    saved.save_pretrained(tmp_path / "model")
    start.unlink()
    assert_same(LandmarkDetector.from_pretrained(tmp_path / "model"), saved)


def test_weights_stored_in_half_precision_come_back_in_single(tmp_path: Path) -> None:
    saved = create_detector(**TIMM)
    saved.half().save_pretrained(tmp_path)
    on_disk = load_file(tmp_path / "model.safetensors")
    assert {value.dtype for value in on_disk.values()} == {torch.float16, torch.int64}
    loaded = LandmarkDetector.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert_same(loaded, saved.float())


def test_saving_over_a_saved_detector_replaces_it(detector: Build, backbone: Backbones, tmp_path: Path) -> None:
    detector().save_pretrained(tmp_path)
    second = detector(refiner={"hidden_channels": (4,)})
    second.save_pretrained(tmp_path)
    assert_same(LandmarkDetector.from_pretrained(tmp_path, backbone()), second)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_detector_around_a_custom_network(detector: Build, backbone: Backbones, tmp_path: Path) -> None:
    saved = detector(backbone="test_resnet", input_size=(32, 64))
    saved.save_pretrained(tmp_path)
    assert_same(LandmarkDetector.from_pretrained(tmp_path, backbone=backbone()), saved)
    assert json.loads((tmp_path / "config.json").read_text())["backbone"] == "custom"
    with pytest.raises(InputError, match=r"'backbone', the custom module .*from_pretrained\(source, backbone=\.\.\.\)"):
        LandmarkDetector.from_pretrained(tmp_path)


def test_memory_is_allocated_only_for_a_network_that_the_weights_fit(tmp_path: Path) -> None:
    create_detector(**TIMM).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    # 4.3 GB of weights
    path.write_text(json.dumps({**json.loads(path.read_text()), "backbone": "convnext_xxlarge"}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputFileError, match=r"that fit its configuration \(\d+ missing"):
        LandmarkDetector.from_pretrained(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 2**10


def checkpoint(saved: LandmarkDetector) -> dict[str, Any]:
    """What ``lgcn fit`` writes, as far as models go."""
    state = {f"detector.{key}": value for key, value in saved.state_dict().items()}
    return {"detector_config": saved.config.saved(), "state_dict": {**state, "loss.weight": torch.ones(1)}, "epoch": 3}


def test_a_checkpoint_of_a_training_run(tmp_path: Path) -> None:
    saved = create_detector(**TIMM)
    torch.save(checkpoint(saved), path := tmp_path / "last.ckpt")
    assert_same(LandmarkDetector.from_pretrained(path), saved)


def test_a_checkpoint_is_never_unpickled_as_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({**checkpoint(create_detector(**TIMM)), "trap": Trap()}, path := tmp_path / "last.ckpt")
    with pytest.raises(InputFileError, match=r"last\.ckpt to be a checkpoint of 'lgcn fit' .*tensors and plain values"):
        LandmarkDetector.from_pretrained(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("key", ["detector_config", "state_dict"])
def test_other_checkpoints_are_refused(key: str, tmp_path: Path) -> None:
    content = checkpoint(create_detector(**TIMM))
    del content[key]
    torch.save(content, path := tmp_path / "other.ckpt")
    with pytest.raises(InputFileError, match=rf"other\.ckpt to be a checkpoint of 'lgcn fit' \(it has no '{key}'"):
        LandmarkDetector.from_pretrained(path)


@pytest.mark.parametrize("content", [b"", b"version: 1\n", b"\x80\x02}q\x00."])
def test_files_that_are_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(InputFileError, match=r"x\.ckpt to be a checkpoint of 'lgcn fit'"):
        LandmarkDetector.from_pretrained(path)


@pytest.mark.parametrize("name", ["nothing", "nothing.ckpt", "/nothing/at/all", "runs/last.ckpt"])
def test_unknown_models_list_the_choices(name: str) -> None:
    with pytest.raises(InputFileError) as error:
        LandmarkDetector.from_pretrained(name)
    for word in (*SHIPPED_MODELS, "config.json", ".ckpt", "owner/name", f"(got '{name}')"):
        assert word in str(error.value)


def test_a_missing_folder_next_to_others_is_not_requested_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "hf_hub_download", None)
    with pytest.raises(InputFileError, match="got 'runs/last'"):
        LandmarkDetector.from_pretrained("runs/last")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file(name: str, detector: Build, tmp_path: Path) -> None:
    detector().save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputFileError, match=rf"model folder with config\.json and model\.safetensors \(no .*{name}\)"):
        LandmarkDetector.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"\xff\xfe"),
        ("model.safetensors", b""),
        ("model.safetensors", b"not at all"),
    ],
)
def test_a_folder_with_a_broken_file(name: str, content: bytes, detector: Build, tmp_path: Path) -> None:
    detector().save_pretrained(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputFileError, match=f"saved model in .*{tmp_path.name} .it cannot be read"):
        LandmarkDetector.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "'option name' to be one of scheme, "),
        ({"scheme": "ibug69"}, "'scheme' to be one of .*ibug68"),
        ({"input_size": [32, 33]}, "multiples of 32"),
        ({"codec": None}, "'codec' to be a mapping of options"),
        # A checkpoint of another scheme has the right keys and the wrong shapes.
        ({"scheme": "ibug68"}, r"weights in .* that fit its configuration \(\d+ of another shape, such as '"),
        ({"refiner": {"name": "none"}}, r"\(\d+ unknown, such as 'refiner\."),
        ({"refiner": {"hidden_channels": [64, 16, 16]}}, r"\(\d+ missing, such as 'refiner\..*of another shape"),
    ],
)
def test_a_config_that_does_not_fit(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    create_detector(**TIMM).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message) as error:
        LandmarkDetector.from_pretrained(tmp_path)
    assert len(str(error.value)) < 700


def test_a_model_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = create_detector(**TIMM)
    saved.save_pretrained(tmp_path)
    asked: list[tuple[str, str, Any]] = []

    def fetch(repo_id: str, name: str, **options: Any) -> str:
        asked.append((repo_id, name, options))
        return str(tmp_path / name)

    monkeypatch.setattr(loading, "get_hf_file_metadata", lambda url, **options: None)
    monkeypatch.setattr(loading, "hf_hub_download", fetch)
    assert_same(LandmarkDetector.from_pretrained("owner/faces-v1.0", revision="main"), saved)
    assert asked == [("owner/faces-v1.0", name, {"revision": "main"}) for name in ("config.json", "model.safetensors")]


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An address where no hub answers."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # which CI sets
    return "http://127.0.0.1:9"


def test_an_unreachable_hub_is_an_error_within_seconds(closed_port: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(InputFileError, match=r"'owner/nothing' on the hub.*refused.*need no network: lgcn-68") as error:
        LandmarkDetector.from_pretrained("owner/nothing", endpoint=closed_port, cache_dir=tmp_path)
    assert time.monotonic() - start < 10  # huggingface_hub alone takes more than 20 seconds
    assert "\n" not in str(error.value)


def test_a_cached_model_is_loaded_without_the_hub(closed_port: str, tmp_path: Path) -> None:
    saved = create_detector(**TIMM)
    repository = tmp_path / "models--owner--faces"
    snapshot = repository / "snapshots" / ("0" * 40)
    saved.save_pretrained(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    assert_same(LandmarkDetector.from_pretrained("owner/faces", endpoint=closed_port, cache_dir=tmp_path), saved)


def test_the_shipped_model_of_a_scheme() -> None:
    assert loading.shipped_model("ibug68") == "lgcn-68"
    assert loading.shipped_model("wflw98") == "lgcn-98"
    with pytest.raises(InputError, match=r"'cofw29'.*lgcn-68 \(ibug68\), .*lgcn-98 \(wflw98\)"):
        loading.shipped_model("cofw29")


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_a_shipped_model_needs_nothing_but_the_package(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "hf_hub_download", None)
    monkeypatch.chdir(tmp_path)
    model = LandmarkDetector.from_pretrained(name)
    output = model(torch.zeros(1, 3, *model.input_size, dtype=torch.uint8), return_connectivity=True)
    assert output.pos.shape == (1, model.scheme.num_landmarks, 2)
    assert isinstance(output.connectivity, Tensor)
    assert output.pos.isfinite().all()
    folder = Path(loading.__file__).parent / "pretrained" / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10 * 2**20
