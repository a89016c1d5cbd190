"""Static int8 quantisation of an exported ONNX file, for CPUs."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from lgcn.checks import InputError
from lgcn.export.formats import check_onnx_installed, quiet
from lgcn.files import replace_when_done

_CHUNK = 8


class _Crops:
    """Batches of crops for ONNX Runtime's calibration (its ``CalibrationDataReader``)."""

    def __init__(self, crops: Tensor) -> None:
        self._batches: Iterator[Tensor] = iter(crops.split(_CHUNK))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch.numpy()}


def quantize(source: str | os.PathLike[str], target: str | os.PathLike[str], crops: Tensor) -> None:
    """Write a copy of an ONNX file whose convolutions compute in int8: about a third of the size.

    Weights get a scale for each channel, activations one for each tensor, from the crops. Decoding and graph stay in
    float32, as do the convolutions in which int8 costs most accuracy: depthwise ones, the first one, which sees the
    pixels, and the last one, from which positions are read. Seven bits of the weights are used, since CPUs without VNNI
    instructions overflow with eight. On such CPUs the copy is smaller, but not faster.

    Args:
        source: an ``.onnx`` file of :func:`lgcn.export.export_detector`.
        target: file to write, replaced if it exists.
        crops: [N, 3, H, W] in the type of the file's input; a few dozen different faces.

    Raises:
        InputError: without crops, or the packages of the extra ``export``.
    """
    check_onnx_installed()
    if not len(crops):
        raise InputError("Expected 'crops' of at least one face to calibrate with (got none).")
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / "prepared.onnx"
        # Folds batch norms into convolutions, which must precede the choice of scales.
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        metadata = onnx.load(str(source), load_external_data=False).metadata_props
        in_float = _nodes_in_float(onnx.load(str(prepared)))
        with replace_when_done(Path(target)) as temporary:
            quantize_static(
                str(prepared),
                str(temporary),
                _Crops(crops),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Add"],
                nodes_to_exclude=in_float,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
            model = onnx.load(str(temporary))
            onnx.helper.set_model_props(model, {each.key: each.value for each in metadata})
            onnx.save(model, str(temporary))


def _nodes_in_float(model: Any) -> list[str]:
    """Names of nodes that stay in float32: some convolutions, and all that is computed after the last one."""
    nodes = list(model.graph.node)
    places = [place for place, node in enumerate(nodes) if node.op_type == "Conv"]
    depthwise = [
        place for place in places if any(each.name == "group" and each.i > 1 for each in nodes[place].attribute)
    ]
    return [nodes[place].name for place in {*places[:1], *depthwise, *range(places[-1], len(nodes))}]
