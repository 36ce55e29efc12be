"""The model card: README.md of a trained folder."""

from __future__ import annotations

from .callback import MultiTaskModelCardCallback
from .card import may_write, render_model_card, write_model_card
from .contents import CardContents

__all__ = ["CardContents", "MultiTaskModelCardCallback", "may_write", "render_model_card", "write_model_card"]
