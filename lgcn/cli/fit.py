"""``lgcn fit``: Lightning's command line for the module and the data of this package."""

import logging
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from lgcn.checks import InputError, InputFileError
from lgcn.cli.argument_errors import check_sections, explain

try:
    import yaml
    from jsonargparse import ArgumentError, Namespace
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

    from lgcn.cli.preset import DEFAULT_PRESET, find_preset, preset_defaults
    from lgcn.datasets.corrupt_images import short_worker_errors
    from lgcn.models import PRESETS
    from lgcn.training.callbacks import AtomicCheckpointIO, default_callbacks, find_last_checkpoint
    from lgcn.training.datamodule import LandmarkDataModule
    from lgcn.training.module import LandmarkModule
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in {"lightning", "jsonargparse", "tensorboard", "yaml"}:
        raise
    raise InputError(f"Training needs '{error.name}', which is not installed: pip install 'lgcn[train]'") from error

CONFIGS = files("lgcn") / "configs"


def shipped_configs() -> list[str]:
    """Names of configurations that ``--config`` takes."""
    return sorted(Path(entry.name).stem for entry in CONFIGS.iterdir() if entry.name.endswith(".yaml"))


def find_config(name: str) -> str:
    """The path of a configuration, given by its path or by the name of a shipped one."""
    if Path(name).is_file():
        return name
    if name in shipped_configs():
        return str(CONFIGS / f"{name}.yaml")
    raise InputFileError(
        f"Expected '--config' to be a file or one of {', '.join(shipped_configs())} (got '{name}', which is neither)."
    )


def resolve_configs(argv: Sequence[str]) -> list[str]:
    """``argv`` with the names of shipped configurations replaced by their paths."""
    resolved: list[str] = []
    for word in argv:
        option, equals, value = word.partition("=")
        if equals and option in {"--config", "-c"}:
            resolved.append(f"{option}={find_config(value)}")
        elif resolved and resolved[-1] in {"--config", "-c"}:
            resolved.append(find_config(word))
        else:
            resolved.append(word)
    return resolved


def _first_without_yaml(argv: Sequence[str]) -> str | None:
    """The first configuration among resolved arguments that is no valid YAML; jsonargparse does not name it."""
    for before, word in zip(["", *argv], argv, strict=False):
        option, equals, value = word.partition("=")
        path = value if equals and option in {"--config", "-c"} else word if before in {"--config", "-c"} else None
        try:
            if path is not None:
                yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            return path
    return None


class AtomicConfig(SaveConfigCallback):
    """Writes ``config.yaml`` to a temporary file and renames it, so that a killed run leaves a whole file or none."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        super().__init__(parser, config, config_filename=".config.yaml.part", overwrite=True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        written = Path(trainer.log_dir or trainer.default_root_dir) / self.config_filename  # a collective operation
        if trainer.is_global_zero and written.is_file():
            written.replace(written.with_name("config.yaml"))


class RunLogger(TensorBoardLogger):
    """A TensorBoard logger without ``hparams.yaml``, which would be empty: ``config.yaml`` holds the configuration."""

    def save(self) -> None:
        super(TensorBoardLogger, self).save()


class FitCLI(LightningCLI):
    """A single command instead of Lightning's four, and one seed for weights, shuffling, augmentation and dropout."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.run_dir: Path | None = None
        self.ckpt_path: str | None = None
        self.preset = find_preset(argv)
        super().__init__(
            LandmarkModule,
            LandmarkDataModule,
            save_config_callback=AtomicConfig,
            trainer_defaults={"default_root_dir": "runs"},
            parser_kwargs={"prog": "lgcn fit", "description": "Train a detector.", "exit_on_error": False},
            args=list(argv),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--seed_everything", type=int, default=0, help="Seed of every random draw of the run.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--preset",
            type=str,
            default=DEFAULT_PRESET,
            help=f"Detector whose options are the defaults of model.detector: {', '.join(PRESETS.names())}.",
        )
        parser.set_defaults(preset_defaults(self.preset))
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Checkpoint to resume from; 'last' resumes the newest run under trainer.default_root_dir.",
        )
        parser.link_arguments("seed_everything", "data.seed")
        parser.link_arguments("seed_everything", "model.seed")
        for name in ("scheme", "input_size", "protocol"):
            parser.link_arguments(f"model.detector.{name}", f"data.{name}")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        if not any(word.split("=")[0] in {"--config", "-c", "--help", "-h", "--print_config"} for word in args):
            raise InputError(f"Expected '--config' with a file or one of {', '.join(shipped_configs())} (got none).")
        names = list(parser.get_defaults().keys())
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise InputError(explain(str(error), _first_without_yaml(args), names)) from error
        check_sections(self.config, names)

    def before_instantiate_classes(self) -> None:
        self.ckpt_path = self.config.ckpt_path
        if self.ckpt_path == "last":
            last = find_last_checkpoint(self.config.trainer.default_root_dir)
            self.ckpt_path = None if last is None else str(last)
            self.run_dir = None if last is None else last.parents[1]
        elif self.ckpt_path is not None and not Path(self.ckpt_path).is_file():
            raise InputFileError(f"Expected '--ckpt_path' to be a checkpoint file or 'last' (got '{self.ckpt_path}').")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config_init.trainer
        if config.logger is None or config.logger is True:
            # A resumed run continues in its own folder: Lightning forgets the best checkpoint if the folder changes.
            run = self.run_dir
            if run is None:
                kwargs["logger"] = RunLogger(config.default_root_dir, name="")
            else:
                number = run.name.removeprefix("version_")
                version = int(number) if number.isdigit() else run.name
                kwargs["logger"] = RunLogger(run.parent, name="", version=version)
        kwargs["plugins"] = [*(config.plugins or []), AtomicCheckpointIO()]
        kwargs["callbacks"] = [*(config.callbacks or []), *default_callbacks()]
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise _unusable_trainer(error) from error


