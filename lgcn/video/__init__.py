"""From video to landmarks: frames, faces followed by their numbers, smoothing."""

from lgcn.video.frames import VIDEO_SUFFIXES, VideoFrame, VideoReader, VideoWarning, is_video
from lgcn.video.output import draw_tracks, to_frame_record
from lgcn.video.smoothing import KalmanSmoother, SmoothedState
from lgcn.video.tracker import LandmarkTracker, TrackedFace
from lgcn.video.writer import VideoWriter

__all__ = [
    "VIDEO_SUFFIXES",
    "KalmanSmoother",
    "LandmarkTracker",
    "SmoothedState",
    "TrackedFace",
    "VideoFrame",
    "VideoReader",
    "VideoWarning",
    "VideoWriter",
    "draw_tracks",
    "is_video",
    "to_frame_record",
]
