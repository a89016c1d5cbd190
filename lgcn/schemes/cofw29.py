"""The 29 landmarks of COFW (Burgos-Artizzu et al. 2013)."""

from lgcn.schemes.scheme import Contour, LandmarkScheme

COFW29 = LandmarkScheme(
    name="cofw29",
    names=(
        *("right_brow_outer", "left_brow_outer", "right_brow_inner", "left_brow_inner"),
        *("right_brow_upper", "right_brow_lower", "left_brow_upper", "left_brow_lower"),
        *("right_eye_outer", "left_eye_outer", "right_eye_inner", "left_eye_inner"),
        *("right_eye_upper", "right_eye_lower", "left_eye_upper", "left_eye_lower"),
        *("right_pupil", "left_pupil"),
        *("right_nostril", "left_nostril", "nose_tip", "nose_base"),
        *("right_mouth_corner", "left_mouth_corner"),
        *("upper_lip_outer", "upper_lip_inner", "lower_lip_inner", "lower_lip_outer"),
        "chin",
    ),
    flip_pairs=(
        *((0, 1), (2, 3), (4, 6), (5, 7)),
        *((8, 9), (10, 11), (12, 14), (13, 15), (16, 17)),
        *((18, 19), (22, 23)),
    ),
    contours=(
        Contour("right_brow", (0, 4, 2, 5), closed=True),
        Contour("left_brow", (3, 6, 1, 7), closed=True),
        Contour("right_eye", (8, 12, 10, 13), closed=True),
        Contour("left_eye", (11, 14, 9, 15), closed=True),
        Contour("right_pupil", (16,)),
        Contour("left_pupil", (17,)),
        Contour("nose", (18, 20, 19, 21), closed=True),
        Contour("lips_outer", (22, 24, 23, 27), closed=True),
        Contour("lips_inner", (22, 25, 23, 26), closed=True),
        Contour("chin", (28,)),
    ),
    normalizers={
        "inter_ocular": ((8,), (9,)),
        "inter_pupil": ((16,), (17,)),
    },
    default_normalizer="inter_ocular",
)
