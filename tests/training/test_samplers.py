from collections.abc import Sequence

import pytest
import torch
from torch_geometric.data import Data

from lgcn.checks import InputError
from lgcn.datasets.corrupt_images import without_landmarks
from lgcn.training.samplers import PaddedDataset, Replica, SeededSampler


def order(num_faces: int, batch_size: int, num_replicas: int = 1, rank: int = 0, epoch: int = 0) -> list[int]:
    return [index for index, _ in pairs(num_faces, batch_size, num_replicas, rank, epoch)]


def pairs(
    num_faces: int, batch_size: int, num_replicas: int = 1, rank: int = 0, epoch: int = 0
) -> list[tuple[int, int]]:
    sampler = SeededSampler(range(num_faces), 3, batch_size, Replica(num_replicas, rank))  # type: ignore[arg-type]
    sampler.set_epoch(epoch)
    first = list(sampler)
    assert list(sampler) == first, "it can be iterated again"
    assert len(first) == len(sampler)
    return first


def batches(faces: Sequence[int], batch_size: int) -> list[Sequence[int]]:
    return [faces[start : start + batch_size] for start in range(0, len(faces), batch_size)]


@pytest.mark.parametrize("num_faces", [8, 15, 16, 17, 23, 24])
@pytest.mark.parametrize("num_replicas", [2, 4])
def test_batches_of_all_processes_together_are_those_of_one(num_faces: int, num_replicas: int) -> None:
    alone = batches(order(num_faces, 8), 8)
    size = 8 // num_replicas
    each = [batches(order(num_faces, size, num_replicas, rank), size) for rank in range(num_replicas)]
    assert len(alone) == num_faces // 8
    together = [sorted(face for part in parts for face in part) for parts in zip(*each, strict=True)]
    assert together == [sorted(batch) for batch in alone]


def test_the_seed_of_a_face_does_not_depend_on_the_number_of_processes() -> None:
    alone = dict(pairs(16, 8, epoch=2))
    assert len(set(alone.values())) == 16
    for rank in (0, 1):
        assert all(alone[index] == seed for index, seed in pairs(16, 4, 2, rank, epoch=2))
    assert set(alone.values()).isdisjoint(dict(pairs(16, 8, epoch=3)).values())


def test_the_order_follows_from_the_epoch_and_leaves_the_rest_of_a_batch_out() -> None:
    first, second = order(10, 4), order(10, 4, epoch=1)
    assert len(first) == len(set(first)) == 8
    assert first != second


@pytest.mark.parametrize(("num_faces", "lengths"), [(5, [2, 2]), (2, [1, 1]), (7, [3, 3]), (8, [4, 4])])
def test_processes_have_as_many_faces_each_where_there_are_fewer_than_a_batch(
    num_faces: int, lengths: list[int]
) -> None:
    shares = [order(num_faces, 4, 2, rank) for rank in range(2)]
    assert [len(share) for share in shares] == lengths
    assert not set(shares[0]) & set(shares[1])
    assert len(order(num_faces, 50)) == num_faces


def test_fewer_faces_than_processes_are_refused() -> None:
    with pytest.raises(InputError, match="processes, 4, or more .got 3"):
        order(3, 1, 4, 0)


def face(number: int) -> Data:
    return Data(y=torch.full((3, 2), float(number)), visibility=torch.tensor([1.0, 0.0, 1.0]))


@pytest.mark.parametrize(("num_replicas", "length"), [(1, 5), (2, 6), (4, 8), (7, 7)])
def test_padding_counts_no_face_twice(num_replicas: int, length: int) -> None:
    faces = PaddedDataset([face(number) for number in range(5)], num_replicas)
    assert len(faces) == length
    counted = [int(item.y[0, 0]) for item in map(faces.__getitem__, range(length)) if item.visibility.any()]
    assert counted == [0, 1, 2, 3, 4]


def test_a_face_without_landmarks_is_a_copy() -> None:
    whole = face(1)
    assert without_landmarks(whole).visibility.tolist() == [0, 0, 0]
    assert whole.visibility.tolist() == [1, 0, 1]
