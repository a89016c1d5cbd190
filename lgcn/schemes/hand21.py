"""The 21 landmarks of a hand in the order that OpenPose, MediaPipe and COCO-WholeBody share."""

from lgcn.schemes.scheme import Contour, LandmarkScheme

_FINGERS = ("index", "middle", "ring", "pinky")

HAND21 = LandmarkScheme(
    name="hand21",
    names=(
        *("wrist", "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
        *(f"{finger}_{joint}" for finger in _FINGERS for joint in ("mcp", "pip", "dip", "tip")),
    ),
    # The mirror image of a left hand is a right hand: no landmark becomes another.
    contours=(
        Contour("thumb", (0, 1, 2, 3, 4)),
        *(Contour(finger, tuple(range(5 + 4 * k, 9 + 4 * k))) for k, finger in enumerate(_FINGERS)),
        Contour("palm", (0, 5, 9, 13, 17), closed=True),
    ),
    # COCO-WholeBody (Jin et al. 2020).
    sigmas=(
        *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024),
        *(0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031),
    ),
    subject="hand",
)
