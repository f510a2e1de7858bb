"""Colours and patterns of the pictures in SVG, for light and dark schemes."""

from __future__ import annotations

__all__ = ["CLASS", "PATTERNS", "STYLE"]

CLASS = "bm"
"""The class of the drawing; all rules of its style are below it, so that they change nothing
else of a page."""

_FILLS = {  # light, dark: fill, stroke, letter
    "hole": (("none", "#8c959f", "#6e7781"), ("none", "#6e7681", "#8b949e")),
    "delayed": (("#ffe08a", "#9a6700", "#3b2300"), ("#7d5a00", "#e3b341", "#fff1c2")),
    "unwritten": (("#cfe3ff", "#0550ae", "#0a2a5c"), ("#123d78", "#79b8ff", "#dcebff")),
    "written": (("#1a7f37", "#0f5323", "#ffffff"), ("#2ea043", "#7ee787", "#04150a")),
    "inline": (("#e9d8fd", "#6639ba", "#3b1a75"), ("#4c2889", "#d2a8ff", "#f3e8ff")),
    "zero": (("#ffffff", "#8c959f", "#57606a"), ("#161b22", "#6e7681", "#9ea7b3")),
    "data": (("#d8dee4", "#57606a", "#1f2328"), ("#3d444d", "#9198a1", "#f0f6fc")),
    "other": (("#ffd7d0", "#7a130b", "#5c0f08"), ("#5a1a14", "#ffdcd7", "#ffe9e6")),
    "open": (("none", "#8c959f", "#57606a"), ("none", "#6e7681", "#9ea7b3")),
}
_DASHED = ("hole", "open")


def _rules(scheme: int) -> str:
    """The colours of one scheme."""
    paper, ink, quiet, alarm = (
        ("#ffffff", "#1f2328", "#57606a", "#b42318"),
        ("#0d1117", "#e6edf3", "#9ea7b3", "#ff7b72"),
    )[scheme]
    rules = [
        f".{CLASS} .paper{{fill:{paper}}}",
        f".{CLASS} text{{fill:{ink}}}",
        f".{CLASS} .small{{fill:{quiet}}}",
        f".{CLASS} .mark,.{CLASS} .differs{{fill:{alarm}}}",
        f".{CLASS} .bar{{fill:{alarm}}}",
        f".{CLASS} .odd{{stroke:{alarm}}}",
        f".{CLASS} .around{{stroke:{paper}}}",
    ]
    for name, schemes in _FILLS.items():
        fill, stroke, letter = schemes[scheme]
        rules.append(f".{CLASS} .cell.{name}{{fill:{fill};stroke:{stroke}}}")
        halo = paper if fill == "none" else fill
        rules.append(f".{CLASS} text.{name}{{fill:{letter};stroke:{halo}}}")
        rules.append(f".{CLASS} .on-{name}{{stroke:{stroke};fill:{stroke}}}")
    return "".join(rules)


STYLE = "".join([
    f".{CLASS}{{max-width:100%;height:auto}}",
    f".{CLASS} text{{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
    "monospace}",
    f".{CLASS} .head{{font-weight:bold;font-size:13px}}",
    f".{CLASS} .title{{font-weight:bold}}",
    f".{CLASS} .small{{font-size:11px}}",
    f".{CLASS} .c{{text-anchor:middle;paint-order:stroke;stroke-width:3}}",
    f".{CLASS} .differs{{font-weight:bold;text-decoration:underline}}",
    f".{CLASS} .mark{{font-size:11px}}",
    f".{CLASS} .odd{{fill:none;stroke-width:2.5}}",
    f".{CLASS} .around{{fill:none;stroke-width:5}}",
    *(f".{CLASS} .cell.{name}{{stroke-dasharray:2 2}}" for name in _DASHED),
    _rules(0),
    f"@media (prefers-color-scheme:dark){{{_rules(1)}}}",
])  # fmt: skip
"""The style sheet."""

PATTERNS = (
    '<pattern id="{ident}-delayed" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<circle cx="1.5" cy="1.5" r="0.7" class="on-delayed" stroke="none"/></pattern>'
    '<pattern id="{ident}-unwritten" width="6" height="6" patternUnits="userSpaceOnUse"'
    ' patternTransform="rotate(45)"><line y2="6" class="on-unwritten" stroke-width="1"'
    ' stroke-opacity="0.45"/></pattern>'
)
"""What lies over cells so that they can be told apart without colours."""
