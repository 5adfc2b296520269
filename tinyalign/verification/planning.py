"""What a verification would take: samples, rough time and power for every leaf, without running it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from tinyalign.statistics.multiplicity import attempt_alpha
from tinyalign.verification.canonical import sha256_of
from tinyalign.verification.context import Context
from tinyalign.verification.leaf import Leaf
from tinyalign.verification.preparing import Case, leaf_contexts
from tinyalign.verification.running import plan_all
from tinyalign.verification.seal import sealed_seed

PROBED = 4


@dataclass(frozen=True)
class LeafPlan:
    """A leaf's samples, its power (None where nobody can say) and a rough time in seconds."""

    id: str
    kind: str
    claim: str
    alpha: float
    samples: int
    power: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def plan(case: Case, alpha: float = 0.05, attempt: int = 1) -> tuple[LeafPlan, ...]:
    """The plan of every leaf, as attempt number `attempt`; nothing is kept and the ledger isn't touched.

    The time comes from measuring a handful of rows of each leaf outside the sealed stream, so it is rough:
    batches of four are slower than whole blocks, and leaves that share their rows are counted twice. Raises
    what `planned` raises.
    """
    # Another seed than the sealed one: planning must not look at the test data.
    seed = sealed_seed("plan " + sha256_of(case.specification), case.base.sha256, case.edited.sha256)
    context = Context(
        base=case.base,
        edited=case.edited,
        prop=case.prop,
        pair=case.pair,
        seed=seed,
        edit=case.edit,
        alpha=attempt_alpha(attempt, alpha),
        localization=case.localization,
        preserved=case.preserved,
        stories=case.stories,
    )
    contexts = leaf_contexts(case, context)
    planned = plan_all(contexts)
    for leaf, own in list(contexts.values())[:1]:
        # The first scoring pays for what is loaded lazily.
        leaf.measure(own, range(min(1, planned[leaf.id])))
    return tuple(_leaf_plan(leaf, own, planned[name]) for name, (leaf, own) in contexts.items())


def _leaf_plan(leaf: Leaf, context: Context, samples: int) -> LeafPlan:
    probed = min(PROBED, samples)
    started = time.perf_counter()
    if probed:
        leaf.measure(context, range(probed))
    spent = time.perf_counter() - started
    return LeafPlan(
        id=leaf.id,
        kind=leaf.kind,
        claim=leaf.claim,
        alpha=context.alpha,
        samples=samples,
        power=leaf.power(context),
        seconds=spent * samples / probed if probed else 0.0,
    )
