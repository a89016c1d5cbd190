"""Time and accuracy of whole predictions, stage by stage, in PyTorch, ONNX Runtime and int8, beside dlib.

    python benchmarks/predict_speed.py --root DIR [--model lgcn-68 FOLDER ...] [-B 1 32] [--onnx FILE ...]

The stages are those of :class:`lgcn.predict.LandmarkPredictor` with one pass: decode the file, detect the face, crop
it, run the network, decode the heatmaps and run the graph, map the landmarks back to the image. All times are of the
same faces in the same run, per face; NME is measured on them with the annotated boxes. The graph stage is the
difference between the whole detector and one that ends with the heatmaps; a compiler merges both, and is timed as a
whole. Stages before the network are timed once for each face, for the crop of the first model.
``benchmarks/README.md`` defines the quantities.

With `--no-compile` two and a half minutes on two quiet cores; the compiler takes several more for each model.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Measure the checkout that holds this script, whatever is installed.
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import OtherProcesses, environment, time_calls, versions, write_figures
from lgcn.checks import InputError
from lgcn.cli.memory import keep_freed_memory
from lgcn.datasets import IBUG300W
from lgcn.export import OnnxDetector, export_detector, quantize
from lgcn.export.formats import OPSET, quiet
from lgcn.geometry import crop_image, invert_affine, transform_points
from lgcn.images import read_image
from lgcn.metrics import normalized_mean_error
from lgcn.models import LandmarkDetector
from lgcn.predict import CascadeFaceDetector
from lgcn.typing import DetectorOutput

DLIB_MODEL = Path("/usr/share/dlib/shape_predictor_68_face_landmarks.dat")
"""Of Debian's package libdlib-data; trained on 300-W, test faces perhaps included."""
CALIBRATION_FACES = 32
Runner = Callable[[Tensor], DetectorOutput]


class Heatmaps(nn.Module):
    """The part of a detector before the decoder: heatmaps, features, and nothing else."""

    def __init__(self, detector: LandmarkDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        output = self.detector.heatmaps(images)
        return output.heatmaps, output.features


class Faces:
    """Annotated faces of a split: their files, boxes, crops and landmarks."""

    def __init__(self, root: Path, split: str, count: int, detector: LandmarkDetector) -> None:
        dataset = IBUG300W(root, split=split)
        chosen = torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).long().tolist()
        data = [dataset[number] for number in chosen]
        self.images = [each.image[0] for each in data]
        self.paths = [root / each.image_id for each in data]
        self.boxes = torch.cat([each.bbox for each in data])
        self.target = torch.stack([each.y for each in data])
        self.normalizer = torch.cat([each.normalizer for each in data])
        crop = partial(crop_image, input_size=detector.input_size, **detector.protocol.crop_options)
        self.crop = lambda number: crop(self.images[number], self.boxes[number])
        pairs = [self.crop(number) for number in range(len(data))]
        self.crops = torch.stack([image for image, _ in pairs])
        self.affine = torch.stack([affine for _, affine in pairs])

    def back(self, pos: Tensor, start: int = 0) -> Tensor:
        """Landmarks of the crops from ``start`` on in pixels of their images, as the predictor maps them."""
        affine = invert_affine(self.affine[start : start + len(pos)].double())
        return transform_points(pos.double(), affine).float()

    def nme_percent(self, pos: Tensor) -> float:
        """Of landmarks in pixels of the images."""
        return float(100 * normalized_mean_error(pos, self.target, self.normalizer).nanmean())


@torch.inference_mode()
def measure_network(
    name: str,
    run: Runner,
    before_decoding: Callable[[Tensor], Any] | None,
    faces: Faces,
    sizes: list[int],
    **timing: Any,
) -> list[dict[str, Any]]:
    """Rows of a runner: seconds per face at each batch size, the part after the heatmaps, and NME."""
    pos = torch.cat([run(batch).pos for batch in faces.crops.split(max(sizes))])
    rows = []
    for size in sizes:
        batch = faces.crops[torch.arange(size) % len(faces.crops)]
        whole = time_calls(lambda batch=batch: run(batch), **timing)
        print(f"{name}, batch of {size}: {1e3 * whole['median_s'] / size:.2f} ms a face", file=sys.stderr, flush=True)
        row: dict[str, Any] = {"runner": name, "B": size, "face_s": whole["median_s"] / size, **whole}
        if before_decoding is not None:
            part = time_calls(lambda batch=batch: before_decoding(batch), **timing)
            row["network_s"] = part["median_s"] / size
            row["graph_s"] = max(0.0, row["face_s"] - row["network_s"])
        back = time_calls(lambda some=pos[:size]: faces.back(some), **timing)
        row["back_s"] = back["median_s"] / min(size, len(pos))
        row["nme_percent"] = faces.nme_percent(faces.back(pos))
        rows.append(row)
    return rows


