"""Plots and overlays of predictions."""

from lgcn.visualization.ced import plot_ced, save_ced_csv
from lgcn.visualization.connectivity import draw_connectivity
from lgcn.visualization.contact_sheet import Tile, cut_tile, draw_contact_sheet, save_contact_sheet
from lgcn.visualization.html_report import save_html_report
from lgcn.visualization.overlay import draw_landmarks, save_overlay, strongest_edges

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
