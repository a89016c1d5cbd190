"""A self-contained HTML page on a run of predictions: scores, thumbnails of the worst faces, images without results."""

import base64
import heapq
import io
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.files import printable, write_text
from lgcn.images import PixelRangeWarning, read_image
from lgcn.predict import Face
from lgcn.schemes import LandmarkScheme, get_scheme
from lgcn.visualization.overlay import draw_landmarks

MOST_FACES = 200
"""Thumbnails in one report: the page stays below some 5 MB."""

_BINS = 20
_THUMBNAIL = 220
_MARGIN = 0.35
"""Of the longer side of the face, around it in a thumbnail."""

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 1rem 0; }
.numbers b { display: block; font-size: 1.6rem; font-weight: 600; }
.muted { opacity: .7; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.8rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid #8884; border-radius: .4rem; overflow: hidden; }
figure img, .none { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #111; }
.none { color: #ccc; display: grid; place-items: center; text-align: center; }
figcaption { padding: .5rem .65rem .65rem; font-size: .86rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .9rem; } td { padding: .2rem .8rem .2rem 0; vertical-align: top; }
rect { fill: #2b8cbe; } svg text { fill: currentColor; font-size: 11px; }
"""


def save_html_report(
    path: str | Path,
    records: Iterable[dict[str, Any]],
    scheme: str | LandmarkScheme,
    *,
    unreadable: Mapping[str, str] | None = None,
    title: str = "Landmarks",
    max_faces: int = MOST_FACES,
) -> None:
    """Write the report, one HTML file that needs no other, whole or not at all.

    The worst faces come first: by the score, then by the mean expected error in per cent of the distance between the
    eyes, if the model predicts both; by the error alone if it is not calibrated to tell failures. Thumbnails are read
    from the images again; one that has gone is left out.

    Args:
        path: of the file.
        records: ``{"image": path, "faces": [...]}`` of each image, as in JSON Lines; read once, few are held.
        scheme: of the landmarks.
        unreadable: the reason for each image that could not be used.
        title: of the page.
        max_faces: thumbnails at most.
    """
    scheme = get_scheme(scheme)
    images = faces = 0
    without: list[str] = []
    scores = torch.zeros(_BINS, dtype=torch.long)
    worst: list[tuple[tuple[float, float], int, str, dict[str, Any]]] = []
    for record in records:
        images += 1
        if not record["faces"]:
            without.append(record["image"])
        for face in record["faces"]:
            faces += 1
            scores[min(_BINS - 1, int(face["score"] * _BINS))] += 1
            # The number settles ties: records cannot be compared.
            entry = (_badness(face), -faces, record["image"], face)
            if len(worst) < max_faces:
                heapq.heappush(worst, entry)
            else:
                heapq.heappushpop(worst, entry)
    cards = "".join(_card(name, face, scheme) for _, _, name, face in sorted(worst, reverse=True))
    shown = f"{len(worst)} of {faces} faces, the worst first" if len(worst) < faces else "The worst first"
    rows = "".join(
        f"<tr><td>{_text(name)}<td class=muted>{_text(reason)}" for name, reason in (unreadable or {}).items()
    )
    missing = "".join(f"<tr><td>{_text(name)}" for name in without[:max_faces])
    more = f"<p class=muted>and {len(without) - max_faces} more</p>" if len(without) > max_faces else ""
    parts = [
        f"<h1>{_text(title)}</h1>",
        f"<div class=numbers>{_number(images, 'images')}{_number(faces, 'faces')}"
        f"{_number(len(without), 'images without a face')}{_number(len(unreadable or {}), 'images not usable')}</div>",
        f"<h2>Scores</h2><p class=muted>The probability that the landmarks of a face fit, or their mean "
        f"confidence if the model does not know it.</p>{_histogram(scores)}",
        f"<h2>Faces</h2><p class=muted>{shown}. Magenta landmarks are unsure, hollow ones are believed covered; an "
        f"ellipse holds the true place with 90&nbsp;% probability, where the model predicts errors.</p>"
        f"<div class=faces>{cards}</div>",
        f"<h2>Images without a face</h2><table>{missing}</table>{more}" if without else "",
        f"<h2>Images that could not be used</h2><table>{rows}</table>" if unreadable else "",
    ]
    head = (
        "<!DOCTYPE html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>"
    )
    write_text(path, f"{head}<body>{''.join(parts)}</body></html>\n")


def _badness(face: dict[str, Any]) -> tuple[float, float]:
    errors = face["expected_error_percent"]
    expected = sum(errors) / len(errors) if errors else 0.0
    # Models that are not calibrated to tell failures have the mean confidence as score, which tells less.
    return (0.0 if errors and face["covered"] is None else 1 - float(face["score"])), expected


def _card(name: str, record: dict[str, Any], scheme: LandmarkScheme) -> str:
    face = Face.from_dict(record)
    lines = [f"<b>{_text(Path(name).name)}</b>", f"score {face.score:.2f}"]
    errors = face.expected_error_percent
    if errors is not None:
        lines.append(f"expected error {errors.mean():.1f} % of the distance between the eyes")
    if face.covered is not None:
        lines.append(f"{int(face.covered.sum())} of {len(face.covered)} landmarks covered")
    doubt = -face.confidence if errors is None else errors
    least = doubt.topk(min(3, len(doubt))).indices
    lines.append(f"<span class=muted>least sure: {', '.join(scheme.names[k] for k in least)}</span>")
    return f"<figure title='{_text(name)}'>{_thumbnail(name, face, scheme)}<figcaption>{'<br>'.join(lines)}</figure>"


def _thumbnail(name: str, face: Face, scheme: LandmarkScheme) -> str:
    try:
        with warnings.catch_warnings():
            # The prediction has given them already.
            warnings.simplefilter("ignore", PixelRangeWarning)
            image = read_image(name, max_pixels=None)
    except InputError:
        return "<div class=none>the image cannot be read any more</div>"
    part, shift, zoom = _around(image, face)
    shown = replace(
        face,
        box=(face.box - shift.repeat(2)) * zoom,
        landmarks=(face.landmarks - shift) * zoom,
        initial=(face.initial - shift) * zoom,
        covariance=None if face.covariance is None else face.covariance * zoom**2,
    )
    drawn = draw_landmarks(
        part, [shown], scheme, confidence=True, ellipses=shown.covariance is not None, upscale=1 if zoom < 1 else None
    )
    drawn.thumbnail((2 * _THUMBNAIL, 2 * _THUMBNAIL))
    content = io.BytesIO()
    drawn.save(content, "JPEG", quality=82)
    return f"<img loading=lazy alt='' src='data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}'>"


def _around(image: Tensor, face: Face) -> tuple[Tensor, Tensor, float]:
    """The part of an image around a face, not much larger than a thumbnail; its corner [2], and its scale."""
    low, high = face.landmarks.amin(dim=0), face.landmarks.amax(dim=0)
    margin = _MARGIN * float((high - low).max()) + 4
    limit = torch.tensor([image.shape[2], image.shape[1]])
    x0, y0 = torch.minimum((low - margin).floor().clamp(min=0), limit - 1.0).int().tolist()
    x1, y1 = torch.minimum((high + margin).ceil(), limit.float()).int().clamp(min=1).tolist()
    part = image[:, y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    corner = torch.tensor([float(x0), float(y0)])
    zoom = 2 * _THUMBNAIL / max(part.shape[1:])
    if zoom >= 1:
        return part.contiguous(), corner, 1.0
    size = [max(1, round(side * zoom)) for side in part.shape[1:]]
    small = torch.nn.functional.interpolate(part[None], size, mode="bilinear", antialias=True)[0]
    # Pixel centres are integers: the corner of the part lies half a pixel before its first centre.
    return small, corner + 0.5 * (1 / zoom - 1), zoom


def _histogram(counts: Tensor) -> str:
    width, height = 26, 120
    top = max(1, int(counts.max()))
    bars = "".join(
        f"<rect x={number * width} y={height - height * count / top:.1f} width={width - 3} "
        f"height={height * count / top:.1f}><title>{count}</title></rect>"
        for number, count in enumerate(counts.tolist())
    )
    labels = "".join(
        f"<text x={step * 4 * width} y={height + 14} text-anchor={'start' if not step else 'middle'}>{step * 0.2:.1f}"
        "</text>"
        for step in range(6)
    )
    right = _BINS * width + 16
    return f"<svg viewBox='0 -4 {right} {height + 24}' width={right} role=img>{bars}{labels}</svg>"


def _number(value: int, of: str) -> str:
    return f"<div><b>{value}</b>{of}</div>"


def _text(text: str) -> str:
    return escape(printable(text))
