"""The large libraries, brought in so that the window goes on meanwhile."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def read_ahead() -> None:
    """To be called on the engine's thread, before the model libraries are imported.

    An import holds Python's lock while the system reads and links a library, and for torch's that takes long enough for
    the window to stand still. Called as a foreign function the same work is done without the lock, and the import then
    finds it done. The library that draws the curves is imported here too, before a page with curves asks for it.
    """
    _link_torch()
    import_module("pyqtgraph")


def _link_torch() -> None:
    """In the order and manner of torch's own import. Where something is missing, that import will say so."""
    torch = find_spec("torch")
    if os.name != "posix" or torch is None or torch.origin is None:
        return
    link = ctypes.CDLL(None).dlopen
    link.argtypes, link.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    ending = "dylib" if sys.platform == "darwin" else "so"
    for name, seen in (("libtorch_global_deps", os.RTLD_GLOBAL), ("libtorch_python", os.RTLD_LOCAL)):
        path = Path(torch.origin).parent / "lib" / f"{name}.{ending}"
        link(os.fsencode(path), os.RTLD_NOW | seen)
