"""What is told of covered landmarks and of failures, from figures that are known."""

import pytest
import torch
from torch import Tensor

from benchmarks.reliability import COVERING, OTHERS, summarize


def condition(nme: list[float], covered: list[list[bool]], doubt: list[list[float]]) -> dict[str, Tensor]:
    errors, doubts = torch.tensor(nme), torch.tensor(doubt)
    ranked = ("mean confidence", "expected error over the size of the face", "residuals of landmarks")
    scores = dict.fromkeys(ranked, torch.ones(len(nme))) | {"score": -errors}
    return {"nme": errors, "covered": torch.tensor(covered), "doubt": doubts, "called": doubts > 0.5, **scores}


def test_areas_precision_and_recall() -> None:
    found = {
        name: condition([0.02, 0.2], [[True, True, False], [False, True, False]], [[0.9, 0.4, 0.6], [0.1, 0.8, 0.2]])
        for name in (*COVERING, *OTHERS)
    }
    found["clean"] = condition([0.02, 0.03], [[False] * 3] * 2, [[0.0] * 3] * 2)
    figures = summarize(found)
    patch = figures["covered"]["patch40"]
    # Of three landmarks called covered two are; of three that are covered two are called so.
    assert patch["precision"] == patch["recall"] == pytest.approx(2 / 3)
    # Of the nine pairs of a covered and a visible landmark, one is in the wrong order: 0.4 against 0.6.
    assert patch["auroc"] == pytest.approx(8 / 9)
    assert patch["auroc_with_clean_faces"] == pytest.approx(1 - 1 / 27)
    assert figures["called_covered"]["clean"] == 0

    fits = figures["fits"]["all"]
    assert (fits["faces"], fits["fits"]) == (22, 12)
    assert fits["score"] == 1 and fits["mean confidence"] == pytest.approx(0.5)
    assert figures["fits"]["no_box_off"]["faces"] == 16
