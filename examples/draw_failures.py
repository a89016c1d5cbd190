"""Draw how a model fails: faces in the dark, covered, tiny, from the side, and what is no face at all.

    python examples/draw_failures.py [--model lgcn-68] [--output failures.jpg]

Photos: examples/astronaut.jpg (NASA, public domain) and two that scikit-image ships under CC0, the photographer (Lav
Varshney) and the cat (Stefan van der Walt). The boxes are given. Landmarks of the degraded astronaut are compared with
those in the photo as it is.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from skimage import data

from lgcn import LandmarkPredictor
from lgcn.predict import Face
from lgcn.visualization import draw_landmarks

PHOTO = Path(__file__).with_name("astronaut.jpg")
TILE = 400  # pixels

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="lgcn-68", help="a calibrated detector (default: lgcn-68)")
parser.add_argument("--output", type=Path, default=Path("failures.jpg"), help="image to write")


def darkened(photo: np.ndarray, part: float) -> np.ndarray:
    """A photo with a part of its light, and the noise of a sensor."""
    noise = np.random.default_rng(0).normal(0, 5, photo.shape)
    return np.clip(part * photo + noise, 0, 255).round().astype(np.uint8)


def covered(photo: np.ndarray, box: list[float], cover: np.ndarray) -> np.ndarray:
    """A photo with another image, resized, over a box."""
    x0, y0, x1, y1 = map(round, box)
    photo = photo.copy()
    photo[y0:y1, x0:x1] = np.array(Image.fromarray(cover).resize((x1 - x0, y1 - y0)))
    return photo


def drawing() -> np.ndarray:
    """A smiley."""
    image = Image.new("RGB", (320, 320), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((80, 80, 240, 240), fill="#ffd84d", outline="black", width=4)
    for x in (132, 188):
        draw.ellipse((x - 10, 130, x + 10, 160), fill="black")
    draw.arc((115, 130, 205, 210), 20, 160, fill="black", width=5)
    return np.array(image)


def tile(image: np.ndarray, face: Face, shown: np.ndarray) -> Image.Image:
    """The surroundings of a face with its landmarks and their 90 % ellipses."""
    drawn = draw_landmarks(shown, [face], predictor.detector.scheme, ellipses=True)
    scale = drawn.width / image.shape[1]
    low, high = face.box[:2], face.box[2:]
    centre, half = (low + high) / 2, (high - low).max()
    region = (scale * torch.cat([centre - half, centre + half])).round().int().tolist()
    surroundings = Image.new("RGB", (region[2] - region[0], region[3] - region[1]), "#e6e6e6")
    surroundings.paste(drawn, (-region[0], -region[1]))
    return surroundings.resize((TILE, TILE), Image.Resampling.LANCZOS)


args = parser.parse_args()
predictor = LandmarkPredictor.from_pretrained(args.model)
photo = np.array(Image.open(PHOTO).convert("RGB"))
(seen,) = predictor(photo)
x0, y0 = seen.landmarks.amin(dim=0).tolist()
x1, y1 = seen.landmarks.amax(dim=0).tolist()

part = 6 / seen.eye_distance  # eyes 6 pixels apart
side = round(part * len(photo))
tiny = np.array(Image.fromarray(photo).resize((side, side), Image.Resampling.LANCZOS))
dark = darkened(photo, 1 / 30)
cat, photographer = data.cat(), np.repeat(data.camera()[..., None], 3, axis=2)
# Brows and eyes again over the lower 60 % of the face.
middle = y0 + 0.4 * (y1 - y0)
twice = covered(photo, [x0, middle, x1, y1], photo[round(y0) : round(middle) + 14, round(x0) : round(x1)])

# Title, image, box, image to show, pixels of the image per pixel of the photo.
cases = (
    ("from the side, half hidden", photographer, [210, 137, 260, 186], photographer, None),
    ("60 % covered by a copy of the eyes", twice, seen.box, twice, 1.0),
    ("eyes 6 pixels apart", tiny, seen.box * side / len(photo), tiny, side / len(photo)),
    ("1/30 of the light (shown brighter)", dark, seen.box, np.clip(12.0 * dark, 0, 255).astype(np.uint8), 1.0),
    ("a drawing", drawing(), [80, 80, 240, 240], drawing(), None),
    ("a cat", cat, [120, 20, 300, 220], cat, None),
)
figure = Figure(figsize=(9, 6.7), dpi=133)
for number, (title, image, box, shown, scale) in enumerate(cases):
    (face,) = predictor(image, boxes=box)
    facts = [f"fit {face.score:.2f}", f"expected error {face.expected_error_percent.mean():.1f} %"]
    if scale is not None:
        found = (face.landmarks + 0.5) / scale - 0.5
        error = (found - seen.landmarks).norm(dim=1).mean() / seen.eye_distance
        # In per cent of the true distance between the eyes, as NMEs are.
        facts = [facts[0], f"expected error {100 * face.expected_error.mean() / scale / seen.eye_distance:.1f} %"]
        facts.append(f"actual {100 * error:.1f} %")
    print(f"{title}: {', '.join(facts)}, {int(face.covered.sum())} landmarks believed covered")
    axes = figure.add_axes(((number % 3) / 3 + 0.004, 0.5 - 0.5 * (number // 3) + 0.065, 0.3253, 0.43))
    axes.imshow(tile(image, face, shown))
    axes.set_axis_off()
    axes.text(0.5, -0.02, title, ha="center", va="top", fontsize=10, fontweight="bold", transform=axes.transAxes)
    axes.text(0.5, -0.09, ", ".join(facts), ha="center", va="top", fontsize=8.5, transform=axes.transAxes)
FigureCanvasAgg(figure)
figure.savefig(args.output)
