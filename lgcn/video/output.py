"""The faces of a frame as plain values, and drawn over it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lgcn.schemes import LandmarkScheme
from lgcn.video.frames import VideoFrame
from lgcn.video.tracker import TrackedFace


def to_frame_record(frame: VideoFrame, faces: Sequence[TrackedFace]) -> dict[str, Any]:
    """``{"frame": index, "time": seconds, "faces": [{"track": number, ...}]}``, as :meth:`Face.to_dict` goes on."""
    own = [{"track": each.track, **each.face.to_dict()} for each in faces]
    return {"frame": frame.number, "time": round(frame.time, 6), "faces": own}


def draw_tracks(
    frame: VideoFrame, faces: Sequence[TrackedFace], scheme: str | LandmarkScheme, **options: Any
) -> np.ndarray:
    """The frame [H, W, 3] in RGB with the landmarks of its faces, and their numbers above them.

    Args:
        frame: drawn over.
        faces: of this frame.
        scheme: of the landmarks.
        **options: of :func:`lgcn.visualization.draw_landmarks`.
    """
    # Imported only here: matplotlib is slow to import, and results without pictures do without.
    from lgcn.visualization import draw_landmarks

    image: Image.Image = draw_landmarks(frame.image, [each.face for each in faces], scheme, **{"upscale": 1, **options})
    draw = ImageDraw.Draw(image)
    for each in faces:
        x0, y0, x1, _ = each.face.box.tolist()
        size = max(10.0, 0.15 * (x1 - x0))
        place = ((x0 + x1) / 2, max(size, y0 - 0.05 * (x1 - x0)))
        draw.text(place, str(each.track), "white", anchor="mb", font_size=size, stroke_width=2, stroke_fill="black")
    return np.asarray(image)
