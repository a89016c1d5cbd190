"""Pictures of what a detector has found."""

from lgcn.visualization.connectivity import draw_connectivity
from lgcn.visualization.overlay import draw_landmarks, save_overlay, strongest_edges

__all__ = ["draw_connectivity", "draw_landmarks", "save_overlay", "strongest_edges"]
