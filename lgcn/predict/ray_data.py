"""Prediction on many machines by Ray Data: files in, Parquet out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lgcn.checks import InputError
from lgcn.files import escape_name, real_path
from lgcn.images import image_suffixes
from lgcn.predict.output import to_record
from lgcn.predict.predictor import LandmarkPredictor

if TYPE_CHECKING:
    import pyarrow


class RayPredictor:
    """:class:`LandmarkPredictor` for ``ray.data.Dataset.map_batches``, which makes one in each of its processes.

    >>> files = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
    >>> workers = ray.data.ActorPoolStrategy(size=8)
    >>> records = files.map_batches(RayPredictor, fn_constructor_args=["lgcn-68"], batch_size=64, compute=workers)
    >>> records.write_parquet("s3://bucket/landmarks")

    A batch has the columns ``path`` and ``bytes``. The result has a row for each image: ``image``, its path; ``error``,
    why it could not be used, or null; ``faces``, a list of what :meth:`Face.to_dict` returns.

    Args:
        model: as :meth:`LandmarkPredictor.from_pretrained` takes it, like ``options``.
        **options: such as ``face_detector`` and ``device``.
    """

    def __init__(self, model: str, **options: Any) -> None:
        self.predictor = LandmarkPredictor.from_pretrained(model, **options)

    def __call__(self, batch: dict[str, Any]) -> "pyarrow.Table":
        """The records of a batch of files."""
        import pyarrow

        records: dict[str, dict[str, Any]] = {}

        def report(name: str, error: InputError) -> None:
            records[name] = {"image": escape_name(name), "error": str(error), "faces": []}

        names = [str(path) for path in batch["path"]]
        for image, faces in self.predictor.stream(batch["bytes"], names=names, on_error=report):
            record = to_record(image.name, faces)
            records[image.name] = {"image": escape_name(image.name), "error": None, "faces": record["faces"]}
        return pyarrow.Table.from_pylist([records[name] for name in names], schema=_schema())


def predict_on_ray(
    inputs: Sequence[str], output: str, address: str, model: str, *, workers: int | None = None, **options: Any
) -> None:
    """Predict the images in files and folders on a Ray cluster and write :class:`RayPredictor`'s rows as Parquet.

    A process that is lost is replaced, and its batches are predicted again.

    Args:
        inputs: files and folders, searched with their subfolders, local on all machines or in an object store
            (``s3://``, ``gs://``, ...).
        output: the folder to write to, likewise.
        address: of the cluster, such as ``auto`` or ``ray://host:10001``; ``local`` starts one on this machine.
        model: as for :class:`RayPredictor`, like ``options``.
        workers: processes; one for each CPU of the cluster if None.
        **options: such as ``face_detector`` and ``device``.

    Raises:
        InputError: if Ray is not installed, no such cluster is reached, or there are no images.
    """
    try:
        import ray.data
    except ImportError as error:
        raise InputError(
            f"Expected Ray Data for prediction on many machines (got: {error}). pip install 'lgcn[ray]'"
        ) from None
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"Expected a Ray cluster at '{address}' (got: {reason}). 'local' starts one.") from None
    count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    suffixes = [suffix.removeprefix(".") for suffix in image_suffixes()]
    paths = [each if "://" in each else real_path(each) for each in inputs]
    # Ray deadlocks if predictors take all CPUs, because nothing is read then.
    reading, predicting = 0.25, 0.75
    try:
        files = ray.data.read_binary_files(paths, include_paths=True, file_extensions=suffixes, num_cpus=reading)
    except (FileNotFoundError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"Expected images at {', '.join(map(repr, inputs))} (got: {reason}).") from None
    files.map_batches(
        RayPredictor,
        fn_constructor_args=[model],
        fn_constructor_kwargs=options,
        batch_size=options.get("batch_size", 32),
        num_cpus=predicting,
        num_gpus=int(str(options.get("device", "cpu")).startswith("cuda")),
        compute=ray.data.ActorPoolStrategy(size=count),
    ).write_parquet(output if "://" in output else real_path(output), ray_remote_args={"num_cpus": reading})


def _schema() -> "pyarrow.Schema":
    """Stated, because a batch may have no face to infer it from."""
    import pyarrow as pa

    numbers = pa.list_(pa.float64())
    points = pa.list_(numbers)
    face = {"box": numbers, "score": pa.float64(), "landmarks": points, "initial": points, "confidence": numbers}
    face |= {"expected_error": numbers, "expected_error_percent": numbers, "covariance": points}
    face |= {"covered": pa.list_(pa.bool_())}
    return pa.schema(
        [("image", pa.string()), ("error", pa.string()), ("faces", pa.list_(pa.struct(list(face.items()))))]
    )
