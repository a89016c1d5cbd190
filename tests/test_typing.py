import torch

from lgcn.typing import DetectorOutput, KeyPoints


def test_records_print_the_shapes_of_what_is_known() -> None:
    pos, confidence = torch.zeros(2, 5, 2), torch.zeros(2, 5)
    assert repr(KeyPoints(pos, mask=confidence > 0)) == "KeyPoints(pos=[2, 5, 2], mask=[2, 5])"
    heatmaps = torch.zeros(2, 5, 8, 8)
    output = DetectorOutput(pos, pos, confidence, heatmaps, intermediate=(heatmaps, heatmaps))
    assert repr(output) == (
        "DetectorOutput(pos=[2, 5, 2], initial=[2, 5, 2], confidence=[2, 5], heatmaps=[2, 5, 8, 8], "
        "intermediate=([2, 5, 8, 8], [2, 5, 8, 8]))"
    )
