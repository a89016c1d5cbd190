"""Backends other than eager PyTorch: compilers, ONNX Runtime, and PyG with torch-scatter."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch._inductor
import torch_geometric.typing
from torch import Tensor, nn

from benchmarks.measuring import resident_peak_bytes

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# As PyG found it on import, before the switch is changed.
HAS_TORCH_SCATTER = bool(torch_geometric.typing.WITH_TORCH_SCATTER)


class UnavailableError(RuntimeError):
    """The candidate cannot run here; the message says why."""


def compiled(module: nn.Module, backend: str) -> Callable[..., Tensor]:
    """Compiles without graph breaks; PyTorch specialises B = 1 and compiles one graph for all other B."""
    return torch.compile(module, fullgraph=True, dynamic=True, backend=backend)


def ahead_of_time(module: nn.Module, example: Sequence[Tensor]) -> Callable[..., Tensor]:
    """Exports a module with a dynamic batch size and compiles it into a library with AOTInductor.

    No Python runs between the operations, and no guards are checked before a call.

    Args:
        module: maps tensors [B, ...] to one tensor.
        example: inputs of the right shapes, with B of 2 or more.
    """
    batch = torch.export.Dim("B")
    with torch.no_grad(), _silence(), TemporaryDirectory() as folder:
        program = torch.export.export(module, tuple(example), dynamic_shapes=tuple({0: batch} for _ in example))
        package = torch._inductor.aoti_compile_and_package(program, package_path=str(Path(folder) / "module.pt2"))
        return torch._inductor.aoti_load_package(package)


def graphs_compiled() -> int:
    """Number of graphs that dynamo has traced in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


class OnnxRuntime:
    """A module in ONNX Runtime, exported with a dynamic batch size.

    Args:
        module: maps tensors [B, ...] to one tensor.
        example: inputs of the right shapes, with B of 2 or more.
        threads: used by one call.

    Raises:
        UnavailableError: if a package is missing, or the export fails.
    """

    def __init__(self, module: nn.Module, example: Sequence[Tensor], threads: int) -> None:
        missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
        if missing:
            raise UnavailableError(f"not installed: {', '.join(missing)}")
        batch = torch.export.Dim("B")
        with _silence():
            try:
                program = torch.onnx.export(
                    module,
                    tuple(example),
                    dynamo=True,
                    verbose=False,
                    dynamic_shapes=tuple({0: batch} for _ in example),
                )
                assert program is not None
                self._exported = program.model_proto.SerializeToString()
            except Exception as error:  # an exporter may raise anything; the rest is still measured
                cause: BaseException = error
                while cause.__cause__ is not None:
                    cause = cause.__cause__
                reason = (str(cause).strip().splitlines() or [""])[0]
                raise UnavailableError(f"export failed: {type(cause).__name__}: {reason}") from error
        self.threads = threads
        self._session = self._start()

    def __call__(self, *inputs: Tensor) -> Tensor:
        return self._run(self._session, inputs)

    def peak_bytes(self, *inputs: Tensor) -> int | None:
        """Growth of the resident memory during one call, in a session without a memory arena."""
        session = self._start(enable_cpu_mem_arena=False)
        self._run(session, inputs)
        return resident_peak_bytes(lambda: self._run(session, inputs))

    def _start(self, **options: bool) -> Any:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = self.threads, 1
        for name, value in options.items():
            setattr(settings, name, value)
        return onnxruntime.InferenceSession(self._exported, settings, providers=["CPUExecutionProvider"])

    def _run(self, session: Any, inputs: Sequence[Tensor]) -> Tensor:
        names = [each.name for each in session.get_inputs()]
        given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])


def switch_torch_scatter(on: bool) -> None:
    """Switches PyG's use of torch-scatter, which it looks up in each call."""
    torch_geometric.typing.WITH_TORCH_SCATTER = on and HAS_TORCH_SCATTER


@contextlib.contextmanager
def torch_scatter() -> Iterator[None]:
    """Context in which PyG uses torch-scatter.

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
    """Hides warnings of the exporter that do not concern the user."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
