"""The page's style sheet: nothing of it is fetched from anywhere."""

from __future__ import annotations

from .colors import NUMBER_OF_COLORS

__all__ = ["FONTS", "MONO_FONTS", "make_style_sheet"]

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "Arial", "sans-serif")
MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace")

_LAYOUT = """
.gradio-container { width: 100% !important; max-width: 1120px !important;
  margin: 0 auto !important; padding: 20px 24px 40px !important; }
.gradio-container .html-container { padding: 0 !important; }
footer { display: none !important; }
.mt-title { display: flex; align-items: baseline; gap: 14px; flex-wrap: wrap; padding: 4px 2px 2px; }
.mt-title h1 { font-size: 26px; font-weight: 700; letter-spacing: -0.01em; margin: 0; }
.mt-title p { margin: 0; font-size: 14px; color: var(--body-text-color-subdued); }
.mt-examples button {
  justify-content: flex-start; text-align: left; font-weight: 400; font-size: 13.5px; min-width: 0;
  padding: 9px 12px; white-space: normal; border: 1px solid var(--border-color-primary);
  background: var(--block-background-fill); color: var(--body-text-color);
}
.mt-examples button:hover { border-color: #4f6bed; }
.mt-examples { gap: 10px; }
.mt-heading { font-size: 14px; color: var(--body-text-color-subdued); padding: 9px 2px 0; }
.mt-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 16px;
  grid-auto-flow: dense; }
.mt-card { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 16px 18px 18px;
  background: var(--block-background-fill); box-shadow: 0 1px 2px rgba(15, 23, 42, .05); min-width: 0; }
.mt-wide { grid-column: 1 / -1; }
.mt-card h3 { margin: 0 0 12px; font-size: 16px; font-weight: 650; display: flex; align-items: baseline; gap: 10px; }
.mt-card h3 small { font-size: 12.5px; font-weight: 400; color: var(--body-text-color-subdued); }
.mt-note { color: var(--body-text-color-subdued); margin: 4px 0 0; }
.mt-error { border-color: #e5484d66; background: #e5484d10; }
.mt-error-text { color: #c4282d; margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.mt-value { font-size: 30px; font-weight: 650; margin: 0; font-variant-numeric: tabular-nums; }
"""

_BARS = """
.mt-bar { display: grid; grid-template-columns: 1fr auto; gap: 3px 10px; margin-top: 9px; font-size: 14px; }
.mt-bar:first-of-type { margin-top: 0; }
.mt-bar-label { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.mt-bar-score { font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued); }
.mt-bar-track { grid-column: 1 / -1; height: 7px; border-radius: 4px; background: rgba(100, 116, 139, .16);
  overflow: hidden; display: block; }
.mt-bar-track span { display: block; height: 100%; border-radius: 4px; background: #94a3b8; }
.mt-best .mt-bar-label { font-weight: 650; }
.mt-best .mt-bar-score { color: inherit; }
.mt-best .mt-bar-track span { background: #4f6bed; }
"""

_TEXTS = """
.mt-text { font-size: 17px; line-height: 2.1; white-space: pre-wrap; overflow-wrap: anywhere; }
.mt-text mark { color: inherit; border-radius: 6px; padding: 4px 7px; background: var(--mt-fill);
  box-decoration-break: clone; -webkit-box-decoration-break: clone; }
.mt-text mark b { font-size: 11px; font-weight: 650; margin-left: 7px; color: var(--mt-ink); white-space: nowrap; }
.mt-words { line-height: 1.3; }
.mt-words mark { display: inline-flex; flex-direction: column; align-items: center; margin: 3px 0; padding: 3px 6px; }
.mt-words mark b { margin: 1px 0 0; }
.mt-legend { list-style: none; display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 14px 0 0 !important;
  padding: 0 !important; font-size: 13px; }
.mt-legend li { display: flex; align-items: center; gap: 6px; margin: 0 !important; }
.mt-legend li::before { content: ""; width: 11px; height: 11px; border-radius: 3px; background: var(--mt-ink); }
.mt-legend b { font-weight: 500; }
.mt-legend small, .mt-answer small { color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.mt-answer { font-size: 22px; font-weight: 650; margin: 0 0 8px; display: flex; gap: 12px; align-items: baseline; }
.mt-answer small { font-size: 14px; font-weight: 400; }
.mt-tree { overflow-x: auto; }
.mt-tree svg { display: block; max-width: none; }
.mt-word { font-size: 15px; text-anchor: middle; fill: currentColor; }
.mt-relation { font-size: 12px; text-anchor: middle; fill: #4f6bed; stroke: var(--block-background-fill);
  stroke-width: 5px; paint-order: stroke; }
.mt-arc { fill: none; stroke: #94a3b8; stroke-width: 1.4px; }
.mt-arrow { fill: #94a3b8; }
"""

_TABLES = """
.mt-table { border-collapse: collapse; font-size: 14px; width: auto; }
.mt-table th { text-align: left; font-weight: 500; font-size: 12.5px; color: var(--body-text-color-subdued); }
.mt-table th, .mt-table td { padding: 4px 22px 4px 0; border: 0;
  border-bottom: 1px solid var(--border-color-primary); }
.mt-table .mt-number { text-align: right; font-variant-numeric: tabular-nums; }
.mt-json { font-size: 12.5px; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 320px;
  overflow: auto; margin: 0; }
.mt-details { margin-top: 10px; font-size: 13.5px; overflow-x: auto; }
.mt-details summary, .mt-tokens summary { cursor: pointer; color: var(--body-text-color-subdued); font-size: 13.5px; }
.mt-tokens, .mt-time { margin: 18px 4px 0; color: var(--body-text-color-subdued); font-size: 13.5px; }
.mt-tokens p { margin: 8px 0 0; line-height: 1.9; overflow-wrap: anywhere; }
.mt-tokens code { font-size: 12.5px; padding: 2px 6px; border-radius: 5px; background: rgba(100, 116, 139, .12);
  color: var(--body-text-color); white-space: pre; border: 0; }
"""


def make_style_sheet() -> str:
    """
    Write the style sheet, with a color for each number of [`color_labels`].

    Returns:
        `str`: CSS.

    Example:
        >>> ".mt-color-0 " in make_style_sheet()
        True
    """
    step = 360 // NUMBER_OF_COLORS
    # hues that stand next to each other are hard to tell apart: numbers that do are far from each other
    hues = [(number * 5 % NUMBER_OF_COLORS) * step + 10 for number in range(NUMBER_OF_COLORS)]
    colors = "".join(
        f".mt-color-{number} {{ --mt-fill: hsla({hue}, 75%, 58%, .20); --mt-ink: hsl({hue}, 60%, 42%); }}\n"
        for number, hue in enumerate(hues)
    )
    return "".join((_LAYOUT, _BARS, _TEXTS, _TABLES, colors))
