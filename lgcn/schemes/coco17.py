"""The 17 body keypoints of COCO (Lin et al. 2014)."""

from lgcn.schemes.scheme import Contour, LandmarkScheme

COCO17 = LandmarkScheme(
    name="coco17",
    names=(
        "nose",
        *("left_eye", "right_eye", "left_ear", "right_ear"),
        *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
        *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    contours=(
        Contour("head", (4, 2, 0, 1, 3)),
        Contour("torso", (6, 5, 11, 12), closed=True),
        Contour("right_arm", (6, 8, 10)),
        Contour("left_arm", (5, 7, 9)),
        Contour("right_leg", (12, 14, 16)),
        Contour("left_leg", (11, 13, 15)),
    ),
    normalizers={
        "torso": ((5, 6), (11, 12)),
        "shoulders": ((5,), (6,)),
    },
    default_normalizer="box",
    # Of the COCO evaluation code.
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
        *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
    subject="person",
)
