"""From images to landmarks: face boxes, batches, files."""

from lgcn.predict.aligned import align_face
from lgcn.predict.box_files import BoxTable, read_boxes
from lgcn.predict.boxes import check_boxes
from lgcn.predict.exports import save_coco, save_npz
from lgcn.predict.face import Face, NoFaceWarning
from lgcn.predict.face_detector import CascadeFaceDetector, FaceDetector
from lgcn.predict.face_detectors import (
    FACE_DETECTORS,
    MTCNNFaceDetector,
    WholeImage,
    YuNetFaceDetector,
    create_face_detector,
)
from lgcn.predict.output import save_csv, save_json, save_pts, to_csv, to_json
from lgcn.predict.predictor import LandmarkPredictor
from lgcn.predict.preparation import ImagePreparer, PreparedImage
from lgcn.predict.ray_data import RayPredictor, predict_on_ray

__all__ = [
    "FACE_DETECTORS",
    "BoxTable",
    "CascadeFaceDetector",
    "Face",
    "FaceDetector",
    "ImagePreparer",
    "LandmarkPredictor",
    "MTCNNFaceDetector",
    "NoFaceWarning",
    "PreparedImage",
    "RayPredictor",
    "WholeImage",
    "YuNetFaceDetector",
    "align_face",
    "check_boxes",
    "create_face_detector",
    "predict_on_ray",
    "read_boxes",
    "save_coco",
    "save_csv",
    "save_json",
    "save_npz",
    "save_pts",
    "to_csv",
    "to_json",
]
