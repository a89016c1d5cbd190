"""``lgcn predict --ray``: predict on a cluster, from and to folders that all its machines see."""

import argparse
import re
from pathlib import Path

from lgcn.cli.messages import tell
from lgcn.cli.predictor_options import predictor_options


def run(args: argparse.Namespace) -> None:
    """Predict the images and write Parquet files."""
    from lgcn.checks import InputError
    from lgcn.predict import predict_on_ray

    unused = ("overlay", "draw", "edges", "aligned", "report", "resume", "overwrite", "boxes", "recursive")
    given = [name for name in unused if getattr(args, name)]
    if args.output is None or given or args.format != "json":
        raise InputError(
            f"Expected '--ray' with '--output', and without options for files of one machine (got "
            f"{'--' + given[0] if given else 'no --output' if args.output is None else '--format ' + args.format})."
        )
    inputs, output = ([_url(each) for each in paths] for paths in (args.images, [args.output]))
    predict_on_ray(inputs, output[0], args.ray, args.model, workers=args.workers, **predictor_options(args))
    tell("note", f"Written: Parquet files in '{output[0]}'.")


def _url(path: Path) -> str:
    """The address in an object store, of whose slashes Path has kept one, or the path."""
    return re.sub(r"^([a-z][a-z0-9+.-]+):/(?!/)", r"\1://", str(path), flags=re.IGNORECASE)
