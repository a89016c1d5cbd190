"""What any input must give: a sound dataset or an ``InputError``; and inputs that are nearly right."""

from collections.abc import Callable, Sequence

import torch
from hypothesis import settings
from hypothesis import strategies as st

from lgcn.checks import InputError
from lgcn.datasets import LandmarkDataset

thousand = settings(max_examples=1000, deadline=None, derandomize=True)
"""As many cases as the issue asks for, the same on every run."""

odd_numbers = st.one_of(
    st.sampled_from(["", " ", "nan", "NaN", "inf", "-inf", "1e400", "1e39", "-1", "0", "1", "2", "7.5", "1,5", "0x1f"]),
    st.floats().map(repr),
    st.integers().map(str),
)
odd_texts = st.one_of(odd_numbers, st.text(max_size=6), st.sampled_from(["\0", "\r", '"', "../a", "/", "."]))


def assert_sound_or_refused(read: Callable[[], LandmarkDataset]) -> LandmarkDataset | None:
    """The dataset that ``read`` gives, looked over, or None where it raised an :class:`InputError` of one line."""
    refusal = ""
    try:
        dataset = read()
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        return None
    N, K = len(dataset), dataset.scheme.num_landmarks
    assert len(dataset.image_ids) == N
    assert dataset.pos.shape == (N, K, 2) and dataset.pos.dtype == torch.float32
    assert dataset.visibility.shape == (N, K)
    visible = dataset.visibility > 0
    assert (visible == dataset.pos.isfinite().all(-1)).all()
    assert (visible.sum(1) >= 2).all()
    assert dataset.bbox.shape == (N, 4) and dataset.bbox.isfinite().all()
    assert (dataset.bbox[:, 2:] >= dataset.bbox[:, :2]).all()
    assert ((dataset.normalizer > 0) | dataset.normalizer.isnan()).all()
    assert not dataset.normalizer.isinf().any()
    assert all(mask.dtype == torch.bool and mask.shape == (N,) for mask in dataset.subsets.values())
    assert dataset.rect is None or dataset.rect.shape == (N, 4)
    assert dataset.occlusion is None or dataset.occlusion.shape == (N, K)
    assert dataset.completeness().found == N
    return dataset


def nearly(fields: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """``fields`` with up to three replaced, and sometimes one too many or too few."""
    changes = st.lists(st.tuples(st.integers(0, len(fields) - 1), odd_texts), max_size=3)
    return st.builds(_change, st.just(list(fields)), changes, st.sampled_from([0, 0, 0, 0, -1, 1]))


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """``content`` with some bytes replaced, and sometimes cut off."""
    changes = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)
    cut = st.one_of(st.just(len(content)), st.integers(0, len(content)))
    return st.builds(_damage, st.just(content), changes, cut)


def _change(fields: list[str], changes: list[tuple[int, str]], extra: int) -> list[str]:
    fields = list(fields)
    for index, text in changes:
        fields[index] = text
    return fields[:-1] if extra < 0 else fields + extra * ["0"]


def _damage(content: bytes, changes: list[tuple[int, int]], length: int) -> bytes:
    array = bytearray(content)
    for where, byte in changes:
        array[where] = byte
    return bytes(array[:length])
