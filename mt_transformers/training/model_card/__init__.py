"""The model card: README.md of a trained folder."""

from __future__ import annotations

from .callback import MultiTaskModelCardCallback
from .card import may_write, render_model_card, write_model_card
from .contents import CardContents, CardSection

__all__ = [
    "CardContents",
    "CardSection",
    "MultiTaskModelCardCallback",
    "may_write",
    "render_model_card",
    "write_model_card",
]
