import json

import torch

from lgcn.predict import Face


def test_to_dict_is_short_and_plain() -> None:
    face = Face(
        box=torch.tensor([0.1, 0.2, 100.3, 200.7]),
        landmarks=torch.tensor([[1 / 3, 1000.1]]),
        initial=torch.tensor([[2.0, -1.5]]),
        confidence=torch.tensor([2 / 3]),
        connectivity=torch.eye(1),
    )
    assert json.dumps(face.to_dict()) == (
        '{"box": [0.1, 0.2, 100.3, 200.7], "landmarks": [[0.333, 1000.1]], "initial": [[2.0, -1.5]], '
        '"confidence": [0.6667]}'
    )