def measure_shared_stages(faces: Faces, patience: float) -> dict[str, float]:
    """Seconds per face of the stages that do not depend on the network."""
    find_faces = CascadeFaceDetector()
    each: dict[str, Callable[[int], Any]] = {
        "decode": lambda number: read_image(faces.paths[number]),
        "detect": lambda number: find_faces(faces.images[number]),
        "crop": faces.crop,
    }
    return {stage: time_each(call, len(faces.images), patience)["median_s"] for stage, call in each.items()}


def time_each(call: Callable[[int], object], count: int, patience: float) -> dict[str, Any]:
    """As :func:`time_calls`, of one call for each of ``count`` faces."""
    numbers = cycle(range(count))
    return time_calls(lambda: call(next(numbers)), repeats=count, seconds=0.0, patience=patience)


def measure_dlib(faces: Faces, model: Path, patience: float) -> dict[str, Any] | None:
    """The row of dlib's shape predictor with the annotated boxes; None if dlib or its model is not there."""
    try:
        import dlib
    except ImportError:
        return None
    if not model.is_file():
        return None
    predict = dlib.shape_predictor(str(model))
    images = [image.permute(1, 2, 0).contiguous().numpy() for image in faces.images]
    boxes = [dlib.rectangle(*(round(value) for value in box.tolist())) for box in faces.boxes]
    points = [
        [(part.x, part.y) for part in predict(image, box).parts()] for image, box in zip(images, boxes, strict=True)
    ]
    whole = time_each(lambda number: predict(images[number], boxes[number]), len(images), patience)
    return {
        "runner": "dlib",
        "B": 1,
        "face_s": whole["median_s"],
        **whole,
        "nme_percent": faces.nme_percent(torch.tensor(points, dtype=torch.float32)),
    }


