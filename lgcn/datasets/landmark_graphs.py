"""Landmark graphs of a detector for all faces of a dataset, kept on disk."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.loader import DataLoader
from tqdm import tqdm

from lgcn.checks import InputError, InputFileError, check_at_least, shown
from lgcn.datasets.base import LandmarkDataset
from lgcn.files import write_text
from lgcn.modes import eval_mode
from lgcn.schemes import LandmarkScheme
from lgcn.transforms import CropToInput
from lgcn.typing import Size

KEPT = ("visibility", "affine", "normalizer", "bbox")
"""Tensors of a face that its graph keeps."""


class GraphSource(Protocol):
    """The part of :class:`lgcn.models.LandmarkDetector` that is used here; a :class:`torch.nn.Module` too."""

    scheme: LandmarkScheme
    input_size: Size

    def landmark_graphs(self, images: Tensor, y: Tensor | None = None) -> Batch:
        """Images [B, 3, H, W] and true landmarks [B, K, 2] -> B graphs."""
        ...


class LandmarkGraphs(InMemoryDataset):
    """One graph a face: what a detector's refiner gets, and the true landmarks.

    Each item is a ``Data`` of :meth:`lgcn.models.LandmarkDetector.landmark_graphs` with ``x`` [K, C], ``pos`` [K, 2],
    ``confidence`` [K], ``landmark_id`` [K], fully connected ``edge_index`` [2, E], where the refiner has them
    ``edge_weight`` [E], and from the annotation ``y`` [K, 2] (pixels of the network input, as ``pos``), ``visibility``
    [K], ``affine`` [1, 2, 3] (image to input), ``normalizer`` [1] and ``bbox`` [1, 4] (pixels of the image) and
    ``image_id``. The graphs are computed once, in eval mode and without augmentation, and stored in
    ``root/processed``, as PyG's own datasets are; the common ``edge_index`` is stored once.

    >>> graphs = LandmarkGraphs("graphs/train", IBUG300W("300w", "train"), LandmarkDetector.from_pretrained("lgcn-68"))
    >>> graphs = LandmarkGraphs("graphs/train")  # later, from the disk alone

    Args:
        root: folder of the graphs.
        dataset: faces; its ``transform`` is not used. None if the graphs are on disk.
        detector: the detector whose graphs they are. None if the graphs are on disk.
        transform: from ``Data`` to ``Data``, applied on access.
        pre_transform: from ``Data`` to ``Data``, applied before graphs are stored.
        pre_filter: from ``Data`` to bool, whether a graph is stored.
        force_reload: compute the graphs again.
        batch_size: faces in a batch while graphs are computed.

    Raises:
        InputError: without graphs on disk and without ``dataset`` or ``detector``; if their schemes differ.
        InputFileError: if the graphs on disk are those of another dataset or detector, or cannot be read.
    """

    def __init__(
        self,
        root: str | Path,
        dataset: LandmarkDataset | None = None,
        detector: GraphSource | None = None,
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        force_reload: bool = False,
        batch_size: int = 32,
    ) -> None:
        self._source = (dataset, detector)
        self._batch_size = check_at_least("batch_size", batch_size, 1)
        folder = Path(root).expanduser() / "processed"
        stored = folder / "source.json"
        if (force_reload or not (folder / "graphs.pt").is_file()) and (dataset is None or detector is None):
            raise InputError(
                f"Expected 'dataset' and 'detector' to compute graphs from (got no graphs in '{root}', and "
                f"{'no dataset' if dataset is None else 'no detector'})."
            )
        if dataset is not None and not isinstance(dataset, LandmarkDataset):
            raise InputError(f"Expected 'dataset' to be a LandmarkDataset (got {shown(dataset)}).")
        if detector is not None and not hasattr(detector, "landmark_graphs"):
            raise InputError(
                f"Expected 'detector' to be a LandmarkDetector (got {shown(detector)}). Load a saved one with "
                "LandmarkDetector.from_pretrained."
            )
        if dataset is not None and detector is not None:
            if dataset.scheme.name != detector.scheme.name:
                raise InputError(
                    f"Expected 'detector' to have the dataset's scheme '{dataset.scheme.name}' "
                    f"(got '{detector.scheme.name}')."
                )
            if not force_reload and stored.is_file() and json.loads(stored.read_text()) != self._describe():
                raise InputFileError(
                    f"Expected the graphs in '{root}' to be those of this dataset and detector (got others, see "
                    f"{stored}). Use another folder, or force_reload=True."
                )
        super().__init__(str(Path(root).expanduser()), transform, pre_transform, pre_filter, force_reload=force_reload)
        try:
            self.load(self.processed_paths[0])
            self.edge_index = torch.load(self.processed_paths[1], weights_only=True)
        except Exception as error:
            raise InputFileError(
                f"Expected graphs in '{self.processed_dir}' (they cannot be read: {error}). Use force_reload=True."
            ) from error

    @property
    def processed_file_names(self) -> list[str]:
        return ["graphs.pt", "edge_index.pt", "source.json"]

    def _describe(self) -> dict[str, Any]:
        """What the graphs depend on, as plain values."""
        dataset, detector = self._source
        assert dataset is not None
        assert detector is not None
        faces = list(dataset.indices())
        parts = (dataset.pos, dataset.visibility, dataset.bbox, dataset.normalizer)
        # Such as how heatmaps are decoded; as in a saved model, so that a loaded one is the same.
        saved = getattr(getattr(detector, "config", None), "saved", None)
        return {
            "dataset": type(dataset).__name__,
            "split": dataset.split,
            "scheme": dataset.scheme.name,
            "protocol": dataset.protocol.name,
            "faces": len(faces),
            "annotation": _digest([dataset.image_ids[face] for face in faces], *(part[faces] for part in parts)),
            "detector": type(detector).__name__,
            "input_size": list(detector.input_size),
            "config": None if saved is None else _digest([repr(saved())]),
            "weights": _digest([], *cast(nn.Module, detector).state_dict().values()),
        }

    def process(self) -> None:
        dataset, detector = self._source
        assert dataset is not None
        assert detector is not None
        protocol = dataset.protocol.for_rectangles() if dataset.crops_by_rect else dataset.protocol
        given, dataset.transform = dataset.transform, CropToInput(detector.input_size, **protocol.crop_options)
        network = cast(nn.Module, detector)
        device = next(network.parameters()).device
        graphs: list[Data] = []
        try:
            with eval_mode(network), torch.no_grad():
                for batch in tqdm(DataLoader(dataset, batch_size=self._batch_size), desc="graphs", disable=None):
                    B = batch.num_graphs
                    found = detector.landmark_graphs(batch.image.to(device), batch.y.view(B, -1, 2).to(device))
                    pairs = zip(found.to_data_list(), batch.to_data_list(), strict=True)
                    graphs += [self._join(*pair) for pair in pairs]
        finally:
            dataset.transform = given
        torch.save(graphs[0].edge_index.clone(), self.processed_paths[1])
        if self.pre_transform is None:  # which may change the edges
            for graph in graphs:
                del graph.edge_index
        if self.pre_filter is not None:
            graphs = [graph for graph in graphs if self.pre_filter(graph)]
        if self.pre_transform is not None:
            graphs = [self.pre_transform(graph) for graph in graphs]
        if not graphs:
            raise InputError("Expected graphs to store (got none: 'pre_filter' left all out).")
        self.save(graphs, self.processed_paths[0])
        write_text(Path(self.processed_paths[2]), json.dumps(self._describe(), indent=1) + "\n")

    @staticmethod
    def _join(graph: Data, face: Data) -> Data:
        """The graph of a face, on the CPU, with what is known of the face."""
        joined = graph.cpu()
        for name in KEPT:
            joined[name] = face[name]
        joined.image_id = face.image_id
        return joined

    def get(self, idx: int) -> Data:
        data = super().get(idx)
        if "edge_index" not in data:
            data.edge_index = self.edge_index
        return data


def _digest(texts: Sequence[str], *tensors: Tensor) -> str:
    """A hash of texts and of the bytes of tensors, in their order."""
    digest = hashlib.blake2b("\0".join(map(ascii, texts)).encode(), digest_size=16)
    for tensor in tensors:
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
