"""The 68 landmarks of iBUG 300-W (Sagonas et al. 2013), also called Multi-PIE 68."""

from lgcn.schemes.scheme import Contour, LandmarkScheme

IBUG68 = LandmarkScheme(
    name="ibug68",
    names=(
        # 0-16, from the subject's right ear over the chin to the left ear
        *(f"right_jaw_{i}" for i in range(8)),
        "chin",
        *(f"left_jaw_{i}" for i in range(7, -1, -1)),
        # 17-26, from right to left
        *(f"right_brow_{i}" for i in range(5)),
        *(f"left_brow_{i}" for i in range(4, -1, -1)),
        # 27-35
        *("nose_bridge_0", "nose_bridge_1", "nose_bridge_2", "nose_tip"),
        *("right_nostril_outer", "right_nostril_inner", "nose_base", "left_nostril_inner", "left_nostril_outer"),
        # 36-47, each eye clockwise in the image
        *("right_eye_outer", "right_eye_upper_outer", "right_eye_upper_inner"),
        *("right_eye_inner", "right_eye_lower_inner", "right_eye_lower_outer"),
        *("left_eye_inner", "left_eye_upper_inner", "left_eye_upper_outer"),
        *("left_eye_outer", "left_eye_lower_outer", "left_eye_lower_inner"),
        # 48-59, the outer rim of the lips, clockwise in the image
        *("right_mouth_corner", "right_upper_lip_outer_0", "right_upper_lip_outer_1", "upper_lip_outer"),
        *("left_upper_lip_outer_1", "left_upper_lip_outer_0", "left_mouth_corner"),
        *("left_lower_lip_outer_0", "left_lower_lip_outer_1", "lower_lip_outer"),
        *("right_lower_lip_outer_1", "right_lower_lip_outer_0"),
        # 60-67, the inner rim
        *("right_mouth_corner_inner", "right_upper_lip_inner", "upper_lip_inner", "left_upper_lip_inner"),
        *("left_mouth_corner_inner", "left_lower_lip_inner", "lower_lip_inner", "right_lower_lip_inner"),
    ),
    flip_pairs=(
        *((i, 16 - i) for i in range(8)),
        *((17 + i, 26 - i) for i in range(5)),
        *((31, 35), (32, 34)),
        *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
        *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),
        *((60, 64), (61, 63), (65, 67)),
    ),
    contours=(
        Contour("jaw", tuple(range(17))),
        Contour("right_brow", tuple(range(17, 22))),
        Contour("left_brow", tuple(range(22, 27))),
        Contour("nose_bridge", tuple(range(27, 31))),
        Contour("nose_base", tuple(range(31, 36))),
        Contour("right_eye", tuple(range(36, 42)), closed=True),
        Contour("left_eye", tuple(range(42, 48)), closed=True),
        Contour("lips_outer", tuple(range(48, 60)), closed=True),
        Contour("lips_inner", tuple(range(60, 68)), closed=True),
    ),
    normalizers={
        "inter_ocular": ((36,), (45,)),
        "inter_pupil": (tuple(range(36, 42)), tuple(range(42, 48))),
    },
    default_normalizer="inter_ocular",
)
