# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Draws attention as a picture or a standalone HTML page, and the losses of a training as a picture.

This file knows nothing of models and tokenizers: it takes what `inspection.py` found, the weights and the tokens of one
sentence pair, or the log that a trainer keeps. matplotlib is imported only when a picture is asked for.
"""

import contextlib
import textwrap
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jinja2 import Environment

from .inspection import Inspection, visible


if TYPE_CHECKING:
    from matplotlib.figure import Figure

# inches
CELL = 0.21
SMALLEST_SIDE = 1.5
LARGEST_SIDE = 40.0
BAR_WIDTH = 0.2
MARGIN = 1.0
CURVE_SIZE = (7.0, 4.0)
# points
LABEL_SIZE = 10.0
TITLE_SIZE = 12.0
# characters
TITLE_LENGTH = 60
# pixels, of a page in a notebook
FRAME_HEIGHT = 760


def _weights(attention, source_tokens: Sequence[str], target_tokens: Sequence[str]) -> np.ndarray:
    """Checks the attention of one sentence pair and returns it as floats of shape (T, S)."""
    weights = torch.as_tensor(attention).detach().float().cpu().numpy()
    expected = (len(target_tokens), len(source_tokens))
    if weights.shape != expected:
        raise ValueError(
            f"Expected attention of shape (target tokens, source tokens) = {expected}, but got {weights.shape}. Take "
            "one sentence and one head, such as `cross_attentions[-1][0, 0]`, and leave out the padding on both sides."
        )
    if 0 in expected:
        raise ValueError(f"Expected at least one target and one source token, but got {expected[0]} and {expected[1]}.")
    # half precision rounds a weight of one to slightly more; not (...) also catches NaN
    if not (weights.min() >= 0 and weights.max() <= 1.01):
        raise ValueError(
            f"Expected attention weights from 0 to 1, but got values from {weights.min():.3g} to {weights.max():.3g}. "
            "Scores before the softmax are no weights."
        )
    return weights


def _escape(character: str) -> str:
    return f"U+{ord(character):04X}"


def _drawn_by(path: str, characters: set[str]) -> set[str]:
    """Returns the characters for which the font in a file has a glyph."""
    from matplotlib import font_manager

    font = font_manager.get_font(path)
    # bitmap fonts, such as those of coloured emoji, cannot be drawn
    return {c for c in characters if font.scalable and font.get_char_index(ord(c))}


def _font_families(characters: set[str]) -> tuple[list[str], set[str]]:
    """Finds installed fonts for all characters.

    1. The families that the user has set in `rcParams["font.family"]` come first.
    2. While characters are missing, the family that has most of them is added; matplotlib falls back on it.
    3. If some still are, fonts that matplotlib has not heard of are looked for.

    Returns:
        The families in that order, and the characters that none of them has.
    """
    from matplotlib import font_manager, rcParams

    families, missing = list(rcParams["font.family"]), set(characters)
    for family in families:
        # a list, because matplotlib parses a lone string as a pattern and stops at hyphens
        missing -= _drawn_by(font_manager.findfont(font_manager.FontProperties(family=[family])), missing)
    missing = _add_families(families, missing)
    if missing:
        _find_new_fonts()
        missing = _add_families(families, missing)
    return families, missing


def _add_families(families: list[str], missing: set[str]) -> set[str]:
    """Adds to `families` those that have missing characters; returns the characters that none has."""
    from matplotlib import font_manager

    # the font of last resort has a box for everything
    faces = [face for face in font_manager.fontManager.ttflist if "Last Resort" not in face.name]
    # matplotlib remembers its list of fonts longer than some are installed
    faces = [face for face in faces if Path(face.fname).exists()]
    faces.sort(key=lambda face: (face.weight != 400, face.name))
    while missing:
        best = max(faces, key=lambda face: len(_drawn_by(face.fname, missing)))
        drawn = _drawn_by(best.fname, missing)
        if not drawn:
            break
        families.append(best.name)
        missing = missing - drawn
    return missing


def _find_new_fonts() -> None:
    """Tells matplotlib of fonts that were installed after it wrote its list."""
    from matplotlib import font_manager

    for path in set(font_manager.findSystemFonts()) - {face.fname for face in font_manager.fontManager.ttflist}:
        # one file that is no font must not hide the others
        with contextlib.suppress(OSError, RuntimeError):
            font_manager.fontManager.addfont(path)


def _is_right_to_left(text: str) -> bool:
    """Returns whether the first letter of a text belongs to a script that runs from right to left."""
    return next((kind != "L" for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), False)


def _width(text: str, size: float) -> float:
    """Returns about the width of one line in inches: East Asian characters are square, others 0.6 of that."""
    return sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.6 for c in text) * size / 72


def _draw(
    figure: "Figure", weights: np.ndarray, sources: list[str], targets: list[str], title: str, families: list[str]
) -> None:
    """Draws the heat map, about square cells; the figure's constrained layout then makes room for every label."""
    cell = min(CELL, LARGEST_SIDE / max(weights.shape))
    size = LABEL_SIZE * cell / CELL
    height, width = (max(SMALLEST_SIDE, cell * count) for count in weights.shape)
    longest_source, longest_target = (max(_width(label, size) for label in labels) for labels in (sources, targets))
    longest_title = max(_width(line, TITLE_SIZE) for line in title.split("\n"))
    rotation = 45 if longest_source > cell else 0
    text = {"fontfamily": families, "parse_math": False}

    figure.set_size_inches(
        max(width + longest_target + BAR_WIDTH + 2 * MARGIN, longest_title + MARGIN),
        height + longest_source + MARGIN + (title.count("\n") + 1) * TITLE_SIZE / 72,
    )
    axes, bar = figure.subplots(1, 2, width_ratios=[width, BAR_WIDTH])
    image = axes.imshow(weights, vmin=0, vmax=1, cmap="Blues", aspect="auto", interpolation="nearest")
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(len(sources)), sources, rotation=rotation, **text, fontsize=size)
    axes.set_yticks(range(len(targets)), targets, **text, fontsize=size)
    for label in axes.get_xticklabels() if rotation else []:
        label.set(ha="left", rotation_mode="anchor")
    # lines between the cells lead the eye from a far cell to its labels
    axes.set_xticks(np.arange(len(sources) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(targets) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    if _is_right_to_left("".join(sources)):
        axes.invert_xaxis()
    axes.set(xlabel="source", ylabel="target")
    figure.colorbar(image, cax=bar, label="attention weight")
    figure.suptitle(title, fontsize=TITLE_SIZE, **text)


def _new_figure(caller: str) -> "Figure":
    """Makes a figure that pyplot does not know, and so does not keep in memory."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f'{caller} needs matplotlib. Install it with: pip install "hf_rnn_attn[viz]"') from error
    return Figure(layout="constrained")


def plot_training(log: Sequence[Mapping[str, float]]) -> "Figure":
    """Draws the losses of a training over its epochs.

    Args:
        log (`Sequence` of `Mapping`):
            The `log_history` of a trainer: entries with "epoch" and "loss" (training) or "eval_loss" (validation).

    Returns:
        A `matplotlib.figure.Figure` that pyplot does not know; `figure.savefig("training.png")` writes it.

    Raises:
        ValueError: if the log holds no loss.
        ImportError: if matplotlib is absent.

    Example:
        >>> log = [{"epoch": 0.5, "loss": 4.1}, {"epoch": 1.0, "loss": 3.2}, {"epoch": 1.0, "eval_loss": 3.4}]
        >>> plot_training(log).savefig("training.png")
    """
    figure = _new_figure("plot_training")
    curves = {
        label: [(entry["epoch"], entry[name]) for entry in log if name in entry]
        for label, name in {"training": "loss", "validation": "eval_loss"}.items()
    }
    if not any(curves.values()):
        raise ValueError("Expected a log with entries of `loss` or `eval_loss`, but found none. Set `logging_steps`.")
    figure.set_size_inches(CURVE_SIZE)
    axes = figure.subplots()
    for (label, points), marker in zip(curves.items(), (None, "o"), strict=True):
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=4)
    axes.set(xlabel="epoch", ylabel="loss per token")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def plot_attention(
    attention, source_tokens: Sequence[str], target_tokens: Sequence[str], *, title: str | None = None
) -> "Figure":
    """Draws the attention of one sentence pair as a heat map, source in reading direction, target from top to bottom.

    The colours always run from 0 to 1, so that two pictures can be compared. The size follows the number of tokens.
    Fonts are chosen among the installed ones; a character that none of them has is shown by its code, such as U+AC00,
    and a warning names it.

    Args:
        attention (array or `torch.Tensor` of shape `(target_length, source_length)`):
            Attention weights from 0 to 1, e.g. `cross_attentions[-1][0, 0]` of a forward pass.
        source_tokens, target_tokens (sequences of `str`): The tokens on both sides, in logical order.
        title (`str`, *optional*): Written above.

    Returns:
        A `matplotlib.figure.Figure` that pyplot does not know; `figure.savefig("attention.png")` writes it.

    Raises:
        ValueError: if the shape is not that of the tokens, a side is empty, or the values are no weights.
        ImportError: if matplotlib is absent.

    Example:
        >>> figure = plot_attention([[0.9, 0.1], [0.2, 0.8]], ["guten", "Tag"], ["good", "day"])
        >>> figure.savefig("attention.png")
    """
    figure = _new_figure("plot_attention")
    weights = _weights(attention, source_tokens, target_tokens)
    sources, targets = [visible(token) for token in source_tokens], [visible(token) for token in target_tokens]
    title = textwrap.fill(title or "", TITLE_LENGTH)
    families, missing = _font_families(set("".join([*sources, *targets, title])) - {"\n"})
    if missing:
        named = ", ".join(f"{character} ({_escape(character)})" for character in sorted(missing)[:5])
        warnings.warn(
            f"{len(missing)} characters are drawn as codes, for no installed font has them: {named}"
            f"{' ...' if len(missing) > 5 else ''}. Install one that does, such as Noto of their script.",
            stacklevel=2,
        )
    codes = str.maketrans({character: _escape(character) for character in missing})
    sources, targets = [label.translate(codes) for label in sources], [label.translate(codes) for label in targets]
    _draw(figure, weights, sources, targets, title.translate(codes), families)
    return figure


@dataclass(frozen=True)
class AttentionPage:
    """A page to look inside of translations: one file that loads nothing from elsewhere.

    It shows the text with links, the matrix, each step's distribution and the beam; by mouse, keyboard or screen
    reader, in the reader's light or dark setting, and right-to-left where the text is. In a notebook,
    `display(page)` shows it in a frame of its own.

    Args:
        inspections (`Sequence[Inspection]`): what [`inspect_translations`] returns; one is shown at a time.
        title (`str`, *optional*, defaults to `"Looking inside"`): heading of the page.

    Example:
    ```python
    >>> import hf_rnn_attn
    >>> from hf_rnn_attn.inspection import inspect_translations
    >>> from transformers import pipeline

    >>> translator = pipeline("translation", model="path/to/checkpoint")
    >>> AttentionPage(inspect_translations(translator, ["Guten Morgen!", "Gute Nacht!"])).save("attention.html")

    ```
    """

    inspections: Sequence[Inspection]
    title: str = "Looking inside"

    @property
    def html(self) -> str:
        """The text of the page. Tokens are escaped: they may hold markup."""
        template = resources.files("hf_rnn_attn").joinpath("templates/attention.html").read_text(encoding="utf-8")
        return (
            Environment(autoescape=True, keep_trailing_newline=True)
            .from_string(template)
            .render(title=self.title, inspections=[asdict(inspection) for inspection in self.inspections])
        )

    def save(self, path: str | Path) -> None:
        """Writes the page to a file."""
        Path(path).write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        # a frame keeps the styles and the scripts of page and notebook apart
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.title)}" sandbox="allow-scripts" '
            f'style="width: 100%; height: {FRAME_HEIGHT}px; border: 0"></iframe>'
        )
