"""A local web page to try a detector, and the functions behind it (the page: ``pip install 'lgcn[demo]'``)."""

from lgcn.demo.comparison import Comparison, Effect, Listening, add_paint, compare, effect_of_paint, listens_to
from lgcn.demo.drawing import MARKS, View, draw_face, nearest_landmark, view_around
from lgcn.demo.page import create_page, import_gradio, launch_page

__all__ = [
    "MARKS",
    "Comparison",
    "Effect",
    "Listening",
    "View",
    "add_paint",
    "compare",
    "create_page",
    "draw_face",
    "effect_of_paint",
    "import_gradio",
    "launch_page",
    "listens_to",
    "nearest_landmark",
    "view_around",
]
