"""A dataplane worker without a kernel, on real rows, until it is killed: ``python -m tests.dataplane.looking``."""

from __future__ import annotations

import queue
import threading
from typing import Any

from dataplane import worker
from dataplane.reconcile import Reconciler
from tests.dataplane.test_worker import FakeKernel


def main() -> None:
    """Run the worker's own loop; nobody wakes it, so each tick makes it look."""
    kernel: Any = FakeKernel()
    reconciler = Reconciler(kernel.maps, kernel.links, kernel.neighbours, None, ())
    worker.run(worker.Worker(kernel, "director", reconciler), queue.SimpleQueue(), threading.Event())


if __name__ == "__main__":
    main()
