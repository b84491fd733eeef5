"""The latent utility: what the made-up labeller likes, as a smooth function of a completion's text.

Four ingredients of how a text reads, none of which is its length: short sentences, short words, words that address the
reader, and an ending that is one. Each is put on mean 0 and deviation 1 over the base's own samples, held within about
two deviations so that no single one can be driven without end, weighed and added up; the sum again has mean 0 and
deviation 1 over the base's samples. A utility of 1 is thus one standard deviation better than what the base writes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?:]+(?:\s|$)|\n+")
_YOU = re.compile(r"(?:you(?:['’](?:re|ll|ve|d))?|yours?|yourself|yourselves)")
_BOUND = 2.0  # deviations at which an ingredient levels off


def sentence_brevity(text: str) -> float:
    """Minus the logarithm of the mean number of words in a sentence; 0 without any word."""
    counts = [len(_WORD.findall(part)) for part in _SENTENCE_END.split(text)]
    counts = [count for count in counts if count]
    return -math.log(fmean(counts)) if counts else 0.0


def word_brevity(text: str) -> float:
    """Minus the mean number of letters in a word; -10, a very long word, without any."""
    words = _WORD.findall(text)
    return -fmean(map(len, words)) if words else -10.0


def address(text: str) -> float:
    """Share of the words that address the reader; the square root, so that the first such word counts most."""
    words = _WORD.findall(text.lower())
    return math.sqrt(fmean(_YOU.fullmatch(word) is not None for word in words)) if words else 0.0


def proper_end(text: str) -> float:
    """1 where the text ends like a finished sentence, 0 where it breaks off."""
    return float(text.rstrip().rstrip("\"'”’)*`").endswith((".", "!", "?")))


INGREDIENTS: Mapping[str, tuple[Callable[[str], float], float]] = {
    "short sentences": (sentence_brevity, 0.6),
    "short words": (word_brevity, 1.0),
    "addresses the reader": (address, 1.0),
    "ends properly": (proper_end, 0.3),
}
"""Name -> (measure of a text, weight)."""


@dataclass(frozen=True, slots=True)
class Utility:
    """The utility on the scale of one base model's samples.

    Attributes:
        means, deviations: of each ingredient over these samples, by name.
        centre, spread:    of the weighted sum over them.
    """

    means: Mapping[str, float]
    deviations: Mapping[str, float]
    centre: float
    spread: float

    @classmethod
    def over(cls, texts: Sequence[str]) -> Utility:
        """The utility that has mean 0 and deviation 1 over ``texts``, at least two of which differ.

        An ingredient that is the same in all of them counts nothing.
        """
        measured = {name: [measure(text) for text in texts] for name, (measure, _) in INGREDIENTS.items()}
        raw = cls(
            {name: fmean(values) for name, values in measured.items()},
            {name: pstdev(values) for name, values in measured.items()},
            0.0,
            1.0,
        )
        sums = [raw(text) for text in texts]
        return cls(raw.means, raw.deviations, fmean(sums), pstdev(sums))

    def __call__(self, text: str) -> float:
        """Utility of a text, in standard deviations of the base's samples."""
        total = 0.0
        for name, (measure, weight) in INGREDIENTS.items():
            if self.deviations[name] > 0:
                z = (measure(text) - self.means[name]) / self.deviations[name]
                total += weight * _BOUND * math.tanh(z / _BOUND)
        return (total - self.centre) / self.spread
