"""A page in the browser that shows every head's answer, and a JSON API beside it."""

from __future__ import annotations

from .forms import InputForm, find_forms
from .heading import describe_model
from .launch import check_address, launch_page
from .prediction import Prediction
from .service import PredictionService

__all__ = [
    "InputForm",
    "Prediction",
    "PredictionService",
    "check_address",
    "describe_model",
    "find_forms",
    "launch_page",
]
