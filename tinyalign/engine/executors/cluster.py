"""An executor on many machines: Dask `distributed`, the optional extra `tinyalign[cluster]`."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tinyalign.common.errors import InputError
from tinyalign.engine.executors.task import Task

if TYPE_CHECKING:
    from distributed import Client, Future


class Dask:
    """Shards on the workers of a Dask cluster, found by a `distributed.Client` or a scheduler's address.

    Workers need tinyalign installed and the model's place readable. A worker that dies is Dask's to replace:
    its shards, those done but not fetched too, are computed again by others.
    """

    def __init__(self, cluster: Client | str, *, retries: int = 3) -> None:
        try:
            import distributed
        except ImportError as error:
            raise InputError("Dask is not installed: pip install 'tinyalign[cluster]'.") from error
        if isinstance(cluster, str):
            try:
                cluster = distributed.Client(cluster, timeout=10)
            except (OSError, ValueError) as error:
                raise InputError(
                    f"No Dask scheduler answers at {cluster!r}: start one with `dask scheduler`."
                ) from error
        self.client, self.retries = cluster, retries

    def shards(self, task: Task, shards: Sequence[range]) -> Iterator[tuple[range, bytes]]:
        """Shards as they are done; raises `InputError` when workers keep dying on one or the cluster goes."""
        from distributed import KilledWorker, as_completed
        from distributed.client import ClosedClientError, FutureCancelledError

        # Names of this run alone: the scheduler may still be forgetting those of an earlier one.
        run = uuid.uuid4().hex
        futures: dict[Future, range] = {}
        try:
            for indices in shards:
                key = f"tinyalign-{task.digest[:16]}-{run}-{indices.start}-{indices.stop}"
                futures[self.client.submit(task.shard, indices, key=key, retries=self.retries)] = indices
            for future in as_completed(futures):
                yield futures[future], future.result()
        except KilledWorker as error:
            raise InputError(
                "Dask workers died again and again on one shard: give them memory, or make shards smaller."
            ) from error
        except (ClosedClientError, FutureCancelledError) as error:
            raise InputError(
                "The connection to the Dask scheduler was closed or its work cancelled: connect again; with "
                "a store, done shards are kept."
            ) from error
        finally:
            with contextlib.suppress(ClosedClientError):
                self.client.cancel(list(futures))
