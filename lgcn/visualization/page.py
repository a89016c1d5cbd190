"""A figure that is laid out in inches, with the sizes and colours that its parts share."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

PAGE = 7.2
"""Inches: the width of a page of two columns, where no text of the figure is scaled down."""
GAP = 0.06
LINE = 0.2
"""Inches: the height of a line of text."""
FONT, SMALL_FONT = 8.0, 6.5
TEXT = "#1a1a1a"
_MARGIN = 0.06


class Page:
    """A figure whose parts are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width + 2 * _MARGIN, height + 2 * _MARGIN
        self.figure = Figure(figsize=(self.width, self.height))

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        left, bottom = (_MARGIN + x) / self.width, 1 - (_MARGIN + y + height) / self.height
        return self.figure.add_axes((left, bottom, width / self.width, height / self.height))

    def text(self, x: float, y: float, text: str, room: float, rotation: float = 0) -> None:
        """Centred at (x, y), as small as it must be to be at most ``room`` inches long."""
        # 0.58 of its size is the mean width of a letter.
        size = min(FONT, 72 * room / (0.58 * max(1, len(text))))
        place = (_MARGIN + x) / self.width, 1 - (_MARGIN + y) / self.height
        words = self.figure.text(*place, text, ha="center", va="center", fontsize=size, color=TEXT, rotation=rotation)
        # A name may hold a dollar sign.
        words.set_parse_math(False)
