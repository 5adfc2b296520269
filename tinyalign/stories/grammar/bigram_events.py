"""Events in stories of a bigram model, and their exact probabilities by dynamic programming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tinyalign.common.errors import InputError
from tinyalign.stories.grammar.bigram import BigramModel, plant

_STEPS = 200
_RELATIVE = 1e-13


@dataclass(frozen=True, eq=False)
class Event:
    """Something that happens or not while words are read: a finite automaton.

    `table[q, w]` is the state after word w in state q; state 0 is the start, the last state means that it
    has happened, and is never left. The column of the story's end keeps every state.
    Raises `InputError` for a table that is not such an automaton.
    """

    name: str
    table: Int[np.ndarray, "state word"]

    def __post_init__(self) -> None:
        states = len(self.table)
        if states < 2 or self.table.min() < 0 or self.table.max() >= states:
            raise InputError(
                f"The automaton of {self.name!r} needs at least 2 states and steps between them."
            )
        if (self.table[-1] != states - 1).any() or (self.table[:, -1] != np.arange(states)).any():
            raise InputError(f"In {self.name!r} what has happened stays so, and nothing happens at the end.")

    @property
    def happened(self) -> int:
        """The state that means that the event has happened."""
        return len(self.table) - 1


def occurs(model: BigramModel, words: Sequence[str]) -> Event:
    """One of `words` occurs."""
    table = np.zeros((2, model.end + 1), dtype=np.int64)
    table[0, [model.index(word) for word in words]] = 1
    table[1] = 1
    return Event(f"{' or '.join(words)} occurs", table)


def follows_within(model: BigramModel, trigger: str, words: Sequence[str], window: int) -> Event:
    """One of `words` occurs among the `window` words after `trigger` (each new trigger opens it anew).

    This is the shape of a violated property: an antecedent, then within a window the wrong outcome.
    Raises `InputError` for a window below 1.
    """
    if window < 1:
        raise InputError(f"A window of {window} words holds nothing; give at least 1.")
    # State q < window + 1: q words of the window are left; the last state: it has happened.
    table = np.empty((window + 2, model.end + 1), dtype=np.int64)
    for left in range(window + 1):
        table[left] = max(left - 1, 0)
        table[left, model.index(trigger)] = window
        if left:
            table[left, [model.index(word) for word in words]] = window + 1
        table[left, model.end] = left
    table[window + 1] = window + 1
    return Event(f"{' or '.join(words)} within {window} words after {trigger}", table)


def event_probability(model: BigramModel, event: Event, n_words: int) -> float:
    """The exact probability that `event` happens in the first `n_words` words of a story.

    Dynamic programming over (state of the event, last word): only sums and products of non-negative
    numbers, so that the relative error is of the order of `n_words` roundings, however rare the event.
    """
    if n_words < 0:
        raise InputError(f"A story of {n_words} words cannot be read.")
    here = np.zeros((len(event.table), model.end + 1))
    happened = 0.0
    for position in range(n_words):
        if position == 0:
            arriving = np.zeros_like(here)
            arriving[0] = model.initial
        else:
            arriving = model.step(here)
        here = np.zeros_like(here)
        np.add.at(here, (event.table, np.arange(model.end + 1)), arriving)
        happened += float(here[event.happened].sum())
        here[event.happened] = 0
    return happened


def happens(event: Event, words: Int[np.ndarray, "sample position"]) -> Bool[np.ndarray, " sample"]:
    """Whether the event happens in each of the sampled stories."""
    state = np.zeros(len(words), dtype=np.int64)
    for position in range(words.shape[1]):
        state = event.table[state, words[:, position]]
    return state == event.happened


def hazards(
    model: BigramModel, event: Event, words: Int[np.ndarray, "sample position"]
) -> Float[np.ndarray, "sample position"]:
    """At every position, the probability that the event happens with the next word, given the words before.

    Zero once the event has happened. What a hazard estimator of rare events adds up.
    """
    completing = event.table == event.happened
    completing[event.happened] = False
    # The chance to complete from (state of the event, last word), and from the start.
    chance = completing.astype(np.float64) @ model.transition.T
    found = np.empty(words.shape)
    state = np.zeros(len(words), dtype=np.int64)
    for position in range(words.shape[1]):
        if position == 0:
            found[:, 0] = completing[0] @ model.initial
        else:
            found[:, position] = chance[state, words[:, position - 1]]
        state = event.table[state, words[:, position]]
    return found


@dataclass(frozen=True, eq=False)
class PlantedEvent:
    """A model with a planted transition under which an event has a probability chosen in advance."""

    model: BigramModel
    event: Event
    n_words: int
    trigger: str
    word: str
    transition_probability: float
    probability: float

    def to_json(self) -> dict[str, object]:
        """What was planted and how likely it is (without the model itself)."""
        return {
            "event": self.event.name,
            "n_words": self.n_words,
            "trigger": self.trigger,
            "word": self.word,
            "transition_probability": self.transition_probability,
            "probability": self.probability,
        }


def plant_rare(
    model: BigramModel,
    trigger: str,
    word: str,
    make_event: Callable[[BigramModel], Event],
    n_words: int,
    target: float,
) -> PlantedEvent:
    """Set P(word | trigger) so that the event has exactly the probability `target` (to 1e-13 of itself).

    Chords (and halving) on the exact probability, which grows with the planted one. Raises `InputError`
    when no planted probability below 1 gives the target.
    """

    def at(p: float) -> tuple[BigramModel, Event, float]:
        planted = plant(model, trigger, word, p)
        event = make_event(planted)
        return planted, event, event_probability(planted, event, n_words) - target

    low, high = 0.0, 1 - 1e-9
    below, above = at(low)[2], at(high)[2]
    if not 0 < target < 1 or below > 0 or above < 0:
        reach = f"between {below + target:.3g} and {above + target:.3g}"
        raise InputError(f"Planting {word!r} after {trigger!r} reaches probabilities {reach}, not {target}.")
    # The event's probability is nearly proportional to a small planted one: the first guess uses its slope.
    guess = min(target, 0.5)
    guess = min(guess * -below / (at(guess)[2] - below), 0.5)
    for _ in range(_STEPS):
        planted, event, error = at(guess)
        if abs(error) <= _RELATIVE * target:
            return PlantedEvent(planted, event, n_words, trigger, word, guess, error + target)
        if error < 0:
            low = max(low, guess)
        else:
            high = min(high, guess)
        # The chord from 0, which is nearly the curve; halving where it leaves what is still possible.
        chord = guess * -below / (error - below)
        guess = chord if low < chord < high else (low + high) / 2
    raise InputError(f"No planted probability gives {target} within {_RELATIVE} of itself.")
