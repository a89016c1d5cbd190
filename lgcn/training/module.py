"""What one training step and one validation step are."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch_geometric.data import Batch

from lgcn.checks import InputError, check_choice
from lgcn.geometry import invert_affine, transform_points
from lgcn.losses import DetectionLoss
from lgcn.metrics import landmark_metrics
from lgcn.models import DetectorConfig, LandmarkDetector, create_detector
from lgcn.schemes import normalizing_distance
from lgcn.training.optim import Schedule, create_optimizer
from lgcn.training.seeding import mix_seed
from lgcn.typing import DetectorOutput


@dataclass(frozen=True)
class LossOptions:
    """Arguments of :class:`lgcn.losses.DetectionLoss`; the defaults are the paper's eq. 9."""

    heatmap: str = "focal"
    heatmap_weight: float = 1.0
    refined_weight: float = 1.0
    initial_weight: float = 0.0
    coordinate: str = "l1"
    heatmap_options: dict[str, Any] = field(default_factory=dict)
    coordinate_options: dict[str, Any] = field(default_factory=dict)


class LandmarkModule(LightningModule):
    """Trains a :class:`lgcn.models.LandmarkDetector`, end to end or with a frozen backbone.

    Batches are those of :class:`lgcn.training.LandmarkDataModule`. Logs ``train/<term>`` for each
    term of the loss, and of the validation faces ``val/nme``, ``val/fr`` (per cent) and ``val/auc``
    (fraction) of the refined landmarks and ``val/nme_initial`` of those decoded from the heatmaps,
    all measured as the detector's protocol says, in pixels of the original pictures or in the crop.
    Faces without a normalising distance are not counted. Checkpoints
    carry the detector's configuration, so that ``LandmarkDetector.from_pretrained("x.ckpt")``
    needs nothing else.

    Args:
        detector: the network to build.
        loss: weights of the terms of eq. 9.
        backbone_lr: learning rate of the backbone; the paper's 1e-4.
        refiner_lr: learning rate of the graph network; the paper's 1e-3.
        freeze_backbone: train the graph alone; the backbone keeps its running statistics too.
        optimizer: "adam" or "adamw".
        weight_decay: of weights; biases and normalisation layers have none.
        schedule: how the rates change.
        initial_weights: a trained detector to start from, anything that
            ``LandmarkDetector.from_pretrained`` takes; parts that do not match are left as built.
        channels_last: memory format of the convolutions, faster on most machines.
        compile: run the detector through ``torch.compile``, in place: names of weights, checkpoints and exported
            models are as without. The first steps take longer, minutes for large networks.
        compile_backend: what compiles; "inductor" needs a C++ compiler, "eager" and "aot_eager" are for looking for
            faults.
        seed: of dropout and other random layers, whose draws follow from it, the epoch and the step.

    Raises:
        InputError: if the heatmap loss does not fit the detector's codec, ``initial_weights`` belong to another
            scheme or match nothing, or there is no such ``compile_backend``.
    """

    def __init__(
        self,
        detector: DetectorConfig,
        loss: LossOptions = LossOptions(),
        backbone_lr: float = 1e-4,
        refiner_lr: float = 1e-3,
        freeze_backbone: bool = False,
        optimizer: Literal["adam", "adamw"] = "adam",
        weight_decay: float = 0.0,
        schedule: Schedule = Schedule(),  # noqa: B008 - frozen
        initial_weights: str | None = None,
        channels_last: bool = False,
        compile: bool = False,
        compile_backend: str = "inductor",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.detector = create_detector(detector)
        self.loss = DetectionLoss(**asdict(loss))
        self._try_loss()
        self.backbone_lr = backbone_lr
        self.refiner_lr = refiner_lr
        self.freeze_backbone = freeze_backbone
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.channels_last = channels_last
        self.seed = seed
        self._planned_steps: int | None = None
        threshold = self.detector.protocol.thresholds[0]
        self.refined_metrics = landmark_metrics(threshold)
        self.initial_metrics = landmark_metrics(threshold)
        if initial_weights is not None:
            load_matching_weights(self.detector, initial_weights)
        if freeze_backbone:
            self.detector.backbone.requires_grad_(False)
        if channels_last:
            self.detector.to(memory_format=torch.channels_last)
        check_choice("compile_backend", compile_backend, torch.compiler.list_backends(exclude_tags=()))
        if compile:
            self.detector.compile(backend=compile_backend)
        self.train()

    def _try_loss(self) -> None:
        """Raises now, before a run has a folder, what the loss has against the detector's heatmaps."""
        codec = self.detector.codec
        target, weight = codec.encode(torch.zeros(1, self.detector.scheme.num_landmarks, 2))
        self.loss.heatmap_loss(torch.zeros_like(target), target, weight, codec)

    def train(self, mode: bool = True) -> "LandmarkModule":
        super().train(mode)
        if self.freeze_backbone:
            self.detector.backbone.eval()
        return self

    def forward(self, images: Tensor, mask: Tensor | None = None) -> DetectorOutput:
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return self.detector(images, mask)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Not at the start of an epoch: Lightning leaves that hook out in the first epoch of a resumed run.
        torch.manual_seed(mix_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        output, target, visibility = self._detect(batch)
        with torch.autocast(self.device.type, enabled=False):
            terms = self.loss(output, target, visibility, self.detector.codec, self.detector.input_size)
        B = target.size(0)
        self.log("train/loss", terms["total"].detach(), prog_bar=True, batch_size=B)
        shown = {f"train/{name}": value.detach() for name, value in terms.items() if name != "total"}
        self.log_dict(shown, prog_bar=True, batch_size=B)
        return terms["total"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        output, target, visibility = self._detect(batch)
        if self.detector.protocol.frame == "crop":
            height, width = self.detector.input_size
            side = target.new_tensor([width, height])
            target = target / side
            scheme = self.detector.scheme
            name = self.detector.protocol.normalizer_of(scheme.name)
            distance = normalizing_distance(target, scheme, name, visibility)
            landmarks = [pos / side for pos in (output.pos, output.initial)]
        else:
            to_image = invert_affine(batch.affine)
            target = transform_points(target, to_image)
            distance = batch.normalizer
            landmarks = [transform_points(pos, to_image) for pos in (output.pos, output.initial)]
        visibility = visibility * (distance.isfinite() & (distance > 0))[:, None]
        for metrics, pos in zip((self.refined_metrics, self.initial_metrics), landmarks, strict=True):
            metrics.update(pos, target, distance, visibility)

    def on_validation_epoch_end(self) -> None:
        refined, initial = self.refined_metrics.compute(), self.initial_metrics.compute()
        self.refined_metrics.reset()
        self.initial_metrics.reset()
        shown = {"val/nme": 100 * refined["nme"], "val/nme_initial": 100 * initial["nme"]}
        # The metrics have added up all processes already; without sync_dist Lightning would doubt it at every epoch.
        self.log_dict(shown, prog_bar=True, sync_dist=True)
        self.log_dict({"val/fr": 100 * refined["fr"], "val/auc": refined["auc"]}, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        backbone = list(self.detector.backbone.parameters())
        in_backbone = {id(parameter) for parameter in backbone}
        rest = [parameter for parameter in self.detector.parameters() if id(parameter) not in in_backbone]
        groups = (("backbone", backbone, self.backbone_lr), ("refiner", rest, self.refiner_lr))
        optimizer = create_optimizer(self.optimizer, groups, self.weight_decay)
        num_steps = int(self.trainer.estimated_stepping_batches)
        if self._planned_steps not in (None, num_steps):
            raise InputError(
                f"Expected a run of {self._planned_steps} steps, for which the checkpoint's schedule was made (got "
                f"{num_steps}). Resume with its number of epochs and batch size, or begin a run of its own with "
                "'model.initial_weights'."
            )
        steps_per_epoch = max(1, num_steps // max(1, self.trainer.max_epochs or 1))
        scheduler = self.schedule.create(optimizer, num_steps, steps_per_epoch)
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["detector_config"] = self.detector.config.saved()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_same_scheme("the checkpoint", checkpoint["detector_config"]["scheme"], self.detector.scheme.name)
        own, saved = self.state_dict(), checkpoint["state_dict"]
        differing = [name for name in own.keys() | saved.keys() if _shape(own, name) != _shape(saved, name)]
        if differing:
            raise InputError(
                f"Expected a checkpoint of the network in 'model.detector' ({len(differing)} weights differ, such "
                f"as '{min(differing)}'). Resume with the configuration of its run, config.yaml in the run's folder."
            )
        self._planned_steps = next((state.get("total_steps") for state in checkpoint["lr_schedulers"]), None)

    def _detect(self, batch: Batch) -> tuple[DetectorOutput, Tensor, Tensor]:
        B, K = batch.num_graphs, self.detector.scheme.num_landmarks
        visibility = batch.visibility.view(B, K)
        mask = None
        # What is not annotated teaches nothing, not as a neighbour either. Elsewhere nobody knows what is missing.
        if self.training and not bool((visibility > 0).all()):
            mask = visibility > 0
        output: DetectorOutput = self(batch.image, mask)
        in_float = {name: _at_least_float32(value) for name, value in output._asdict().items() if value is not None}
        return DetectorOutput(**in_float), batch.y.view(B, K, 2), visibility


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _shape(state: dict[str, Any], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None


def check_same_scheme(what: str, got: str, expected: str) -> None:
    """Raises :class:`InputError` where weights of one landmark scheme are given to a detector of another."""
    if got != expected:
        raise InputError(
            f"Expected {what} to hold a detector of the scheme '{expected}' (got '{got}'). "
            "Set 'model.detector.scheme' to the scheme it was trained with, or start from other weights."
        )


def load_matching_weights(detector: LandmarkDetector, source: str) -> list[str]:
    """Copies into ``detector`` all weights of a trained detector that have its names and shapes.

    Returns:
        The names of the detector's own entries that stayed as they were.

    Raises:
        InputError: if the scheme differs or nothing matches.
    """
    trained = LandmarkDetector.from_pretrained(source)
    check_same_scheme("'initial_weights'", trained.scheme.name, detector.scheme.name)
    own = detector.state_dict()
    matching = {k: v for k, v in trained.state_dict().items() if k in own and v.shape == own[k].shape}
    if not matching:
        raise InputError(
            f"Expected '{source}' to share weights with the detector in 'model.detector' (no name and shape agrees). "
            "Choose the backbone and refiner that it was trained with."
        )
    detector.load_state_dict(matching, strict=False)
    return sorted(own.keys() - matching.keys())
