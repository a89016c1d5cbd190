"""docs/own_landmarks.md in reduced form: its file, its commands and its server, on twelve images of noise."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

import lgcn.cli.main
from tests.datasets.synthetic import pts_tree
from tests.scripts import ENVIRONMENT, run_script
from tests.test_docs import DOCS

TEXT = (DOCS / "own_landmarks.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODEL = "runs/default/version_0/model"
SMALL = (
    "--model.detector.backbone test_efficientnet --model.detector.input_size [32,32] --trainer.max_epochs 1 "
    "--data.num_workers 0 --data.batch_size 4 --data.val_fraction 0.2 --trainer.accelerator cpu "
    "--trainer.num_sanity_val_steps 0 --trainer.enable_progress_bar false --trainer.enable_model_summary false"
)


def blocks(kind: str) -> list[str]:
    return [text for found, text in FENCED.findall(TEXT) if found == kind]


def run(command: str, folder: Path) -> str:
    """Output of a command of the page, in a process of its own."""
    words = shlex.split(command)
    assert words[0] == "lgcn"
    return run_script(Path(lgcn.cli.main.__file__), folder, *words[1:])


def post(url: str, image: bytes, tries: int = 240) -> dict[str, list[float]]:
    for _ in range(tries):
        try:
            return json.loads(urlopen(url, data=image).read())
        except URLError:
            time.sleep(0.5)
    pytest.fail("the server did not start")


def test_from_a_folder_to_a_server(tmp_path: Path) -> None:
    pts_tree(tmp_path, "faces", 12, num_landmarks=5)
    (definition,) = blocks("yaml")
    (tmp_path / "five.yaml").write_text(definition)
    check, fit, apply = (block.replace("\\\n", " ").splitlines() for block in blocks("bash"))
    assert "12 faces checked: no findings" in run(check[0], tmp_path)
    run(f"{fit[0]} {SMALL}", tmp_path)
    (tmp_path / "five.yaml").unlink()  # the model does not need it
    saved = json.loads((tmp_path / MODEL / "config.json").read_text())
    assert saved["scheme"]["names"] == ["right_eye", "left_eye", "nose", "right_mouth", "left_mouth"]

    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\nfaces/0.png,5,5,45,45\n")
    evaluate, predict = apply
    assert "inter_pupil" in run(evaluate, tmp_path)
    run(predict.replace("lgcn predict faces", "lgcn predict faces/0.png"), tmp_path)
    (face,) = json.loads((tmp_path / "out/landmarks.json").read_text())[0]["faces"]
    assert len(face["landmarks"]) == 5

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    (server,) = blocks("py")
    (tmp_path / "serve.py").write_text(server.replace("8000", str(port)))
    command, environment = [sys.executable, "serve.py"], {**os.environ, **ENVIRONMENT}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        found = post(f"http://localhost:{port}/?box=5,5,45,45", (tmp_path / "faces/0.png").read_bytes())
    finally:
        process.kill()
        process.wait()
    assert list(found) == saved["scheme"]["names"]
    assert all(len(pos) == 2 for pos in found.values())
