"""Plots and overlays of predictions."""

from typing import TYPE_CHECKING, Any

from lgcn.visualization.connectivity import draw_connectivity
from lgcn.visualization.contact_sheet import Tile, cut_tile, draw_contact_sheet, save_contact_sheet
from lgcn.visualization.html_report import save_html_report
from lgcn.visualization.overlay import draw_landmarks, save_overlay, strongest_edges

if TYPE_CHECKING:
    from lgcn.visualization.ced import plot_ced, save_ced_csv

__all__ = [
    "Tile",
    "cut_tile",
    "draw_connectivity",
    "draw_contact_sheet",
    "draw_landmarks",
    "plot_ced",
    "save_ced_csv",
    "save_contact_sheet",
    "save_html_report",
    "save_overlay",
    "strongest_edges",
]


def __getattr__(name: str) -> Any:
    # Curves of errors need torchmetrics, and with it torchvision; overlays do without, for predictions of ONNX files.
    if name in ("plot_ced", "save_ced_csv"):
        from lgcn.visualization import ced

        return getattr(ced, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
