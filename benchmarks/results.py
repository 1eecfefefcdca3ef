"""All outcomes of one run, and what follows from them.

Ratios are formed within a round, ours against theirs, and their median is taken: what slowed the
whole machine for a while then slowed both.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from isolate import Outcome
from measures import Effort
from plan import Subject


@dataclass
class Results:
    """All outcomes of one run, by measurement, system and round."""

    rounds: int
    effort: Effort
    quick: bool
    outcomes: dict[tuple[str, str], dict[int, Outcome]] = field(default_factory=dict)

    def add(self, measure: str, system: str, turn: int, outcome: Outcome) -> None:
        """Keep an outcome."""
        self.outcomes.setdefault((measure, system), {})[turn] = outcome

    def of(self, measure: str, system: str) -> dict[int, Outcome]:
        """The outcomes of one system by round."""
        return self.outcomes.get((measure, system), {})

    def values(self, measure: str, system: str, number: str) -> dict[int, float]:
        """One number by round, without the rounds that have none."""
        return {
            turn: outcome.numbers[number]
            for turn, outcome in self.of(measure, system).items()
            if number in outcome.numbers
        }

    def middle(self, measure: str, system: str, number: str) -> float | None:
        """The median over the rounds."""
        values = self.values(measure, system, number)
        return statistics.median(values.values()) if values else None

    def advantage(self, subject: Subject, peer: str) -> float | None:
        """How many times better ours is than the peer: the median of the rounds' ratios."""
        ours = self.values(subject.measure, subject.ours, subject.number)
        theirs = self.values(subject.measure, peer, subject.number)
        ratios = [subject.advantage(ours[turn], theirs[turn]) for turn in ours.keys() & theirs]
        return statistics.median(ratios) if ratios else None

    def notes(self, measure: str, system: str) -> str:
        """What went wrong, each thing once."""
        notes: dict[str, int] = {}
        for outcome in self.of(measure, system).values():
            if outcome.note:
                notes[outcome.note] = notes.get(outcome.note, 0) + 1
            if outcome.left_behind:
                text = f"left {outcome.left_behind} processes behind"
                notes[text] = notes.get(text, 0) + 1
        return "; ".join(
            f"{text} ({times} times)" if times > 1 else text for text, times in notes.items()
        )
