"""A contestant at its best batch: batches are tried in ascending order, as long as that pays."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

from tinyalign.bench.failures import FAILURES, first_line
from tinyalign.bench.judging import Agreement, Judge
from tinyalign.bench.peers import Output, Peer, Run
from tinyalign.bench.timing import Clock, processor_seconds, synchronizer
from tinyalign.common.errors import CheckpointError

# A batch so much slower than the best one says that larger ones do not help.
_SLOWER = 0.9
# Batches so close to the best one, this many at most, are timed once more before one is chosen.
_CLOSE, _CONTENDERS = 0.85, 3
_LONG = 3.0  # seconds


@dataclass(frozen=True)
class Trial:
    """What was tried of a contestant: work a second by batch, and why no larger batch was.

    `rates`: of a batch that was timed again the faster time, as what disturbs a run only slows it.
    `cut`: only for the time that a larger batch would have taken, so that one may be better.
    """

    rates: dict[int, float]
    ended: str
    cut: bool = False


class Entry:
    """A contestant set up for one batch, and its output of the last run."""

    def __init__(self, peer: Peer, judge: Judge, stories: int, prepared: Run) -> None:
        self.peer, self.judge, self.stories, self._prepared = peer, judge, stories, prepared
        self.output: Output = peer.output(stories, judge.setting.tokens)
        self.trial = Trial({}, "")
        self.agreement: Agreement | None = None

    @property
    def work(self) -> float:
        """New tokens a run."""
        return float(self.stories * self.judge.setting.tokens)

    def run(self) -> None:
        """One run into an output that was spoilt first."""
        self.output.spoil()
        self._prepared(self.output)

    def check(self) -> None:
        """Raises `CheckpointError` unless the last run's output is right; keeps the worst agreement."""
        found = self.judge.judge(self.peer, self.output)
        if self.agreement is None or (found.worst or 0) >= (self.agreement.worst or 0):
            self.agreement = found


def best_entry(
    peer: Peer,
    judge: Judge,
    batches: list[int],
    stack: ExitStack,
    *,
    clock: Clock,
    longest: float,
    least: float = 0.0,
) -> Entry | str:
    """The contestant at the fastest of `batches`, warmed up and checked, or why it cannot take part.

    Every batch runs twice, the second time counts and is repeated until `least` seconds are over; once,
    where the first took so long that what only a first run does is nothing beside it. No larger ones are
    tried once a batch is slower than the best, twice, or when the next one would take more than `longest`
    seconds a run. Those close to the best one are timed again at the end, unless they would be compiled
    again: one timing in a disturbed moment chooses nobody's batch.
    Raises `CheckpointError` where we ourselves are wrong; a peer that is wrong is refused.
    """
    search = _Search(peer, judge, stack, clock, longest, least)
    try:
        found = search.over(batches)
        return found if isinstance(found, str) or peer.compiles else search.decided(found)
    except CheckpointError as error:
        if peer.own:
            raise
        return f"refused: {error}"


@dataclass(frozen=True)
class _Search:
    """The search of `best_entry`, whose arguments these are."""

    peer: Peer
    judge: Judge
    stack: ExitStack
    clock: Clock
    longest: float
    least: float

    def over(self, batches: list[int]) -> Entry | str:
        """The contestant at the batch that seems the fastest, or why there is none."""
        best: Entry | None = None
        rates: dict[int, float] = {}
        ended, cut = "it was the largest batch to try", False
        for stories in batches:
            with ExitStack() as own:
                try:
                    entry, seconds, rates[stories] = self.tried(stories, own)
                    if best is not None and rates[stories] < _SLOWER * rates[best.stories]:
                        rates[stories] = max(rates[stories], self.again(entry))
                except CheckpointError:
                    raise
                except FAILURES as error:
                    if self.peer.own and best is None:
                        raise
                    reason = first_line(error)
                    if best is None:
                        return f"it failed at {stories} stories: {reason}"
                    rates.pop(stories, None)
                    ended = f"{stories} stories failed: {reason}"
                    break
                if best is None or rates[stories] > rates[best.stories]:
                    # What the slower one holds is given back at the end: it may share threads with this one.
                    best = entry
                    self.stack.push(own.pop_all())
                elif rates[stories] < _SLOWER * rates[best.stories]:
                    ended = f"{stories} stories were slower"
                    break
            following = next((batch for batch in batches if batch > stories), None)
            if following is not None and seconds * following / stories > self.longest:
                ended, cut = f"{following} stories would take more than {self.longest:g} seconds", True
                break
        assert best is not None
        best.trial = Trial(rates, ended, cut)
        return best

    def decided(self, best: Entry) -> Entry:
        """The contestant at its fastest batch, those close to the best one having been timed again."""
        rates = dict(best.trial.rates)
        fastest = sorted(rates, key=lambda batch: -rates[batch])[:_CONTENDERS]
        close = [batch for batch in fastest if rates[batch] >= _CLOSE * rates[best.stories]]
        if len(close) == 1:
            return best
        chosen = best
        # The last ones first, so that no batch was only timed in one moment.
        for stories in sorted(close, reverse=True):
            with ExitStack() as own:
                try:
                    if stories == best.stories:
                        entry, rate = best, self.again(best)
                    else:
                        entry, _, rate = self.tried(stories, own)
                except CheckpointError:
                    raise
                except FAILURES:
                    continue  # the figure that it had before stands, and it is not chosen
                rates[stories] = max(rates[stories], rate)
                if rates[stories] > rates[chosen.stories]:
                    chosen = entry
                    self.stack.push(own.pop_all())
        chosen.trial = Trial(rates, best.trial.ended, best.trial.cut)
        return chosen

    def tried(self, stories: int, own: ExitStack) -> tuple[Entry, float, float]:
        """The contestant with a batch, checked, its seconds a run and its tokens a second."""
        prepared = own.enter_context(self.peer.prepare(self.judge.setting, stories))
        entry = Entry(self.peer, self.judge, stories, prepared)
        seconds, rate = _timed(entry, self.clock)
        if seconds < _LONG or self.peer.compiles:
            seconds, rate = _timed(entry, self.clock, self.least)
        entry.check()
        return entry, seconds, rate

    def again(self, entry: Entry) -> float:
        """Tokens a second of an entry that ran before, checked."""
        rate = _timed(entry, self.clock, self.least)[1]
        entry.check()
        return rate


def _timed(entry: Entry, clock: Clock, least: float = 0.0) -> tuple[float, float]:
    """(seconds, tokens a second) of a run, by `clock`, the mean of as many as `least` seconds take."""
    wait = synchronizer(entry.judge.setting.model.device)
    wait()
    started, busy, runs = time.perf_counter(), processor_seconds(), 0
    while runs == 0 or time.perf_counter() - started < least:
        entry.run()
        wait()
        runs += 1
    wall, cpu = time.perf_counter() - started, processor_seconds() - busy
    seconds = (cpu if clock == "cpu" else wall) / runs
    return seconds, entry.work / seconds
