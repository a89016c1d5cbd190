"""The examples of own networks, GNNs and landmarks, in reduced form."""

import re
from pathlib import Path

from tests.examples.running import EXAMPLES, run_example


def test_own_network_learns_the_marks_of_cards(tmp_path: Path) -> None:
    printed = run_example("own_network.py", tmp_path, "--steps", "60")
    network, graph = (float(each) for each in re.findall(r"(\d+\.\d\d) px", printed))
    assert network < 8  # 20 before training
    assert graph < 1.2 * network
    text = (EXAMPLES / "own_network.py").read_text()
    code = text[text.index("class Network") :]
    assert len([line for line in code.splitlines() if line.strip()]) <= 45


def test_own_gnn_repairs_points_and_is_explained(tmp_path: Path) -> None:
    printed = run_example("own_gnn.py", tmp_path, "--steps", "150")
    detected, refined = (float(each) for each in re.findall(r"(\d+\.\d\d) px", printed))
    assert refined < 0.98 * detected  # half of it after 400 steps
    assert re.search(r"index_tip listens to: \w+, \w+, \w+", printed)


def test_hand_graphs_are_pyg_data(tmp_path: Path) -> None:
    printed = run_example("hand_graphs.py", tmp_path, "--images", "10", "--epochs", "10")
    assert "10 graphs, the first: Data(" in printed
    assert "edge_index=[2, 420]" in printed
    (percent,) = (float(each) for each in re.findall(r"correctly: (\d+) %", printed))
    assert percent > 30  # 19 % by chance