def runners(
    detector: LandmarkDetector, calibration: Tensor, folder: Path, compile_too: bool
) -> dict[str, tuple[Runner, Callable[[Tensor], Any] | None]]:
    """Name to a runner, and to the same network without decoder and graph."""
    # As LandmarkPredictor runs it.
    eager = detector.for_inference().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found: dict[str, tuple[Runner, Callable[[Tensor], Any] | None]] = {"eager": (eager, Heatmaps(eager))}
    if compile_too:
        found["compiled"] = (torch.compile(eager), None)
    whole, maps, small = (folder / f"{name}.onnx" for name in ("whole", "maps", "small"))
    export_detector(detector, whole)
    with quiet():
        program = torch.onnx.export(
            Heatmaps(eager),
            (calibration[:2],),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("B")},),
            input_names=["images"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    program.save(str(maps), external_data=False)
    quantize(whole, small, calibration)
    found["ONNX Runtime"] = (OnnxDetector(whole), _session(maps))
    found["ONNX Runtime int8"] = (OnnxDetector(small), None)
    return found


def _session(path: Path) -> Callable[[Tensor], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    as_input = (lambda batch: batch) if given.type == "tensor(uint8)" else (lambda batch: batch.float() / 255)
    return lambda batch: session.run(None, {given.name: as_input(batch).numpy()})


def measure_foreign(path: Path, sizes: list[int], **timing: Any) -> list[dict[str, Any]]:
    """Rows of any ONNX network of images [B, 3, H, W]: time alone, on noise of its own size."""
    import onnxruntime

    shape = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_inputs()[0].shape
    run, rows = _session(path), []
    for size in sizes:
        if isinstance(shape[0], int) and shape[0] != size:
            continue
        whole = time_calls(lambda size=size: run(torch.zeros(size, *shape[1:], dtype=torch.uint8)), **timing)
        rows.append({"runner": path.stem, "B": size, "face_s": whole["median_s"] / size, **whole})
    return rows


def measure_model(
    model: str, detector: LandmarkDetector, args: argparse.Namespace, timing: dict[str, Any]
) -> list[dict[str, Any]]:
    """Rows of all runners of a model; its name is part of theirs unless it is empty."""
    faces = Faces(args.root, args.split, args.faces, detector)
    calibration = Faces(args.root, args.calibration, min(args.faces, CALIBRATION_FACES), detector).crops
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (run, before) in runners(detector, calibration, Path(folder), not args.no_compile).items():
            label = f"{model}, {name}" if model else name
            rows += measure_network(label, run, before, faces, args.B, **timing)
    return rows


def draw(figures: dict[str, Any], path: Path) -> None:
    """Milliseconds per face as bars, by part where it is known, with the NME at their ends; a panel per batch size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sizes = sorted({row["B"] for row in figures["results"]})
    runners = list(dict.fromkeys(row["runner"] for row in figures["results"]))
    height = 0.35 * len(sizes) * len(runners) + 1.2
    chart, panels = plt.subplots(len(sizes), sharex=True, squeeze=False, figsize=(8, height), layout="constrained")
    colours = {"whole": "#999999", "network": "#0072b2", "graph": "#d55e00", "back": "#009e73"}
    for size, (axes,) in zip(sizes, panels, strict=True):
        for row in (row for row in figures["results"] if row["B"] == size):
            parts = ("network", "graph", "back") if "network_s" in row else ("whole", "back")
            times = {
                "whole": row["face_s"],
                **{part: row.get(f"{part}_s", 0.0) for part in ("network", "graph", "back")},
            }
            start = 0.0
            for part in parts:
                axes.barh(row["runner"], 1e3 * times[part], left=start, color=colours[part], label=part)
                start += 1e3 * times[part]
            nme = f", NME {row['nme_percent']:.2f} %" if "nme_percent" in row else ""
            axes.annotate(
                f"{start:.1f} ms{nme}", (start, row["runner"]), (4, 0), textcoords="offset points", va="center"
            )
        axes.set_title(f"batch of {size}", loc="left", fontsize="medium")
        axes.invert_yaxis()
        axes.margins(x=0.35)
        axes.spines[["top", "right"]].set_visible(False)
    shown = {label: bar for axes in panels.flat for bar, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    titles = {
        "whole": "network, decoder, graph",
        "network": "network",
        "graph": "decoder, graph",
        "back": "to the image",
    }
    chart.legend(shown.values(), [titles[label] for label in shown], loc="outside upper center", ncols=4, frameon=False)
    panels[-1, 0].set_xlabel("milliseconds per face, crop to landmarks")
    chart.savefig(path, dpi=150)
    plt.close(chart)


def main() -> None:
    """Measure, print, write and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of 300-W")
    parser.add_argument("--split", default="lfpw/testset", help="faces that are measured (default: lfpw/testset)")
    parser.add_argument("--calibration", default="lfpw/trainset", help="faces for int8 (default: lfpw/trainset)")
    parser.add_argument("--faces", type=int, default=64, help="default: 64")
    parser.add_argument(
        "--model", nargs="+", default=["lgcn-68"], metavar="NAME|FOLDER", help="one or more; default: lgcn-68"
    )
    parser.add_argument("-B", type=int, nargs="+", default=[1, 32], help="batch sizes; default: 1 32")
    parser.add_argument("--onnx", type=Path, nargs="+", default=[], help="further ONNX files, exported or foreign")
    parser.add_argument("--dlib", type=Path, default=DLIB_MODEL, help=f"default: {DLIB_MODEL}")
    parser.add_argument("--no-flip-test", action="store_true", help="leave out the mirror image of each face")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument(
        "--patience", type=float, default=4.0, help="seconds after which three calls are enough (default: 4)"
    )
    parser.add_argument("--output", type=Path, default=Path("predict_speed.json"), help="default: predict_speed.json")
    args = parser.parse_args()
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(args.threads)
    timing = {"repeats": args.repeats, "seconds": args.seconds, "patience": args.patience}
    # All at once: a name that is wrong is told before the first minute.
    detectors = {
        Path(name).name: LandmarkDetector.from_pretrained(name, flip_test=False if args.no_flip_test else None)
        for name in args.model
    }
    faces = Faces(args.root, args.split, args.faces, next(iter(detectors.values())))
    others = OtherProcesses()
    left_out, results = [], []
    stages = measure_shared_stages(faces, args.patience)
    for model, detector in detectors.items():
        results += measure_model(model if len(detectors) > 1 else "", detector, args, timing)
    for path in args.onnx:
        try:
            results += measure_network(path.stem, OnnxDetector(path), None, faces, args.B, **timing)
        except InputError:
            results += measure_foreign(path, args.B, **timing)
    beside = measure_dlib(faces, args.dlib, args.patience)
    if beside is None:
        left_out.append({"runner": "dlib", "reason": f"no package dlib, or no {args.dlib} (Debian: libdlib-data)"})
    else:
        results.append(beside)
    for row in results:
        if "graph_s" in row:
            row["after_network_share"] = (row["graph_s"] + row["back_s"]) / (row["face_s"] + row["back_s"])
    settings = {name: value for name, value in vars(args).items() if name not in ("root", "output", "dlib", "onnx")}
    figures = {
        "benchmark": "predict_speed",
        "settings": settings,
        "environment": {**environment(), **versions("onnxruntime", "onnx", "dlib-bin")},
        "others_share": others.share,
        "stages_s": stages,
        "results": results,
        "left_out": left_out,
    }
    write_figures(args.output, figures)
    draw(figures, args.output.with_suffix(".png"))
    print("per face: " + ", ".join(f"{stage} {1e3 * seconds:.1f} ms" for stage, seconds in stages.items()))
    for row in results:
        nme = f"NME {row['nme_percent']:.2f} %" if "nme_percent" in row else ""
        share = f"after the network {row['after_network_share']:.0%}" if "after_network_share" in row else ""
        print(f"{row['runner']:32s} B {row['B']:3d} {1e3 * row['face_s']:8.2f} ms {nme:12s} {share}")


if __name__ == "__main__":
    main()
