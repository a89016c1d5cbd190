import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lgcn

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_two_gloo_processes_agree_with_numpy(tmp_path: Path) -> None:
    target = 200 * torch.rand(50, 7, 2)
    normalizer = 20 + 80 * torch.rand(50)
    preds = target + 0.06 * normalizer[:, None, None] * torch.randn(50, 7, 2)
    visibility = (torch.rand(50, 7) > 0.2).float()
    visibility[33] = 0
    torch.save((preds, target, normalizer, visibility), tmp_path / "case.pt")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(lgcn.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second

    distance = np.linalg.norm((preds - target).double().numpy(), axis=-1) / normalizer.double().numpy()[:, None]
    distance[visibility.numpy() == 0] = np.nan
    errors = np.nanmean(np.delete(distance, 33, axis=0), axis=1)
    assert first["per_landmark"] == pytest.approx(np.nanmean(distance, axis=0).tolist(), abs=1e-6)
    assert first["percentiles"] == pytest.approx(np.percentile(errors, (90, 95, 99)).tolist(), abs=1e-6)
    for percent in (5, 8):
        threshold = percent / 100
        assert first[f"nme@{percent}"] == pytest.approx(errors.mean(), abs=1e-6)
        assert first[f"fr@{percent}"] == pytest.approx((errors > threshold).mean(), abs=1e-6)
        area = np.maximum(threshold - errors, 0).mean() / threshold
        assert first[f"auc@{percent}"] == pytest.approx(area, abs=1e-6)
