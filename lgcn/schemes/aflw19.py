"""The 19 landmarks of AFLW as re-annotated by Zhu et al. 2016 (the 21 of AFLW without the ears)."""

from lgcn.schemes.scheme import Contour, LandmarkScheme

AFLW19 = LandmarkScheme(
    name="aflw19",
    names=(
        *("right_brow_outer", "right_brow_center", "right_brow_inner"),
        *("left_brow_inner", "left_brow_center", "left_brow_outer"),
        *("right_eye_outer", "right_eye_center", "right_eye_inner"),
        *("left_eye_inner", "left_eye_center", "left_eye_outer"),
        *("right_nostril", "nose_tip", "left_nostril"),
        *("right_mouth_corner", "mouth_center", "left_mouth_corner"),
        "chin",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9), (12, 14), (15, 17)),
    contours=(
        Contour("right_brow", (0, 1, 2)),
        Contour("left_brow", (3, 4, 5)),
        Contour("right_eye", (6, 7, 8)),
        Contour("left_eye", (9, 10, 11)),
        Contour("nose", (12, 13, 14)),
        Contour("mouth", (15, 16, 17)),
        Contour("chin", (18,)),
    ),
    normalizers={
        "inter_ocular": ((6,), (11,)),
        "inter_pupil": ((7,), (10,)),
    },
    # Half of AFLW's faces are turned so far that an eye corner is hidden: its literature divides by the face box.
    default_normalizer="box",
)
