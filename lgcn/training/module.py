"""LightningModule: training, validation, test and prediction steps."""

from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch_geometric.data import Batch
from torchmetrics.aggregation import CatMetric

from lgcn.checks import InputError, check_choice, check_number
from lgcn.geometry import invert_affine, transform_points
from lgcn.metrics import auc_ced, compute_errors, failure_rate
from lgcn.models import DetectorConfig, create_detector
from lgcn.models.saved_config import saved_scheme
from lgcn.seeding import mix_seed
from lgcn.training.closed_form import fit_refiners, unfitted_refiners
from lgcn.training.config import LossConfig, ScheduleConfig
from lgcn.training.datamodule import LandmarkDataModule
from lgcn.training.optim import create_optimizer, statistics_of
from lgcn.training.sync_batch_norm import replace_sync_batch_norm
from lgcn.training.trained_detectors import Teacher, check_same_scheme, load_matching_weights, random_weights
from lgcn.typing import DetectorOutput


class LandmarkPredictions(NamedTuple):
    """Output of :meth:`LandmarkModule.predict_step` for a batch, float32 on the CPU."""

    image_id: list[str]
    """B paths of images, relative to the root of the dataset."""
    landmarks: Tensor
    """[B, K, 2], refined landmarks in pixels of the image."""
    initial: Tensor
    """[B, K, 2], landmarks decoded from the heatmaps, in pixels of the image."""
    confidence: Tensor
    """[B, K], in [0, 1]."""


