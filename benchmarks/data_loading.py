"""Throughput of data loading: images per second of one loading process, and of one training step.

    python benchmarks/data_loading.py [--config NAME] [--root DIR] [-w 1 2] [--device cpu] [OPTION OF lgcn fit ...]

Pipeline and network come from a configuration of ``lgcn fit``, whose options can follow (``--data.batch_size 32``).
Prints a table and writes JSON; ``docs/scale.md`` explains the results. Without ``--root`` synthetic images are written
to a temporary folder.
"""

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

# Measure the checkout that holds this script, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import environment, time_calls
from lgcn.cli.fit import FitCLI, resolve_configs
from lgcn.datasets import write_pts
from lgcn.files import write_text
from lgcn.seeding import mix_seed
from lgcn.training.optim import create_optimizer
from lgcn.training.samplers import SeededDataset, SeededIndex

PRECISIONS = ("32-true", "bf16-mixed")


def draw_faces(root: Path, images: int, size: tuple[int, int], seed: int) -> None:
    """Write JPEGs of soft blobs, which compress like photos, with 68 points each, in the layout of 300-W."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    (root / "afw").mkdir(parents=True)
    for number in range(images):
        blobs = torch.rand(1, 3, height // 16, width // 16, generator=generator)
        image = torch.nn.functional.interpolate(blobs, size=size, mode="bicubic").clamp(0, 1)[0]
        image = image + 0.02 * torch.randn(image.shape, generator=generator)
        pixels = (255 * image.clamp(0, 1)).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(root / "afw" / f"{number:04d}.jpg", quality=92)
        points = 0.25 + 0.5 * torch.rand(68, 2, generator=generator)
        write_pts(root / "afw" / f"{number:04d}.pts", points * torch.tensor([width, height]))


def measure(cli: FitCLI, args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; rates are in images per second."""
    data, B = cli.datamodule, cli.datamodule.batch_size
    data.setup()
    faces = SeededDataset(data.train_faces)
    keys = [(index, mix_seed(data.seed, 0, index)) for index in range(len(faces))]
    images = [int(index) for index in data.train_faces.indices()]
    results: dict[str, Any] = {}
    print(f"{'':24}    images/s   quartiles", flush=True)

    # As in a worker of a data loader.
    torch.set_num_threads(1)
    turns = count()

    def next_places() -> list[int]:
        turn = next(turns)
        return [(turn * B + n) % len(faces) for n in range(B)]

    def note(name: str, call: Callable[[], object]) -> None:
        timed = time_calls(call, args.repeats, args.seconds)
        rates = [B / seconds for seconds in reversed(timed["quartiles_s"])]
        results[name] = {"images_per_s": B / timed["median_s"], "quartiles": rates, "calls": timed["calls"]}
        print(line(name, results[name]), flush=True)

    note("read", lambda: [data.train_faces.read_image(images[n]) for n in next_places()])
    note("worker", lambda: Batch.from_data_list([faces[keys[n]] for n in next_places()]))
    batch = Batch.from_data_list([faces[keys[n]] for n in next_places()])
    for workers in args.workers:
        name = f"loader, {workers} worker{'s' if workers > 1 else ''}"
        results[name] = loader_rate(faces, keys, B, workers, args.batches)
        print(line(name, results[name]), flush=True)
    torch.set_num_threads(args.threads)
    note("step", training_step(cli, batch, torch.device(args.device)))
    return results


def loader_rate(
    faces: SeededDataset, keys: list[SeededIndex], batch_size: int, workers: int, batches: int
) -> dict[str, Any]:
    """Rate of ``workers`` processes together, after they have started."""
    # Batches that are ready when the first one arrives are not counted.
    ahead = 2 * workers + 1
    places = [keys[n % len(keys)] for n in range((batches + ahead) * batch_size)]
    loader = DataLoader(faces, batch_size=batch_size, sampler=places, num_workers=workers)
    started = first = time.perf_counter()
    for number, _ in enumerate(loader):
        if number == 0:
            first = time.perf_counter()
        if number == ahead - 1:
            begun = time.perf_counter()
    seconds = time.perf_counter() - begun
    return {"images_per_s": batches * batch_size / seconds, "start_s": first - started, "calls": batches}


def training_step(cli: FitCLI, batch: Batch, device: torch.device) -> Callable[[], None]:
    """Forward, loss, backward and optimiser step on one batch in main memory."""
    module = cli.model.to(device).train()
    parameters = [("all", list(module.detector.parameters()), module.backbone_lr)]
    optimizer = create_optimizer(module.optimizer, parameters, module.weight_decay)
    mixed = cli.trainer.precision == "bf16-mixed"

    def step() -> None:
        here = batch.clone().to(device)
        with torch.autocast(device.type, torch.bfloat16) if mixed else nullcontext():
            loss = module.training_step(here, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def line(name: str, result: dict[str, Any]) -> str:
    """One line of the table."""
    low, high = result.get("quartiles", (math.nan, math.nan))
    spread = "" if math.isnan(low) else f"{low:.1f} - {high:.1f}"
    return f"{name:24} {result['images_per_s']:11.1f}   {spread}".rstrip()


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="lgcn-68-paper", help="of lgcn fit (default: lgcn-68-paper)")
    parser.add_argument("--root", help="folder of a dataset (default: synthetic images)")
    parser.add_argument("--images", type=int, default=64, help="number of synthetic images (default: 64)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[600, 800], help="H W of synthetic images (default: 600 800)"
    )
    parser.add_argument(
        "-w", "--workers", type=int, nargs="+", default=[1, 2], help="processes of the loader (default: 1 2)"
    )
    parser.add_argument("--batches", type=int, default=20, help="batches that the loader delivers (default: 20)")
    parser.add_argument("--device", default="cpu", help="of the training step (default: cpu)")
    parser.add_argument("--threads", type=int, default=2, help="of the training step (default: 2)")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls at least (default: 15)")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed seconds at least (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of images, weights and augmentation (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("data_loading.json"), help="default: data_loading.json")
    args, of_fit = parser.parse_known_args()
    # Lightning warns that there is no trainer.
    warnings.filterwarnings("ignore", message=r".*self\.trainer.*")
    torch.set_num_threads(args.threads)
    described = environment()
    with TemporaryDirectory() as folder:
        synthetic = args.root is None
        if synthetic:
            args.root = folder + "/300w"
            draw_faces(Path(args.root), args.images, tuple(args.size), args.seed)
        given = ["--config", args.config, "--data.root", args.root, "--seed_everything", str(args.seed), *of_fit]
        cli = FitCLI(resolve_configs(given))
        if cli.trainer.precision not in PRECISIONS:
            parser.error(f"--trainer.precision: one of {', '.join(PRECISIONS)} (got {cli.trainer.precision})")
        results = measure(cli, args)
    needed = results["step"]["images_per_s"] / results["worker"]["images_per_s"]
    print(f"Workers needed to keep one such device busy: {needed:.2f}, so {math.ceil(needed)}")
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    settings |= {"root": "synthetic" if synthetic else args.root, "of_fit": of_fit}
    described |= {"threads": args.threads}
    data = cli.datamodule
    pipeline = {
        "batch_size": data.batch_size,
        "input_size": list(data.input_size),
        "backbone": cli.model.detector.config.backbone,
        "precision": cli.trainer.precision,
        "augmentation": vars(data.augmentation),
    }
    header = {"benchmark": "data_loading", "settings": settings, "pipeline": pipeline, "environment": described}
    figures = {**header, "results": results, "workers_needed": needed}
    write_text(args.output, json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
