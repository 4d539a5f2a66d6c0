"""What the pages of docs/guide show, taken from them as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guide"


def block(page: str, name: str) -> str:
    """The code below `<!-- tested: NAME -->`."""
    found = re.search(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", (GUIDE / page).read_text(), re.DOTALL)
    assert found is not None, f"{page} has no block `{name}`"
    return found[1]
