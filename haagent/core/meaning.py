"""Words that carry their meaning: the tables of the documents are made from them."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Meaningful(StrEnum):
    """Members are written `NAME = "word", "meaning"`. What stands between the two a class takes in an `__init__`."""

    meaning: str

    def __new__(cls, word: str, *_: object) -> Self:
        self = str.__new__(cls, word)
        self._value_ = word
        return self

    def __init__(self, _: str, meaning: str) -> None:
        self.meaning = meaning
