"""A plugin of pytest for the tests of others: those whose names are in the file that SKIPPED names are left out.

A name without what stands in brackets means the test with each of its parameters.
"""

import os
from pathlib import Path


def pytest_collection_modifyitems(config, items):  # type: ignore[no-untyped-def]
    names = {*Path(os.environ["SKIPPED"]).read_text().splitlines()}
    left_out = [item for item in items if not names.isdisjoint({item.nodeid, item.nodeid.partition("[")[0]})]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
