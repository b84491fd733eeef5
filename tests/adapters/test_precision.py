from __future__ import annotations

import json
import os
import subprocess
import sys

from desktop_rlhf.adapters.precision import OF_THE_LIBRARY

MANY_SIZES = """
import ctypes, json, sys
from torch import Tensor, ones, bfloat16
from desktop_rlhf.adapters import precision
from desktop_rlhf.workbench.memory import held_mb

kept = int(precision.OF_THE_LIBRARY["ONEDNN_PRIMITIVE_CACHE_CAPACITY"])
weight = ones(64, 64, dtype=bfloat16)

def held_after(sizes):
    for size in sizes:
        ones(size, 64, dtype=bfloat16) @ weight
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return held_mb()

few = held_after(range(8, 8 + kept + 20))
print(json.dumps(held_after(range(8 + kept + 20, 8 + 3 * kept)) - few))
"""


def test_that_code_for_ever_new_sizes_of_products_takes_no_more_memory() -> None:
    """By default it would be 200 MB here, where the library multiplies bfloat16; where it does not nothing is kept."""
    environ = {name: value for name, value in os.environ.items() if name not in OF_THE_LIBRARY}
    said = subprocess.run([sys.executable, "-c", MANY_SIZES], env=environ, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) < 20


def test_that_what_a_person_asks_of_the_library_stands() -> None:
    read = "from desktop_rlhf.adapters import precision; import os; print(os.environ['LRU_CACHE_CAPACITY'])"
    environ = os.environ | {"LRU_CACHE_CAPACITY": "77"}
    said = subprocess.run([sys.executable, "-c", read], env=environ, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "77"
