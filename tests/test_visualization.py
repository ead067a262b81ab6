# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of the pictures, by what a reader would see: labels, colours, glyphs, nothing cut off."""

import sys

import numpy as np
import pytest
import torch
from matplotlib import font_manager, pyplot, rcParams

from hf_rnn_attn.visualization import plot_attention, plot_training


WEIGHTS = [[0.9, 0.1, 0.0], [0.25, 0.5, 0.25]]
SOURCE = ["▁guten", "▁Tag", "</s>"]
TARGET = ["▁hello", "</s>"]


def labels(figure):
    axes = figure.axes[0]
    return tuple([tick.get_text() for tick in ticks] for ticks in (axes.get_xticklabels(), axes.get_yticklabels()))


def all_texts(figure):
    axes, bar = figure.axes
    texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label, bar.yaxis.label]
    return [text for text in [*texts, *figure.texts] if text.get_text()]


# picture


def is_mirrored(figure):
    left, right = figure.axes[0].get_xlim()
    return left > right


def test_source_runs_right_and_target_down():
    figure = plot_attention(WEIGHTS, SOURCE, TARGET, title="Guten Tag")
    axes, bar = figure.axes
    assert labels(figure) == (SOURCE, TARGET)
    np.testing.assert_allclose(axes.images[0].get_array(), WEIGHTS, atol=1e-6)
    assert axes.images[0].origin == "upper"
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("source", "target", "attention weight")
    assert figure.get_suptitle() == "Guten Tag"


def test_colours_run_from_zero_to_one():
    faint = plot_attention([[0.01, 0.02]], ["a", "b"], ["c"])
    assert faint.axes[0].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_with_gradient_are_welcome(dtype):
    weights = torch.tensor(WEIGHTS, dtype=dtype, requires_grad=True)
    shown = plot_attention(weights, SOURCE, TARGET).axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, WEIGHTS, atol=4e-3)


def test_pyplot_never_hears_of_the_figure():
    pyplot.close("all")
    plot_attention(WEIGHTS, SOURCE, TARGET)
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("sources", "targets", "title"),
    [
        (["a"], ["b"], None),
        (["Donaudampfschifffahrtsgesellschaft"], ["a"], "A title that is much wider than one cell " * 3),
        (list("Montag, 3. März 2042"), list("2042-03-03"), "Montag, 3. März 2042"),
        ([f"Fahrradweg{i}" for i in range(60)], [f"cycleway{i}" for i in range(60)], None),
    ],
)
def test_no_text_is_cut_off(sources, targets, title):
    figure = plot_attention(np.full((len(targets), len(sources)), 1 / len(sources)), sources, targets, title=title)
    figure.draw_without_rendering()
    for text in all_texts(figure):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text


@pytest.mark.parametrize("tokens", [list("abcdefghijklmnopqrst"), [f"Fahrradweg{i}" for i in range(20)]])
def test_neighbouring_labels_do_not_touch(tokens):
    """Labels are rotated where they would run into each other; what then counts is the distance across the text."""
    figure = plot_attention(np.eye(20), tokens, tokens)
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticklabels()
    first, second = ticks[0], ticks[1]
    distance = second.get_window_extent().x0 - first.get_window_extent().x0
    if first.get_rotation() == 45:
        assert distance * np.sin(np.pi / 4) > first.get_fontsize() * figure.dpi / 72
    else:
        assert first.get_window_extent().x1 < second.get_window_extent().x0


def test_size_follows_the_number_of_tokens_up_to_a_limit():
    sides = [plot_attention(np.eye(n), ["a"] * n, ["b"] * n).get_size_inches().max() for n in (5, 60, 300)]
    assert sides[0] < 5 < sides[1] < sides[2] < 50


def test_invisible_characters_are_shown():
    figure = plot_attention([[0.2] * 5], [" ", "a\n", "\u202f", "\u200d", "▁"], ["-"])
    assert labels(figure)[0] == ["␣", "aU+000A", "U+202F", "U+200D", "▁"]


def test_dollar_signs_are_no_formula():
    figure = plot_attention([[1.0]], ["$x$"], [r"$\frac$"], title="$5 and $6 \\frac$")
    figure.draw_without_rendering()
    assert labels(figure) == (["$x$"], [r"$\frac$"])


def test_a_character_without_a_font_is_shown_by_its_code(monkeypatch):
    bundled = [face for face in font_manager.fontManager.ttflist if "DejaVu" in face.name or "Last Resort" in face.name]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", bundled)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    with pytest.warns(UserWarning, match=r"1 characters are drawn as codes.*: 월 \(U\+C6D4\). Install"):
        figure = plot_attention([[0.5, 0.5]], ["월", "März"], ["3"], title="3월")
    assert labels(figure)[0] == ["U+C6D4", "März"]
    assert figure.get_suptitle() == "3U+C6D4"


def test_a_font_that_has_the_character_is_found(monkeypatch):
    """A family without Cyrillic stands for the usual one without Hangul: both need help from another font."""
    monkeypatch.setitem(rcParams, "font.family", ["cmtt10"])
    assert not font_manager.get_font(font_manager.findfont("cmtt10")).get_char_index(ord("Ж"))
    figure = plot_attention([[1.0]], ["Ж"], ["zh"])
    assert labels(figure)[0] == ["Ж"]
    families = figure.axes[0].get_xticklabels()[0].get_fontfamily()
    assert families[0] == "cmtt10"
    path = font_manager.findfont(font_manager.FontProperties(family=[families[1]]))
    assert font_manager.get_font(path).get_char_index(ord("Ж"))


