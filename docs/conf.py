"""Sphinx configuration; build with ``sphinx-build -W docs docs/_build``. Nothing is fetched from a network."""

import os
import re

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.ext import autosummary
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

import lgcn

project = "lgcn"
author = "The lgcn authors"
copyright = "2026, The lgcn authors"
version = release = lgcn.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute", "cheatsheet.in.md"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = "lgcn"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["lgcn.css"]

myst_enable_extensions = ["deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

# Notebooks are executed in each build, offline; a cell that fails, fails the build.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONWARNINGS": "ignore",
}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

# The API pages list the names in the __all__ of each package.
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autosummary.WELL_KNOWN_ABBREVIATIONS += ("eq.",)  # not the end of a summary
# References to this package must exist, except for private names, type variables and modules without a page of their
# own. References to other packages are not resolved, which would need a network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!lgcn\.).*"),
    (r"py:.*", r"lgcn\.(.+\.)?(_\w+|T)"),
    (r"py:.*", r"lgcn\.[a-z_]+\.[a-z_]+\..+"),
    (r"py:mod", r"lgcn\..+\..+"),
]
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True


def describe_data(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Shows the value of a constant instead of the docstring of its type."""
    if what == "data" and lines and str(type(obj).__doc__).strip().startswith(lines[0]):
        lines[:] = [f"``{tuple(obj) if isinstance(obj, dict) else obj!r}``", ""]


def mend_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keeps napoleon and reStructuredText from misreading a colon or a single letter.

    ``[K, 2]: refined`` under an attribute is not a type, and ``num_landmarks: K.`` is not the eleventh item of a list.
    """
    field = next((line for line in lines if line.startswith(":type: ")), None)
    if what == "attribute" and field:
        lines.remove(field)
        lines[0] = f"{field.removeprefix(':type: ')}: {lines[0]}"
    lines[:] = [re.sub(r"^((?::\w+ \w+:)? *)([A-Z])\.(?= |$)", r"\1\\\2.", line) for line in lines]


def visit_math(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Writes formulas as MathML, which browsers render without a script."""
    is_block = isinstance(node, nodes.math_block)
    # docutils would set the index of an accented letter below it.
    tex = re.sub(r"(\\(?:bar|hat|tilde) *(?:\w|\{(?:[^{}]|\{[^{}]*\})*\}))(?=[_^])", r"\1{}", node.astext())
    try:
        markup = latex2mathml.tex2mathml(tex, as_block=is_block)
    except MathError as error:
        logging.getLogger(__name__).warning("Cannot write %r as MathML: %s", node.astext(), error, location=node)
        raise nodes.SkipNode from error
    self.body.append(f'<div class="math">{markup}</div>' if is_block else markup)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    # Before and after napoleon, which comes at 500.
    app.connect("autodoc-process-docstring", describe_data, priority=1)
    app.connect("autodoc-process-docstring", mend_docstring, priority=900)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
