"""Importing the libraries that a command needs, which is most of the time to its first result."""

import gc
import sys
from importlib import import_module


def load_libraries(*modules: str) -> None:
    """Import modules, with all that they import, without garbage collection.

    The collector would go through the objects of torch, PyG and timm again and again as their number grows, a fifth of
    the time that the imports take. They live as long as the process, so that later searches leave them out, too.

    Does nothing where the modules are loaded: in the process of somebody else there may be garbage, which would stay.

    Args:
        *modules: dotted names.
    """
    if all(name in sys.modules for name in modules):
        return
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for name in modules:
            import_module(name)
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
