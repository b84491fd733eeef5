"""Products of a few rows x with weights W, by rows (x W^T) or by columns (W x^T): the faster way on this computer.

A few are 8 to 24. Which way is the faster differs from processor to processor, up to twofold, and what they make may
differ in its last bits. So it is tried once and kept, and a run that goes on goes the way that it began.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor
from torch.nn.functional import linear

from desktop_rlhf import settings
from desktop_rlhf.adapters.precision import FEW
from desktop_rlhf.adapters.processor import processor

logger = logging.getLogger(__name__)

TRIES = 3  # of each way


def by_rows(x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """[N, O] x W^T + b."""
    return linear(x, weights, bias)


def by_columns(x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """[N, O] the same as W x^T + b: each row lies in a column.

    Some processors' library lays out the weights anew by rows and not so, which takes longer than the product.
    """
    return (torch.mm(weights, x.t()) if bias is None else torch.addmm(bias.unsqueeze(1), weights, x.t())).t()


WAYS = {"rows": by_rows, "columns": by_columns}
DEFAULT = "columns"


def way_for(weights: Sequence[Tensor]) -> str:
    """The name of the way for few rows with these weights: the one that was the faster when it was first asked for.

    The answer is kept in the data folder, for this kind of processor, this release of torch, as many threads and as
    many weights. Where it cannot be kept or read it is ``DEFAULT``, at every start.
    """
    numbers = f"{torch.get_num_threads()} threads, {sum(map(Tensor.numel, weights))} weights"
    what = f"{processor()}, torch {torch.__version__}, {numbers}"
    file = settings.tried_path() / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.json"
    is_kept = os.path.exists(file)  # the path's own method raises where the folder may not be looked into
    found = "" if is_kept else json.dumps({"what": what, "few rows go by": faster(weights)})
    try:
        if found:
            file.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError), file.open("x") as once:  # of two programs that try at a time one is right
                once.write(found)
        kept = json.loads(file.read_text())["few rows go by"]
        if kept not in WAYS:
            raise ValueError(f"there is no way “{kept}”")
    except (OSError, ValueError, LookupError, TypeError) as error:
        logger.warning("which way few rows are multiplied could not be kept: %s", error)
        return DEFAULT
    logger.info("few rows go by %s", kept)
    return str(kept)


def faster(weights: Sequence[Tensor]) -> str:
    """The name of the faster way, by trial with ``FEW`` rows and each of the weights, [O, I] of any sizes.

    With all of them in turn: with weights that lie in the processor's cache both ways are as fast.
    """
    generator = torch.Generator().manual_seed(0)
    widths = sorted({weight.shape[1] for weight in weights})
    x = {width: torch.randn(FEW, width, generator=generator).to(weights[0].dtype) for width in widths}
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(TRIES):  # in turn, so that a disturbance strikes both
        for name, product in WAYS.items():
            began = time.perf_counter()
            for weight in weights:
                product(x[weight.shape[1]], weight, None)
            times[name].append(time.perf_counter() - began)
    rows, columns = (sorted(times[name])[TRIES // 2] for name in ("rows", "columns"))
    logger.info("%d rows by columns take %.2f times as long as by rows", FEW, columns / rows)
    return "rows" if rows < columns else "columns"
