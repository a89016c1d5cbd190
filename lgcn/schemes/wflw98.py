"""The 98 landmarks of WFLW (Wu et al. 2018, "Look at Boundary")."""

from lgcn.schemes.scheme import Contour, LandmarkScheme

WFLW98 = LandmarkScheme(
    name="wflw98",
    names=(
        # 0-32, from the subject's right ear over the chin to the left ear
        *(f"right_jaw_{i}" for i in range(16)),
        "chin",
        *(f"left_jaw_{i}" for i in range(15, -1, -1)),
        # 33-50, each brow a closed line: upper rim, then lower rim, clockwise in the image
        *(f"right_brow_upper_{i}" for i in range(5)),
        *(f"right_brow_lower_{i}" for i in range(3, -1, -1)),
        *(f"left_brow_upper_{i}" for i in range(4, -1, -1)),
        *(f"left_brow_lower_{i}" for i in range(4)),
        # 51-59
        *("nose_bridge_0", "nose_bridge_1", "nose_bridge_2", "nose_tip"),
        *("right_nostril_outer", "right_nostril_inner", "nose_base", "left_nostril_inner", "left_nostril_outer"),
        # 60-75, each eye clockwise in the image
        *("right_eye_outer", "right_eye_upper_outer", "right_eye_upper", "right_eye_upper_inner"),
        *("right_eye_inner", "right_eye_lower_inner", "right_eye_lower", "right_eye_lower_outer"),
        *("left_eye_inner", "left_eye_upper_inner", "left_eye_upper", "left_eye_upper_outer"),
        *("left_eye_outer", "left_eye_lower_outer", "left_eye_lower", "left_eye_lower_inner"),
        # 76-87, the outer rim of the lips, clockwise in the image
        *("right_mouth_corner", "right_upper_lip_outer_0", "right_upper_lip_outer_1", "upper_lip_outer"),
        *("left_upper_lip_outer_1", "left_upper_lip_outer_0", "left_mouth_corner"),
        *("left_lower_lip_outer_0", "left_lower_lip_outer_1", "lower_lip_outer"),
        *("right_lower_lip_outer_1", "right_lower_lip_outer_0"),
        # 88-95, the inner rim
        *("right_mouth_corner_inner", "right_upper_lip_inner", "upper_lip_inner", "left_upper_lip_inner"),
        *("left_mouth_corner_inner", "left_lower_lip_inner", "lower_lip_inner", "right_lower_lip_inner"),
        *("right_pupil", "left_pupil"),
    ),
    flip_pairs=(
        *((i, 32 - i) for i in range(16)),
        *((33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)),
        *((55, 59), (56, 58)),
        *((60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73)),
        *((76, 82), (77, 81), (78, 80), (83, 87), (84, 86)),
        *((88, 92), (89, 91), (93, 95)),
        (96, 97),
    ),
    contours=(
        Contour("jaw", tuple(range(33))),
        Contour("right_brow", tuple(range(33, 42)), closed=True),
        Contour("left_brow", tuple(range(42, 51)), closed=True),
        Contour("nose_bridge", tuple(range(51, 55))),
        Contour("nose_base", tuple(range(55, 60))),
        Contour("right_eye", tuple(range(60, 68)), closed=True),
        Contour("left_eye", tuple(range(68, 76)), closed=True),
        Contour("lips_outer", tuple(range(76, 88)), closed=True),
        Contour("lips_inner", tuple(range(88, 96)), closed=True),
        Contour("right_pupil", (96,)),
        Contour("left_pupil", (97,)),
    ),
    normalizers={
        "inter_ocular": ((60,), (72,)),
        "inter_pupil": ((96,), (97,)),
    },
    default_normalizer="inter_ocular",
)