class LandmarkModule(LightningModule):
    """Trains a :class:`lgcn.models.LandmarkDetector`, end to end or with a frozen backbone.

    Batches are those of :class:`lgcn.training.LandmarkDataModule`. Training logs ``train/<term>`` for each term of the
    loss. Validation logs ``val/nme_percent``, ``val/fr_percent`` (both per cent) and ``val/auc`` (a fraction) of the
    refined landmarks, and ``val/initial_nme_percent`` of those decoded from the heatmaps; a test logs the same under
    ``test/``. Errors are measured as the protocol of the detector says, by :func:`lgcn.metrics.compute_errors`, and
    faces without a normalising distance are not counted. Checkpoints contain the configuration of the detector, so
    ``LandmarkDetector.from_pretrained("x.ckpt")`` needs nothing else.

    Args:
        detector: configuration of the network.
        loss: loss functions and their weights.
        backbone_lr: learning rate of the backbone; 1e-4 in the paper.
        refiner_lr: learning rate of the graph network; 1e-3 in the paper.
        freeze_backbone: train the graph alone; the backbone keeps its weights and running statistics.
        allow_untrained_backbone: allow freeze_backbone without trained weights, for trials or for a backbone that
            loads its weights itself.
        optimizer: adam or adamw.
        weight_decay: weight decay; biases and normalisation layers have none.
        schedule: schedule of the learning rates.
        initial_weights: trained detector to start from, anything that ``LandmarkDetector.from_pretrained`` takes;
            parts that do not match keep their random weights.
        teacher: trained detector to learn from, given likewise, of the same scheme; it is frozen.
        teacher_weight: share of the teacher's landmarks in the targets of the loss, in [0, 1]; the others are those
            annotated.
        channels_last: memory format of the convolutions, faster on most machines.
        compile: run the detector through ``torch.compile``. Names of weights, checkpoints and exported models do not
            change; the first steps take minutes for large networks.
        compile_backend: compiler; inductor needs a C++ compiler, eager and aot_eager help to find errors.
        seed: seed of dropout and other random layers; their draws follow from it, the epoch and the step.

    Raises:
        InputError: if the heatmap loss does not fit the codec, ``initial_weights`` or ``teacher`` belong to another
            scheme, the first match nothing, or ``compile_backend`` is unknown.
    """

    def __init__(
        self,
        detector: DetectorConfig,
        loss: LossConfig = LossConfig(),  # noqa: B008 - frozen
        backbone_lr: float = 1e-4,
        refiner_lr: float = 1e-3,
        freeze_backbone: bool = False,
        allow_untrained_backbone: bool = False,
        optimizer: Literal["adam", "adamw"] = "adam",
        weight_decay: float = 0.0,
        schedule: ScheduleConfig = ScheduleConfig(),  # noqa: B008 - frozen
        initial_weights: str | None = None,
        teacher: str | None = None,
        teacher_weight: float = 0.5,
        channels_last: bool = False,
        compile: bool = False,
        compile_backend: str = "inductor",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.detector = create_detector(detector)
        self.loss = loss.build()
        self._check_loss_fits_codec()
        self.backbone_lr = backbone_lr
        self.refiner_lr = refiner_lr
        self.freeze_backbone = freeze_backbone
        self.allow_untrained_backbone = allow_untrained_backbone
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.channels_last = channels_last
        self.seed = seed
        self._planned_steps: int | None = None
        self.refined_errors = CatMetric(nan_strategy="ignore")
        self.initial_errors = CatMetric(nan_strategy="ignore")
        self._detector_config = detector
        self._not_from_initial_weights: list[str] | None = None
        if initial_weights is not None:
            self._not_from_initial_weights = load_matching_weights(self.detector, initial_weights)
        self.teacher = None if teacher is None else Teacher(teacher, self.detector)
        self.teacher_weight = check_number("teacher_weight", teacher_weight, 0, 1)
        if freeze_backbone:
            self.detector.backbone.requires_grad_(False)
        if channels_last:
            self.detector.to(memory_format=torch.channels_last)
        check_choice("compile_backend", compile_backend, torch.compiler.list_backends(exclude_tags=()))
        if compile:
            self.detector.compile(backend=compile_backend)
        self.train()

    def _check_loss_fits_codec(self) -> None:
        """Raise before a run has a folder if the heatmap loss does not fit the heatmaps of the detector."""
        codec = self.detector.codec
        target, weight = codec.encode(torch.zeros(1, self.detector.scheme.num_landmarks, 2))
        self.loss.heatmap_loss(torch.zeros_like(target), target, weight, codec)

    def check_backbone_is_trained(self) -> None:
        """Raise :class:`InputError` if the frozen backbone has random weights; called when a new run starts."""
        if not self.freeze_backbone or self.allow_untrained_backbone:
            return
        unmatched = self._not_from_initial_weights
        untrained = random_weights(self.detector.backbone, self._detector_config)
        untrained = [name for name in untrained if unmatched is None or f"backbone.{name}" in unmatched]
        if untrained:
            raise InputError(
                f"Expected trained weights for the backbone that 'model.freeze_backbone' freezes ({len(untrained)} are "
                f"random, such as '{untrained[-1]}'). Give a trained detector with --model.initial_weights, or a "
                "trained backbone with --model.detector.backbone_weights; --model.allow_untrained_backbone true trains "
                "without."
            )

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        replace_sync_batch_norm(self.trainer)  # before Lightning converts layers
        # A checkpoint that a run resumes from brings the weights.
        if self.trainer.ckpt_path is None:
            self.check_backbone_is_trained()

    def on_fit_start(self) -> None:
        if self.trainer.ckpt_path is not None or not unfitted_refiners(self.detector):
            return
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, LandmarkDataModule):
            raise InputError(
                "Expected a fitted Gaussian refiner, or a LandmarkDataModule to fit it to (got neither). Call "
                "lgcn.training.fit_refiners(module.detector, batches) first."
            )
        # Errors of an untrained backbone would make the noise so large that no landmark is listened to.
        trained = self._not_from_initial_weights is not None
        fit_refiners(self.detector, data.fitting_dataloader(), use_predictions=trained)
        if self.detector.refiner is not None:
            # The processes have shared their weights before this hook; on other devices sums round otherwise.
            self.detector.refiner.load_state_dict(self.trainer.strategy.broadcast(self.detector.refiner.state_dict()))

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
        # Not at the start of an epoch: Lightning skips that hook in the first epoch of a resumed run.
        torch.manual_seed(mix_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        output, target, visibility = self._detect(batch)
        if self.teacher is not None:
            target = torch.lerp(target, self.teacher(batch.image).to(target.dtype), self.teacher_weight)
        with torch.autocast(self.device.type, enabled=False):
            terms = self.loss(output, target, visibility, self.detector.codec, self.detector.input_size)
        B = target.size(0)
        self.log("train/loss", terms["total"].detach(), prog_bar=True, batch_size=B)
        shown = {f"train/{name}": value.detach() for name, value in terms.items() if name != "total"}
        self.log_dict(shown, prog_bar=True, batch_size=B)
        return terms["total"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        output, target, visibility = self._detect(batch)
        scheme, protocol = self.detector.scheme, self.detector.protocol
        for metric, preds in ((self.refined_errors, output.pos), (self.initial_errors, output.initial)):
            found = compute_errors(
                preds,
                target,
                batch.affine,
                batch.normalizer,
                visibility,
                scheme=scheme,
                protocol=protocol,
                input_size=self.detector.input_size,
                normalizer_name=protocol.normalizer_of(scheme.name),
            )
            metric.update(found.errors.nanmean(dim=1).float())

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._log_errors("val")

    def on_test_epoch_end(self) -> None:
        self._log_errors("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> LandmarkPredictions:
        """Return landmarks in pixels of the images."""
        output, _, _ = self._detect(batch)
        to_image = invert_affine(batch.affine.cpu())
        pos, initial, confidence = (each.float().cpu() for each in (output.pos, output.initial, output.confidence))
        landmarks, initial = (transform_points(each, to_image) for each in (pos, initial))
        return LandmarkPredictions(list(batch.image_id), landmarks, initial, confidence)

    def _log_errors(self, stage: str) -> None:
        threshold = self.detector.protocol.thresholds[0]
        refined, initial = (all_errors(metric) for metric in (self.refined_errors, self.initial_errors))
        means = {"nme_percent": refined, "initial_nme_percent": initial}
        shown = {f"{stage}/{name}": 100 * errors.mean().item() for name, errors in means.items()}
        # The metrics have gathered the errors of all processes; without sync_dist Lightning would warn every epoch.
        self.log_dict(shown, prog_bar=True, sync_dist=True)
        rates = {"fr_percent": 100 * failure_rate(refined, threshold), "auc": auc_ced(refined, threshold)}
        self.log_dict({f"{stage}/{name}": value.item() for name, value in rates.items()}, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        backbone = list(self.detector.backbone.parameters())
        in_backbone = {id(parameter) for parameter in backbone}
        rest = [parameter for parameter in self.detector.parameters() if id(parameter) not in in_backbone]
        groups = (("backbone", backbone, self.backbone_lr), ("refiner", rest, self.refiner_lr))
        undecayed = statistics_of(self.detector)
        optimizer = create_optimizer(self.optimizer, groups, self.weight_decay, undecayed)
        self.trainer.fit_loop.setup_data()  # counts the batches, which a run without a number of epochs has not done
        num_steps = self.trainer.estimated_stepping_batches
        if self._planned_steps not in (None, num_steps):
            raise InputError(
                f"Expected a run of {self._planned_steps} steps, for which the schedule of the checkpoint was made "
                f"(got {num_steps}). Resume with its number of epochs and batch size, or start a new run with "
                "'model.initial_weights'."
            )
        # Not from the steps of the run, which 'trainer.max_steps' may end within an epoch.
        steps_per_epoch = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        scheduler = self.schedule.build(optimizer, num_steps, steps_per_epoch)
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["detector_config"] = self.detector.config.saved()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_same_scheme("the checkpoint", saved_scheme(checkpoint["detector_config"]), self.detector.scheme.name)
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
        # In training the graph leaves out landmarks that are not annotated; at inference these are unknown.
        if self.training and not bool((visibility > 0).all()):
            mask = visibility > 0
        output: DetectorOutput = self(batch.image, mask)
        in_float = {name: _at_least_float32(value) for name, value in output._asdict().items() if value is not None}
        return DetectorOutput(**in_float), batch.y.view(B, K, 2), visibility


def all_errors(metric: CatMetric) -> Tensor:
    """Errors [N] of the faces of all processes, on the CPU in float64, and resets ``metric``."""
    errors = metric.compute()
    metric.reset()
    # torchmetrics returns an empty list if no face was measurable, and a scalar if a single one was.
    return torch.as_tensor(errors, device="cpu").reshape(-1).double()


def _at_least_float32(tensor: Any) -> Any:
    if isinstance(tensor, tuple):
        return tuple(map(_at_least_float32, tensor))
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)) if tensor.is_floating_point() else tensor


def _shape(state: dict[str, Any], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None
