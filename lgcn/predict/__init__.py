"""From images to landmarks: face boxes, batches, files."""

from lgcn.predict.box_files import BoxTable, read_boxes
from lgcn.predict.boxes import check_boxes
from lgcn.predict.exports import save_coco, save_npz
from lgcn.predict.face import Face, NoFaceWarning
from lgcn.predict.face_detector import CascadeFaceDetector, FaceDetector
from lgcn.predict.output import save_csv, save_json, save_pts, to_csv, to_json
from lgcn.predict.predictor import LandmarkPredictor
from lgcn.predict.preparation import ImagePreparer, PreparedImage

__all__ = [
    "BoxTable",
    "CascadeFaceDetector",
    "Face",
    "FaceDetector",
    "ImagePreparer",
    "LandmarkPredictor",
    "NoFaceWarning",
    "PreparedImage",
    "check_boxes",
    "read_boxes",
    "save_coco",
    "save_csv",
    "save_json",
    "save_npz",
    "save_pts",
    "to_csv",
    "to_json",
]
