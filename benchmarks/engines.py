"""What else can run a module: a compiler, ONNX Runtime, and PyG with its compiled extension switched on."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec

import torch
import torch_geometric.typing
from torch import Tensor, nn

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# What PyG has found, before anybody turns its switch.
HAS_TORCH_SCATTER = bool(torch_geometric.typing.WITH_TORCH_SCATTER)


class UnavailableError(RuntimeError):
    """This candidate cannot run here, and why."""


def compiled(module: nn.Module, backend: str) -> Callable[..., Tensor]:
    """One graph for B = 1, of which PyTorch always makes a case of its own, and one for every other B."""
    return torch.compile(module, fullgraph=True, dynamic=True, backend=backend)


def graphs_compiled() -> int:
    """Graphs that dynamo has traced in this process so far."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def onnx_runtime(module: nn.Module, example: Sequence[Tensor], threads: int) -> Callable[..., Tensor]:
    """Exports a module with a free batch size, and gives what runs it in ONNX Runtime.

    Args:
        module: takes tensors [B, ...], gives one.
        example: tensors of the shapes that it takes, B of 2 at least.
        threads: of one call.

    Raises:
        UnavailableError: if a package is missing, or the export fails.
    """
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise UnavailableError(f"not installed: {', '.join(missing)}")
    import onnxruntime

    batch = torch.export.Dim("B")
    with _silence():
        try:
            program = torch.onnx.export(
                module, tuple(example), dynamo=True, verbose=False, dynamic_shapes=tuple({0: batch} for _ in example)
            )
            assert program is not None
            exported = program.model_proto.SerializeToString()
        except Exception as error:  # whatever an exporter may raise, the other candidates must still be measured
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            reason = (str(cause).strip().splitlines() or [""])[0]
            raise UnavailableError(f"export failed: {type(cause).__name__}: {reason}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])

    return run


def switch_torch_scatter(on: bool) -> None:
    """Lets PyG use torch-scatter or not, from now on; it looks at this switch in each call."""
    torch_geometric.typing.WITH_TORCH_SCATTER = on and HAS_TORCH_SCATTER


@contextlib.contextmanager
def torch_scatter() -> Iterator[None]:
    """Lets PyG use torch-scatter meanwhile.

    Raises:
        UnavailableError: if it is not installed.
    """
    if not HAS_TORCH_SCATTER:
        raise UnavailableError("not installed: torch-scatter")
    switch_torch_scatter(True)
    try:
        yield
    finally:
        switch_torch_scatter(False)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter warns of what is not the user's doing."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
