import gc
import weakref

import pytest
import torch

from lgcn.checks import InputError
from lgcn.geometry import landmark_box
from lgcn.predict import LandmarkPredictor
from lgcn.video import KalmanSmoother, LandmarkTracker, VideoFrame
from lgcn.video.tracker import match_boxes
from tests.predict.spots import SpotDetector, draw_spots, triangle
from tests.video.moving import KnownFaces, frames, spot_predictor, two_faces

STILL = triangle(20.0, 15.0)


def track(scenes, **options):  # type: ignore[no-untyped-def]
    """The faces of each frame, and how often the face detector ran."""
    found = KnownFaces()
    tracker = LandmarkTracker(spot_predictor(found), **{"smoother": None, **options})
    return [faces for _, faces in tracker.stream(frames(found, scenes))], found.calls


def numbers(results) -> list[list[int]]:  # type: ignore[no-untyped-def]
    return [[face.track for face in faces] for faces in results]


def test_faces_keep_their_numbers_while_they_move_past_each_other() -> None:
    scenes = [two_faces(t) for t in range(50)]
    results, detections = track(scenes, detect_every=1000)
    assert numbers(results) == [[0, 1]] * 50
    assert detections == 1
    for faces, targets in zip(results, scenes, strict=True):
        for each, target in zip(faces, targets, strict=True):
            assert (each.measured - target).abs().max() < 0.5
            assert torch.equal(each.face.landmarks, each.measured)
            assert torch.equal(each.face.box, landmark_box(each.measured))


def test_a_turned_face_is_found_after_a_few_frames() -> None:
    pos = torch.tensor([[110.0, 40.0], [95.0, 80.0], [125.0, 80.0]])

    def if_upright(image: torch.Tensor) -> torch.Tensor:
        """Finds the face where the image is higher than wide."""
        box = torch.tensor([[30.0, 80.0, 90.0, 140.0]])
        return box if image.shape[1] > image.shape[2] else box[:0]

    found: list[int] = []
    for turned in (True, False):
        predictor = LandmarkPredictor(SpotDetector(), if_upright, min_confidence=0.5, turned=turned)
        tracker = LandmarkTracker(predictor, smoother=None)
        counts = [len(faces) for _, faces in tracker.stream([draw_spots((120, 220), pos)] * 8)]
        found.append(counts.index(1) if 1 in counts else -1)
    assert 0 < found[0] < 7
    assert found[1] == -1


def test_a_known_face_is_predicted_in_one_pass_of_one_batch() -> None:
    found = KnownFaces()
    predictor = spot_predictor(found)
    tracker = LandmarkTracker(predictor)
    for image in frames(found, [two_faces(t) for t in range(3)]):
        tracker(image)
    # Each new face in two passes; then both together.
    assert [len(batch) for batch in predictor.detector.batches] == [2, 2, 2, 2]  # type: ignore[union-attr]


def test_new_faces_are_found_at_the_next_search() -> None:
    results, detections = track([two_faces(0)[:1]] * 3 + [two_faces(0)] * 8, detect_every=5)
    assert numbers(results) == [[0]] * 5 + [[0, 1]] * 6
    assert detections == 3  # in frames 0, 5 and 10


def test_a_face_that_comes_back_where_it_was_keeps_its_number() -> None:
    results, detections = track([[STILL]] * 3 + [[]] * 4 + [[STILL + 3]] * 3, detect_every=1000)
    assert numbers(results) == [[0]] * 3 + [[]] * 4 + [[0]] * 3
    assert detections == 1 + 4


def test_a_face_that_comes_back_elsewhere_or_late_is_another() -> None:
    elsewhere, _ = track([[STILL]] * 3 + [[]] * 4 + [[STILL + torch.tensor([120.0, 40.0])]] * 3)
    late, _ = track([[STILL]] * 3 + [[]] * 4 + [[STILL]] * 3, patience=2)
    assert numbers(elsewhere) == numbers(late) == [[0]] * 3 + [[]] * 4 + [[1]] * 3


def test_a_face_that_leaves_the_image_is_lost() -> None:
    results, _ = track([[triangle(150.0 + 10 * t, 15.0)] if t < 6 else [] for t in range(10)])
    assert numbers(results)[0] == [0] and numbers(results)[-1] == []


def test_smoothing_starts_anew_after_a_gap() -> None:
    scenes = [[STILL]] * 3 + [[]] + [[STILL + 8]]
    results, _ = track(scenes, smoother=KalmanSmoother(100.0))
    assert torch.equal(results[-1][0].face.landmarks, results[-1][0].measured)


def test_smoothed_landmarks_are_returned_beside_the_measured_ones() -> None:
    results, _ = track([[STILL + 2 * (t % 2)] for t in range(20)], smoother=KalmanSmoother(100.0))
    measured = torch.stack([faces[0].measured for faces in results])
    smoothed = torch.stack([faces[0].face.landmarks for faces in results])
    assert smoothed[5:].diff(dim=0).norm(dim=-1).mean() < 0.5 * measured[5:].diff(dim=0).norm(dim=-1).mean()
    assert torch.equal(landmark_box(smoothed[-1]), results[-1][0].face.box)


def test_memory_does_not_grow_with_the_video() -> None:
    found, alive, most = KnownFaces(), weakref.WeakSet(), 0  # type: ignore[var-annotated]
    found.faces = [STILL]

    def images():  # type: ignore[no-untyped-def]
        for image in frames(found, [[STILL]] * 60):
            alive.add(image)
            yield image

    for _ in LandmarkTracker(spot_predictor(found), detect_every=7).stream(images()):
        if len(alive) > 2:
            gc.collect()  # what is only in cycles; takes a second after many other tests
        most = max(most, len(alive))
    assert most <= 2


def test_times_of_frames_are_used_and_have_to_grow() -> None:
    found = KnownFaces()
    tracker = LandmarkTracker(spot_predictor(found))
    image = next(frames(found, [[STILL]]))
    given = [VideoFrame(number, time, image) for number, time in enumerate((5.0, 5.2))]
    assert [frame.time for frame, _ in tracker.stream(given)] == [5.0, 5.2]
    with pytest.raises(InputError, match=r"'time' to be later .* 5\.2 s .got 5\.2."):
        tracker(image, 5.2)
    tracker.reset()
    assert [face.track for face in tracker(image, 0.0)] == [0]


@pytest.mark.parametrize("options", [{"detect_every": 0}, {"patience": -1}])
def test_bad_values(options) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=next(iter(options))):
        LandmarkTracker(spot_predictor(KnownFaces()), **options)


def test_boxes_are_matched_for_the_largest_overlap_in_all() -> None:
    first = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [100, 0, 110, 10]])
    second = torch.tensor([[3.0, 0, 13, 10], [-3, 0, 7, 10]])
    # The nearest first would give [3, 0, 13, 10] to the second box, too, but for another reason.
    assert match_boxes(first, second) == [(0, 1), (1, 0)]
    assert match_boxes(first[2:], second) == [] and match_boxes(first, second[:0]) == []