def test_a_font_that_was_uninstalled_is_passed_over(monkeypatch, tmp_path):
    gone = font_manager.FontEntry(fname=str(tmp_path / "gone.ttf"), name="Gone", weight=400)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [gone, *font_manager.fontManager.ttflist])
    monkeypatch.setitem(rcParams, "font.family", ["cmtt10"])
    assert labels(plot_attention([[1.0]], ["Ж"], ["a"])) == (["Ж"], ["a"])


def test_a_font_that_was_installed_since_is_found(monkeypatch, tmp_path):
    """DejaVu stands for the new font; a file that is none lies beside it."""
    path = font_manager.findfont("DejaVu Sans")
    broken = tmp_path / "broken.ttf"
    broken.write_text("no font")
    others = [face for face in font_manager.fontManager.ttflist if face.name.startswith("cmtt")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", others)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(broken), path])
    monkeypatch.setitem(rcParams, "font.family", ["cmtt10"])
    figure = plot_attention([[1.0]], ["Ж"], ["a"])
    assert figure.axes[0].get_xticklabels()[0].get_fontfamily() == ["cmtt10", "DejaVu Sans"]


@pytest.mark.parametrize(
    ("sources", "mirrored"),
    [
        (["▁الكتاب", "▁على", "</s>"], True),
        (["▁(", "הספר", "</s>"], True),
        (["▁der", "▁Hund", "</s>"], False),
        (["▁1", "▁2"], False),
        (["3", "▁كتب"], True),
        (["▁Hund", "▁كلب"], False),
    ],
)
def test_a_source_from_right_to_left_is_drawn_so(sources, mirrored):
    figure = plot_attention(np.full((1, len(sources)), 1 / len(sources)), sources, ["a"])
    assert is_mirrored(figure) == mirrored
    assert labels(figure)[0] == sources


@pytest.mark.filterwarnings("default:.*drawn as codes")
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_arabic_hangul_and_vietnamese_are_written_in_every_format(suffix, tmp_path, recwarn):
    figure = plot_attention([[0.5, 0.5]], ["الكتاب", "책"], ["Quyển"], title="كتاب")
    figure.savefig(tmp_path / f"a.{suffix}")
    assert (tmp_path / f"a.{suffix}").stat().st_size > 1000
    # a glyph that a font lacks is matplotlib's warning; a character that all lack is ours
    assert [str(one.message) for one in recwarn if "drawn as codes" not in str(one.message)] == []


@pytest.mark.filterwarnings("default:.*drawn as codes")
def test_nothing_is_drawn_as_an_empty_box(recwarn):
    figure = plot_attention([[0.25] * 4], ["월", "曜", "ﷺ", "𝒳"], ["ệ"], title="한국어")
    figure.draw_without_rendering()
    assert [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)] == []


def test_absent_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "hf_rnn_attn\[viz\]"'):
        plot_attention(WEIGHTS, SOURCE, TARGET)
    with pytest.raises(ImportError, match=r'plot_training needs matplotlib.*pip install "hf_rnn_attn\[viz\]"'):
        plot_training([{"epoch": 1.0, "loss": 2.0}])


# curve


def test_the_curve_holds_both_losses_at_their_epochs():
    log = [
        {"epoch": 0.5, "loss": 4.0, "learning_rate": 0.1},
        {"epoch": 1.0, "loss": 3.0, "learning_rate": 0.1},
        {"epoch": 1.0, "eval_loss": 3.5},
        {"epoch": 1.0, "train_runtime": 7.0},
    ]
    lines = {line.get_label(): line.get_xydata().tolist() for line in plot_training(log).axes[0].get_lines()}
    assert lines == {"training": [[0.5, 4.0], [1.0, 3.0]], "validation": [[1.0, 3.5]]}
    alone = plot_training(log[2:3]).axes[0].get_lines()
    assert [line.get_label() for line in alone] == ["validation"]


def test_a_log_without_losses_is_refused():
    with pytest.raises(ValueError, match="entries of `loss` or `eval_loss`"):
        plot_training([{"epoch": 1.0, "train_runtime": 7.0}])


# input


class TestInput:
    def test_transposed_attention_is_an_error(self):
        with pytest.raises(ValueError, match=r"= \(2, 3\), but got \(3, 2\)"):
            plot_attention(np.transpose(WEIGHTS), SOURCE, TARGET)

    def test_a_batch_is_an_error_that_says_what_to_take(self):
        with pytest.raises(ValueError, match=r"got \(1, 1, 2, 3\).*cross_attentions\[-1\]\[0, 0\]"):
            plot_attention(torch.tensor(WEIGHTS)[None, None], SOURCE, TARGET)

    def test_an_empty_side_is_an_error(self):
        with pytest.raises(ValueError, match="at least one target and one source token, but got 2 and 0"):
            plot_attention(np.zeros((2, 0)), [], TARGET)

    @pytest.mark.parametrize("wrong", [-0.5, 1.5, float("nan")])
    def test_values_that_are_no_weights_are_an_error(self, wrong):
        with pytest.raises(ValueError, match="from 0 to 1"):
            plot_attention([[wrong, 0.0, 0.0], [0.0, 0.0, 1.0]], SOURCE, TARGET)