def _unusable_trainer(error: Exception) -> InputError:
    """An error of Lightning about the settings of the trainer, which are the user's input."""
    return InputError(f"Cannot use the settings in 'trainer': {' '.join(str(error).split())}")


def _check_sync_batchnorm(trainer: Trainer, wanted: bool) -> None:
    """Raise :class:`InputError` before the run has a folder; torch would raise later."""
    if wanted and trainer.strategy.root_device.type == "cpu":
        raise InputError(
            "Expected 'trainer.sync_batchnorm' to be false on the CPU, where torch does not support it (got true). "
            "Remove the option, or train on another device."
        )


def _check_writable(folder: str) -> None:
    """Raise :class:`InputFileError` unless the folder of the runs can be created and written to."""
    if "://" in folder:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputFileError(
            f"Expected 'trainer.default_root_dir' to be a folder to write to (got '{folder}': {error.strerror}). "
            "Give another with --trainer.default_root_dir DIR."
        ) from error


_CONNECTION_LOST = re.compile(r"Connection (closed|reset) by peer")


@contextmanager
def single_error(trainer: Trainer) -> Iterator[None]:
    """Print an :class:`InputError` in one of several training processes as the only message of the run.

    The other processes would notice a broken connection and print a traceback each. A process that started the others
    ends them; one of the others only reports that it stops.
    """
    try:
        yield
    except InputError:
        launcher = trainer.strategy.launcher
        if launcher is not None:
            # They wait for this process in a collective operation, where no milder signal reaches them.
            launcher.kill(signal.SIGKILL)
        raise
    except RuntimeError as error:
        if trainer.world_size == 1 or not _CONNECTION_LOST.search(str(error)):
            raise
        raise InputError("Stopped because another process of this run stopped; see its message.") from error


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    """Logging filter: False for messages in which Lightning advertises other products."""
    message = record.getMessage()
    return "litlogger" not in message and "litmodels" not in message


def run(argv: Sequence[str]) -> int:
    """Trains as ``argv`` says; returns the exit status."""
    argv = resolve_configs(argv)
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    log.addFilter(_is_no_advertisement)
    try:
        cli = FitCLI(argv)
        if cli.config.ckpt_path == "last" and cli.ckpt_path is None:
            print("No earlier run to resume: starting from the beginning.", file=sys.stderr)
        _check_sync_batchnorm(cli.trainer, cli.config.trainer.sync_batchnorm)
        # Checked before Lightning creates the folder of the run.
        if cli.ckpt_path is None:
            cli.model.check_backbone_is_trained()
        cli.datamodule.setup()
        _check_writable(cli.trainer.default_root_dir)
        with single_error(cli.trainer), short_worker_errors():
            cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.ckpt_path)
    except ArgumentError as error:
        raise InputError(explain(str(error))) from error
    except MisconfigurationException as error:
        raise _unusable_trainer(error) from error
    except SIGTERMException:
        return 143
    except SystemExit as stop:
        # Lightning turns Ctrl+C into an exit with status 1.
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    finally:
        log.removeFilter(_is_no_advertisement)
    return 0
