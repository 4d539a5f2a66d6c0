"""A plugin of pytest for redis-py's tests: those whose names are in the file that SKIPPED names are left out."""

import os
from pathlib import Path


def pytest_collection_modifyitems(config, items):  # type: ignore[no-untyped-def]
    names = {*Path(os.environ["SKIPPED"]).read_text().splitlines()}
    left_out = [item for item in items if item.nodeid in names]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
