"""The 106 landmarks of LaPa (Liu et al. 2020), which are those of JD-landmark.

Jaw, brows and mouth are numbered as in WFLW, with 33, 9 + 9 and 12 + 8 landmarks; the nose has two more
along each side and each eye has a centre. In LaPa's files the centres 74 and 83 coincide with the pupils
104 and 105.
"""

from lgcn.schemes.scheme import Contour, LandmarkScheme

LAPA106 = LandmarkScheme(
    name="lapa106",
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
        # 51-65: down the bridge, then from the right inner eye corner under the tip to the left one
        *("nose_bridge_0", "nose_bridge_1", "nose_bridge_2", "nose_tip"),
        *(f"right_nose_rim_{i}" for i in range(5)),
        "nose_base",
        *(f"left_nose_rim_{i}" for i in range(4, -1, -1)),
        # 66-83, each eye clockwise in the image, then its centre
        *("right_eye_outer", "right_eye_upper_outer", "right_eye_upper", "right_eye_upper_inner"),
        *("right_eye_inner", "right_eye_lower_inner", "right_eye_lower", "right_eye_lower_outer"),
        "right_eye_center",
        *("left_eye_inner", "left_eye_upper_inner", "left_eye_upper", "left_eye_upper_outer"),
        *("left_eye_outer", "left_eye_lower_outer", "left_eye_lower", "left_eye_lower_inner"),
        "left_eye_center",
        # 84-95, the outer rim of the lips, clockwise in the image
        *("right_mouth_corner", "right_upper_lip_outer_0", "right_upper_lip_outer_1", "upper_lip_outer"),
        *("left_upper_lip_outer_1", "left_upper_lip_outer_0", "left_mouth_corner"),
        *("left_lower_lip_outer_0", "left_lower_lip_outer_1", "lower_lip_outer"),
        *("right_lower_lip_outer_1", "right_lower_lip_outer_0"),
        # 96-103, the inner rim
        *("right_mouth_corner_inner", "right_upper_lip_inner", "upper_lip_inner", "left_upper_lip_inner"),
        *("left_mouth_corner_inner", "left_lower_lip_inner", "lower_lip_inner", "right_lower_lip_inner"),
        *("right_pupil", "left_pupil"),
    ),
    flip_pairs=(
        *((i, 32 - i) for i in range(16)),
        *((33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)),
        *((55 + i, 65 - i) for i in range(5)),
        *((66, 79), (67, 78), (68, 77), (69, 76), (70, 75), (71, 82), (72, 81), (73, 80), (74, 83)),
        *((84, 90), (85, 89), (86, 88), (91, 95), (92, 94)),
        *((96, 100), (97, 99), (101, 103)),
        (104, 105),
    ),
    contours=(
        Contour("jaw", tuple(range(33))),
        Contour("right_brow", tuple(range(33, 42)), closed=True),
        Contour("left_brow", tuple(range(42, 51)), closed=True),
        Contour("nose_bridge", tuple(range(51, 55))),
        Contour("nose_rim", tuple(range(55, 66))),
        Contour("right_eye", tuple(range(66, 74)), closed=True),
        Contour("right_eye_center", (74,)),
        Contour("left_eye", tuple(range(75, 83)), closed=True),
        Contour("left_eye_center", (83,)),
        Contour("lips_outer", tuple(range(84, 96)), closed=True),
        Contour("lips_inner", tuple(range(96, 104)), closed=True),
        Contour("right_pupil", (104,)),
        Contour("left_pupil", (105,)),
    ),
    normalizers={
        "inter_ocular": ((66,), (79,)),
        "inter_pupil": ((104,), (105,)),
    },
    default_normalizer="inter_ocular",
)
