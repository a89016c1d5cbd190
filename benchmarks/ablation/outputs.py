"""Stage 1: outputs of the frozen backbone for each face, computed once and cached on disk.

A refiner of one step reads the feature map at the initial landmarks only, so that only these samples are kept: 17 kB
per crop in half precision instead of 590 kB.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import BaseTransform, Compose
from tqdm import tqdm

from benchmarks.ablation.degradations import CONDITIONS, REGIMES
from lgcn.checks import InputError
from lgcn.codecs import DECODERS, HeatmapCodec
from lgcn.datasets import IBUG300W, LandmarkDataset
from lgcn.files import replace_when_done, write_text
from lgcn.graph import sample_features
from lgcn.metrics import landmark_errors
from lgcn.models import LandmarkDetector
from lgcn.seeding import mix_seed
from lgcn.training.config import AugmentationConfig
from lgcn.training.datamodule import LandmarkDataModule
from lgcn.training.samplers import SeededDataset
from lgcn.transforms import CropToInput

DECODES = ("argmax", "quarter", "dark", "softargmax")
STARTS = ("softargmax", "argmax")
"""Decodes that refiners start from; features are kept at their landmarks."""
PARTS = ("test", "held out")
"""Parts that the backbone was not trained on."""
_ALL_PARTS = (*PARTS, "train", "held out as trained")
_MOST_DRAWS = 100


@dataclass
class Outputs:
    """Outputs for N crops; positions are in pixels of the crop, errors are fractions of the normaliser."""

    pos: dict[str, Tensor]
    """Decode -> initial landmarks [N, K, 2]."""
    samples: dict[str, Tensor]
    """Start -> features at its landmarks [N, K, C], half precision."""
    confidence: Tensor
    """[N, K]."""
    target: Tensor
    """[N, K, 2]."""
    normalizer: Tensor
    """[N], the distance between the outer eye corners."""
    face: Tensor
    """[N], index of the face in its part."""

    def __len__(self) -> int:
        return len(self.face)

    def errors(self, pos: Tensor) -> Tensor:
        """Errors [N, K] of landmarks [N, K, 2]."""
        return landmark_errors(pos, self.target, self.normalizer)

    def save(self, path: Path) -> None:
        """Write a safetensors file atomically."""
        tensors = {f"pos.{name}": value for name, value in self.pos.items()}
        tensors |= {f"samples.{name}": value for name, value in self.samples.items()}
        tensors |= {name: getattr(self, name) for name in ("confidence", "target", "normalizer", "face")}
        with replace_when_done(path) as part:
            save_file({name: value.contiguous() for name, value in tensors.items()}, part)

    @classmethod
    def load(cls, path: Path, starts: tuple[str, ...] = STARTS) -> "Outputs":
        """Read a file of :meth:`save`."""
        with safe_open(path, "pt") as file:
            return cls(
                {name: file.get_tensor(f"pos.{name}") for name in DECODES},
                {name: file.get_tensor(f"samples.{name}") for name in starts},
                *(file.get_tensor(name) for name in ("confidence", "target", "normalizer", "face")),
            )

    @classmethod
    def join(cls, parts: list["Outputs"]) -> "Outputs":
        """Concatenates several outputs."""
        return cls(
            {name: torch.cat([part.pos[name] for part in parts]) for name in parts[0].pos},
            {name: torch.cat([part.samples[name] for part in parts]) for name in parts[0].samples},
            *(
                torch.cat([getattr(part, name) for part in parts])
                for name in ("confidence", "target", "normalizer", "face")
            ),
        )


@dataclass(frozen=True)
class Extraction:
    """Settings of stage 1.

    Args:
        root: folder of 300-W.
        model: anything that :meth:`lgcn.models.LandmarkDetector.from_pretrained` takes.
        rounds: crops per training face and regime.
        draws: crops per test face under patches, which vary more than blurs.
        seed: of all draws.
        every: take every N-th face.
        test: folder of the test faces.
    """

    root: str
    model: str = "lgcn-68-paper"
    rounds: int = 2
    draws: int = 3
    seed: int = 0
    every: int = 1
    test: str = "lfpw/testset"


def shards(settings: Extraction) -> Iterator[tuple[str, str, BaseTransform | None, int]]:
    """File name, part of the faces, degradation and number of each shard, in the order of extraction."""
    for part in PARTS:
        for condition, change in CONDITIONS.items():
            for draw in range(settings.draws if "patch" in condition else 1):
                yield shard_name(part, condition, draw), part, change, draw
    for number in range(settings.rounds):
        for regime, change in REGIMES.items():
            yield shard_name("train", regime, number), "train", change, number
            if number == 0:
                yield shard_name("held out as trained", regime, 0), "held out as trained", change, 0


def shard_name(part: str, kind: str, number: int) -> str:
    """File name of a shard."""
    words = f"{part} {kind} {number}".replace("%", "").replace("/", "_of_")
    return "_".join(words.split()) + ".safetensors"


def extract(
    settings: Extraction,
    folder: Path,
    batch_size: int = 32,
    workers: int = 0,
    kinds: Collection[str] = (*CONDITIONS, *REGIMES),
) -> None:
    """Write all missing shards of some conditions and regimes; these do not depend on one another.

    Raises:
        InputError: if ``folder`` holds outputs of other settings.
    """
    # Rounds can be added later.
    check_same(folder / "settings.json", {name: value for name, value in asdict(settings).items() if name != "rounds"})
    # The text of the transforms reveals changes of their parameters.
    check_same(folder / "transforms.json", {"conditions": str(CONDITIONS), "regimes": str(REGIMES)})
    names = {shard_name(part, kind, number) for part in _ALL_PARTS for kind in kinds for number in range(_MOST_DRAWS)}
    wanted = [shard for shard in enumerate(shards(settings)) if shard[1][0] in names]
    left = [shard for shard in wanted if not (folder / shard[1][0]).is_file()]
    if not left:
        return
    detector = LandmarkDetector.from_pretrained(settings.model).to(memory_format=torch.channels_last)
    faces = faces_of(settings, detector)
    total = sum(len(faces[part]) for _, (_, part, _, _) in left)
    with tqdm(total=total, desc="backbone", unit="face", disable=None) as bar:
        for place, (name, part, change, _) in left:
            if (folder / name).is_file():
                # Written by another process in the meantime.
                bar.update(len(faces[part]))
                continue
            dataset = faces[part]
            dataset.transform = crop_transform(dataset, detector, augmented="train" in part, change=change)
            keys = [(index, mix_seed(settings.seed, place, index)) for index in range(len(dataset))]
            loader = DataLoader(SeededDataset(dataset), batch_size=batch_size, sampler=keys, num_workers=workers)
            parts, first = [], 0
            for batch in loader:
                parts.append(_outputs(detector, batch, first))
                first += batch.num_graphs
                bar.update(batch.num_graphs)
            Outputs.join(parts).save(folder / name)


def check_same(path: Path, settings: dict[str, Any]) -> None:
    """Write ``settings`` into a new folder, and refuse a folder that was made with other settings."""
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept != json.loads(json.dumps(settings)):
            raise InputError(
                f"Expected the settings in '{path}', {kept} (got {settings}). Choose another --work, or remove "
                "that folder."
            )
        return
    write_text(path, json.dumps(settings, indent=2) + "\n")


def load_tested(settings: Extraction, folder: Path, part: str, starts: tuple[str, ...]) -> dict[str, Outputs]:
    """Condition -> all test crops of a part."""
    return {
        condition: Outputs.join(
            [
                Outputs.load(folder / shard_name(part, condition, draw), starts)
                for draw in range(settings.draws if "patch" in condition else 1)
            ]
        )
        for condition in CONDITIONS
    }


def load_trained(settings: Extraction, folder: Path, regime: str, starts: tuple[str, ...] = ()) -> Outputs:
    """All training crops of a regime."""
    names = [shard_name("train", regime, number) for number in range(settings.rounds)]
    return Outputs.join([Outputs.load(folder / name, starts) for name in names])


def faces_of(settings: Extraction, detector: LandmarkDetector) -> dict[str, LandmarkDataset]:
    """Faces of each part; those held out by the recipe are the training faces that the backbone has not seen."""
    data = LandmarkDataModule(settings.root, input_size=detector.input_size, protocol=detector.protocol.name)
    data.setup()
    test = IBUG300W(settings.root, split=settings.test, protocol=detector.protocol)
    parts = {"train": data.train_faces, "held out": data.val_faces, "held out as trained": data.val_faces, "test": test}
    return {name: dataset[:: settings.every] for name, dataset in parts.items()}  # type: ignore[index]


def crop_transform(
    dataset: LandmarkDataset, detector: LandmarkDetector, augmented: bool, change: BaseTransform | None
) -> BaseTransform:
    """The transform from a face to a crop: augmented as in training, or plain, and degraded."""
    crop: BaseTransform = CropToInput(detector.input_size, **dataset.protocol.crop_options)
    if augmented:
        crop = AugmentationConfig().build(dataset.scheme, detector.input_size, dataset.protocol)
    return crop if change is None else Compose([crop, change])


@torch.inference_mode()
def _outputs(detector: LandmarkDetector, batch: Any, first: int) -> Outputs:
    B, K = batch.num_graphs, detector.scheme.num_landmarks
    heatmaps, features = detector.heatmaps(batch.image.contiguous(memory_format=torch.channels_last))[:2]
    codec = detector.codec
    options = {name: getattr(codec, name) for name in ("sigma", "activation", "target", "align")}
    decoded = {
        name: HeatmapCodec(codec.input_size, codec.heatmap_size, decode=name, **options).decode(heatmaps)
        for name in DECODES
        if name in DECODERS
    }
    pos = {name: positions for name, (positions, _) in decoded.items()}
    samples = {name: sample_features(features, pos[name], detector.input_size).half() for name in STARTS}
    # A similarity: lengths grow by the square root of the area.
    scale = batch.affine[:, :, :2].det().abs().sqrt()
    face = torch.arange(first, first + B)
    return Outputs(pos, samples, decoded["argmax"].confidence, batch.y.view(B, K, 2), batch.normalizer * scale, face)
