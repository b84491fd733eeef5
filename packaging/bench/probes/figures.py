"""What every probe says, and how it is asked."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence


def small(description: str | None) -> bool:
    """Whether ``--small`` was asked for: the same with less of everything, to see that the probe works."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--small", action="store_true", help="less of everything: shows that it works, measures little")
    return bool(parser.parse_args().small)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Nearest-rank quantiles, the highest value and the number of values."""
    ordered = sorted(values)

    def quantile(share: float) -> float:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)

    return {
        "p50": quantile(0.5),
        "p95": quantile(0.95),
        "p99": quantile(0.99),
        "max": quantile(1.0),
        "n": len(ordered),
    }


def say(ours: float, unit: str, **details: Mapping[str, object] | object) -> None:
    """Print the probe's one figure, of which lower is better, and what stands behind it."""
    print(json.dumps({"ours": round(ours, 3), "unit": unit, "better": "lower", **details}, ensure_ascii=False))
