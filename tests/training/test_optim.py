from lgcn.backbones import TimmBackbone
from lgcn.training.optim import create_optimizer, statistics_of


def test_vision_transformers_name_parameters_that_they_do_not_have() -> None:
    backbone = TimmBackbone("test_vit", 5, width=8)
    found = {id(parameter) for parameter in statistics_of(backbone)}
    named = dict(backbone.named_parameters())
    embedding = next(value for name, value in named.items() if name.endswith("pos_embed"))
    assert id(embedding) in found
    optimizer = create_optimizer("adamw", [("backbone", list(named.values()), 1e-3)], 0.1, statistics_of(backbone))
    (plain,) = (group for group in optimizer.param_groups if group["name"] == "backbone/no_decay")
    assert any(each is embedding for each in plain["params"])
