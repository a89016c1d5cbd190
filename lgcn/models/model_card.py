"""The README.md of a saved model: what its configuration says, and what only its author knows."""

from huggingface_hub import ModelCard

from lgcn.models.config import OWN_BACKBONE, DetectorConfig
from lgcn.models.refiner_config import NO_REFINER, OWN_REFINER
from lgcn.models.shape_config import ShapeRefinerConfig

_CARD = """---
library_name: lgcn
tags: [landmark-detection, graph-neural-network]
---

# {title}

{description}

```python
{code}
```

## Data, results, licence

Not stated. Whoever shares this model should say what it was trained on, how well it does ({measure}), and what it
may be used for: the licence of its training data may limit that.
"""


def detector_card(config: DetectorConfig, num_landmarks: int) -> ModelCard:
    """The card of a detector of K landmarks."""
    height, width = config.input_size
    refiner = "no refiner" if config.refiner.name == NO_REFINER else f'the refiner "{config.refiner.name}"'
    own = {"backbone": config.backbone == OWN_BACKBONE, "refiner": config.refiner.name == OWN_REFINER}
    arguments = "".join(f", {name}={name}" for name, is_own in own.items() if is_own)
    content = _CARD.format(
        title=f"{num_landmarks} landmarks ({config.scheme})",
        description=f'A detector with the backbone "{config.backbone}" and {refiner}, for crops of {height} x {width} '
        f'pixels (height x width) as the protocol "{config.protocol}" cuts them.',
        code="from lgcn import LandmarkDetector, LandmarkPredictor\n\n"
        f'detector = LandmarkDetector.from_pretrained("FOLDER or owner/name"{arguments})\n'
        'for face in LandmarkPredictor(detector)("photo.jpg"):\n'
        "    print(face.landmarks)",
        measure="`lgcn evaluate`",
    )
    return ModelCard(content)


def shape_refiner_card(config: ShapeRefinerConfig) -> ModelCard:
    """The card of a refiner of points."""
    points = "points, confidences" if config.gaussian.use_confidence else "points"
    scheme = f" ({config.scheme})" if config.scheme else ""
    content = _CARD.format(
        title=f"Refiner of {config.num_landmarks} landmarks{scheme}",
        description="Improves the points of another detector, fills in missing ones and gives each an expected error.",
        code="from lgcn import KeyPoints, ShapeRefiner, refine\n\n"
        'refiner = ShapeRefiner.from_pretrained("FOLDER or owner/name")\n'
        f"refined = refine(KeyPoints({points}), refiner)",
        measure="on images that it was not fitted to",
    )
    return ModelCard(content)
