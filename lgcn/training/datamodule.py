"""Where the batches come from: datasets, augmentation, a held-out part, and an order that a resumed run repeats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DistributedSampler
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import BaseTransform, Compose

from lgcn.checks import InputError, check_at_least, check_choice, check_options
from lgcn.datasets import DATASETS, LandmarkDataset
from lgcn.datasets.corrupt_images import ReadableFaces
from lgcn.protocols import EvaluationProtocol, get_protocol
from lgcn.schemes import LandmarkScheme, get_scheme
from lgcn.training.samplers import PaddedFaces, SeededSampler, Share
from lgcn.training.seeding import SeededDataset, mix_seed
from lgcn.training.unreadable import ReportUnreadable
from lgcn.transforms import ColorJitter, CropToInput, RandomAffineCrop, RandomOcclusion
from lgcn.typing import Size


@dataclass(frozen=True)
class Augmentation:
    """What is done to training faces; the defaults are the paper's section IV-B.

    Args:
        rotation: degrees either way.
        scale: smallest and largest factor.
        translation: fraction of the crop's side, either way.
        flip: probability of a mirror image (with partner landmarks swapped).
        color_jitter: brightness, contrast, saturation and hue are changed.
        occlusion: probability that a patch of the face is covered; 0 in the paper.
        occlusion_area: smallest and largest part of the crop that a patch covers.
    """

    rotation: float = 30.0
    scale: tuple[float, float] = (0.8, 1.2)
    translation: float = 0.1
    flip: float = 0.5
    color_jitter: bool = True
    occlusion: float = 0.0
    occlusion_area: tuple[float, float] = (0.02, 0.25)

    def create(self, scheme: LandmarkScheme, input_size: Size, protocol: EvaluationProtocol) -> BaseTransform:
        """The transform from a face in its picture to an augmented network input, cropped as ``protocol`` says."""
        crop = RandomAffineCrop(
            scheme,
            input_size,
            rotation=self.rotation,
            scale=self.scale,
            translation=self.translation,
            flip=self.flip,
            **protocol.crop_options,
        )
        steps: list[BaseTransform] = [crop]
        if self.color_jitter:
            steps.append(ColorJitter())
        if self.occlusion > 0:
            steps.append(RandomOcclusion(self.occlusion, self.occlusion_area))
        return Compose(steps)


class LandmarkDataModule(LightningDataModule):
    """Batches of training and validation faces.

    What a training batch holds is a function of (``seed``, epoch, position) alone, whatever the
    number of workers, so that a resumed run sees what the uninterrupted one would have. For that
    the training loader is built anew for every epoch: the trainer needs
    ``reload_dataloaders_every_n_epochs=1`` (``lgcn fit`` sets it).

    Several processes (DDP) share the faces: their n-th batches together are the n-th batch of one
    process with as many times the ``batch_size``, and every validation face counts once.

    Args:
        root: folder of the dataset.
        dataset: name in :data:`lgcn.datasets.DATASETS`.
        train_split: split to train on.
        val_split: split to validate on. None holds ``val_fraction`` of the training split out, so
            that nothing is ever selected on a test split.
        val_fraction: part of the training faces held out when there is no ``val_split``.
        val_seed: decides which faces are held out; apart from ``seed``, so that runs with several
            seeds are validated on the same faces.
        batch_size: faces in a batch, on each device.
        num_workers: processes that read and augment; 0 does it in the main process.
        augmentation: of the training faces.
        scheme: landmark scheme that the dataset must have.
        input_size: (H, W) of the network input.
        protocol: crop and normaliser. One that crops by the boxes of a face detector cannot be trained under.
        seed: of shuffling and augmentation.
        on_corrupt: what happens when a picture cannot be read. "stop" raises the
            :class:`~lgcn.checks.InputFileError` that names it; "skip" goes on without it, and the
            callback :class:`~lgcn.training.ReportUnreadable`, which the trainer must have, counts and
            names it (``lgcn fit`` adds it).
        dataset_options: further arguments of the dataset, such as ``one_based`` of "pts".
        prefetch_factor: batches that each loading process prepares ahead; torch's default if None.
    """

    def __init__(
        self,
        root: str,
        dataset: str = "ibug300w",
        train_split: str = "train",
        val_split: str | None = None,
        val_fraction: float = 0.05,
        val_seed: int = 0,
        batch_size: int = 16,
        num_workers: int = 2,
        augmentation: Augmentation = Augmentation(),
        scheme: str = "ibug68",
        input_size: Size = (256, 256),
        protocol: str = "zero_based",
        seed: int = 0,
        on_corrupt: Literal["stop", "skip"] = "stop",
        dataset_options: dict[str, Any] | None = None,
        prefetch_factor: int | None = None,
    ) -> None:
        super().__init__()
        if val_split is None and not 0 < val_fraction < 1:
            raise InputError(
                f"Expected 'val_fraction' to lie between 0 and 1 (got {val_fraction}) without 'val_split'."
            )
        self.root = root
        self.dataset = dataset
        self.train_split = train_split
        self.val_split = val_split
        self.val_fraction = val_fraction
        self.val_seed = val_seed
        self.batch_size = check_at_least("batch_size", batch_size, 1)
        self.num_workers = check_at_least("num_workers", num_workers, 0)
        self.augmentation = augmentation
        self.scheme = get_scheme(scheme)
        self.input_size = input_size
        self.protocol = get_protocol(protocol)
        if self.protocol.box == "detector":
            raise InputError(
                f"Expected a protocol whose boxes are known without a face detector (got '{protocol}'). Train under "
                "another one, such as 'zero_based', and evaluate under this."
            )
        self.dataset_options = dict(dataset_options or {})
        self.seed = seed
        self.on_corrupt = check_choice("on_corrupt", on_corrupt, ["stop", "skip"])
        if prefetch_factor is not None:
            check_at_least("prefetch_factor", prefetch_factor, 1)
        self.prefetch_factor = prefetch_factor
        self.train_faces: Sequence[Data] = ()
        self.val_faces: Sequence[Data] = ()

    def setup(self, stage: str | None = None) -> None:
        if len(self.train_faces):
            return
        train = self._create(self.train_split, augmented=True)
        if self.val_split is not None:
            self.train_faces, self.val_faces = train, self._create(self.val_split, augmented=False)
            return
        held_out = self._create(self.train_split, augmented=False)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(mix_seed(self.val_seed))).tolist()
        count = max(1, round(self.val_fraction * len(train)))
        if count >= len(train):
            raise InputError(
                f"Expected more than {count} faces in the split '{self.train_split}' of '{self.root}', of which "
                f"{count} would be held out for validation (got {len(train)}). Give 'val_split' or add faces."
            )
        self.train_faces = train.index_select(sorted(order[count:]))
        self.val_faces = held_out.index_select(sorted(order[:count]))

    def train_dataloader(self) -> DataLoader:
        # Lightning sets this attribute where no type checker sees it.
        reloads = 1 if self.trainer is None else getattr(self.trainer, "reload_dataloaders_every_n_epochs", 0)
        if reloads != 1:
            raise InputError(
                "Expected a trainer with 'reload_dataloaders_every_n_epochs=1', without which every epoch would draw "
                f"the same augmentations (got {reloads})."
            )
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        faces = SeededDataset(self._readable(self.train_faces), self.seed, epoch)
        return self._loader(faces, SeededSampler(faces, self.seed, epoch, self.batch_size, self._share()))

    def val_dataloader(self) -> DataLoader:
        share = self._share()
        faces = PaddedFaces(self._readable(self.val_faces), share.num_replicas)
        return self._loader(faces, DistributedSampler(faces, share.num_replicas, share.rank, shuffle=False))

    def _readable(self, faces: Any) -> Any:
        if self.on_corrupt == "stop":
            return faces
        # Lightning sets this attribute where no type checker sees it.
        callbacks = getattr(self.trainer, "callbacks", [])
        if self.trainer is not None and not any(isinstance(each, ReportUnreadable) for each in callbacks):
            raise InputError(
                "Expected a trainer with the callback lgcn.training.ReportUnreadable, without which nobody would know "
                "what on_corrupt='skip' leaves out (got none)."
            )
        return ReadableFaces(faces)

    def _share(self) -> Share:
        given = None if self.trainer is None else self.trainer.distributed_sampler_kwargs
        return Share(**given or {})

    def _loader(self, faces: Any, sampler: DistributedSampler) -> DataLoader:
        return DataLoader(
            faces,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor if self.num_workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def _create(self, split: str, augmented: bool) -> LandmarkDataset:
        build = DATASETS[self.dataset]
        fixed = ("root", "split", "transform", "protocol", "normalizer")
        check_options("dataset option", self.dataset_options, build, given=fixed)
        names = {"protocol": self.protocol.name, "normalizer": self.protocol.normalizer_of(self.scheme.name)}
        faces = build(self.root, split=split, **names, **self.dataset_options)
        if faces.scheme.name != self.scheme.name:
            raise InputError(
                f"Expected a dataset of the scheme '{self.scheme.name}', the detector's "
                f"(got '{self.dataset}', which has '{faces.scheme.name}')."
            )
        if faces.skipped and (augmented or split != self.train_split):
            reasons = ", ".join(f"{count} with {reason}" for reason, count in faces.skipped.items())
            rank_zero_warn(f"Faces of split '{split}' that are left out: {reasons}.")
        protocol = self.protocol.for_rectangles() if faces.crops_by_rect else self.protocol
        faces.transform = (
            self.augmentation.create(self.scheme, self.input_size, protocol)
            if augmented
            else CropToInput(self.input_size, **protocol.crop_options)
        )
        return faces
