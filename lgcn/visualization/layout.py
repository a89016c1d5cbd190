"""Page layout in inches: common sizes and colours, and text fitting."""

import re
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from lgcn.files import printable

PAGE = 7.2
"""Inches: the width of a page of two columns, at which no text is scaled down."""
GAP = 0.06
LINE = 0.2
"""Inches: the height of a line of text."""
FONT, SMALL_FONT = 8.0, 6.5
TEXT = "#1a1a1a"
_MARGIN = 0.06
_LONGEST_PATH = 34
"""Letters, as in the captions of the contact sheets."""


def text_width(text: str, size: float) -> float:
    """Inches that one line of text takes, in points of matplotlib's own font."""
    width = text_to_path.get_text_width_height_descent(text, FontProperties(size=100), ismath=False)[0] / 100
    # Letters that are drawn on whole pixels take a little more.
    return 1.03 * width * size / 72


def fit_text(text: str, room: float, size: float) -> tuple[list[str], float]:
    """``text`` in lines of at most ``room`` inches, and the size, smaller than asked for only if it must be.

    Lines end at spaces, not at no-break spaces, and within a word that is longer than a line.
    """
    width = text_width(text, size)
    if width <= room:
        return [text], size
    lines = textwrap.wrap(text, max(1, int(len(text) * room / width)), break_on_hyphens=False)
    return lines, size * min(1.0, room / max(text_width(line, size) for line in lines))


def shorten_paths(texts: Sequence[str]) -> list[str]:
    """Cuts long paths from the left, where they differ the least; leaves all as they are if two became the same."""
    short = [re.sub(r"[^\s:,]*/[^\s:,]*", lambda path: _cut(path[0]), text) for text in texts]
    return short if len(set(short)) == len(set(texts)) else list(texts)


def _cut(path: str) -> str:
    return path if len(path) <= _LONGEST_PATH else f"...{path[3 - _LONGEST_PATH :]}"


class Page:
    """A matplotlib figure whose parts are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width + 2 * _MARGIN, height + 2 * _MARGIN
        self.figure = Figure(figsize=(self.width, self.height))

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        left, bottom = (_MARGIN + x) / self.width, 1 - (_MARGIN + y + height) / self.height
        return self.figure.add_axes((left, bottom, width / self.width, height / self.height))

    def text(self, x: float, y: float, text: str, room: float, rotation: float = 0) -> None:
        """Draw centred text, shrunk to at most ``room`` inches."""
        text = printable(text)
        # 0.58 of its size is the mean width of a letter.
        size = min(FONT, 72 * room / (0.58 * max(1, len(text))))
        place = (_MARGIN + x) / self.width, 1 - (_MARGIN + y) / self.height
        words = self.figure.text(*place, text, ha="center", va="center", fontsize=size, color=TEXT, rotation=rotation)
        # A name may hold a dollar sign.
        words.set_parse_math(False)
