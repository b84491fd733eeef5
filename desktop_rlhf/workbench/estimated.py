"""What a run will take, as it is told to a person and to a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time by stage, in the order of the stages, and memory in MB of a million bytes; 0 where the system does not tell.

    Attributes:
        stages_s: seconds.
        peak_mb:  memory of the whole process at its highest.
        held_mb:  what it held of that before.
        free_mb:  what it could have taken beside it then.
        on_gpu:   whether it is that of a GPU, and not of the computer.
    """

    stages_s: Mapping[str, float]
    peak_mb: float
    held_mb: float
    free_mb: float
    on_gpu: bool = False

    @property
    def total_s(self) -> float:
        """Seconds of the whole run."""
        return sum(self.stages_s.values())

    @property
    def fits(self) -> bool:
        """Whether there is as much memory, as far as the system tells."""
        return not self.free_mb or self.peak_mb - self.held_mb <= self.free_mb

    @property
    def sentence(self) -> str:
        """“About 14 min: writing 9 min, learning 5 min. Memory 1.9 GB at most; 14 GB are free.”, or a warning."""
        stages = [f"{stage} {_time(seconds)}" for stage, seconds in self.stages_s.items() if seconds >= 0.5]
        said = f"About {_time(self.total_s)}" + (f": {', '.join(stages)}." if len(stages) > 1 else ".")
        if not self.peak_mb:
            return said
        said += f" {'GPU memory' if self.on_gpu else 'Memory'} {_size(self.peak_mb)} at most"
        if not self.fits:
            return (
                f"It will not fit. {said}, {_size(self.held_mb)} of it are held already and only {_size(self.free_mb)} "
                "more are free. Close other programs, or choose smaller settings."
            )
        return f"{said}; {_size(self.free_mb)} are free." if self.free_mb else f"{said}."

    def as_json(self) -> dict[str, object]:
        """The figures by name."""
        memory = {"peak_mb": round(self.peak_mb), "held_mb": round(self.held_mb), "free_mb": round(self.free_mb)}
        memory["on_gpu"] = self.on_gpu
        stages = {stage: round(seconds, 1) for stage, seconds in self.stages_s.items()}
        return {"total_s": round(self.total_s, 1), "stages_s": stages, **memory, "fits": self.fits}


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _size(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes < 9950 else f"{megabytes / 1000:.0f} GB"
