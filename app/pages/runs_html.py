"""The page of runs as HTML: the list of runs, and one run's numbers, charts, scores and answers."""

from __future__ import annotations

import html
import shlex
from collections.abc import Sequence
from pathlib import Path

from app.pages.charts import Chart, Line
from app.pages.runs_tables import answers_section, scores_section
from app.pages.words import Words
from llava_tuning.runs.run import Run, smooth

COLOURS = 6
_STAGES = ("pretrain", "finetune", "sft")
_TREND = "M1.5 3 5 10l3.5-4L14.5 13"  # the overlay button's curve


class Writer:
    """Writes runs in one language."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.say = words.html

    def empty(self, folder: Path) -> str:
        """What stands there before the first run."""
        command = html.escape(f"llava-tuning train CONFIG --work-dir {shlex.quote(str(folder / 'my'))}")
        return (
            f'<div class="lt-empty"><h2>{self.say("lt_runs_none")}</h2>'
            f"<p>{self.say('lt_runs_none_more', folder=folder)}</p><pre>{command}</pre></div>"
        )

    def list(self, runs: Sequence[Run], shown: Sequence[str]) -> str:
        """All runs; `shown` are the names whose losses are drawn, the first the one that is looked at."""
        return f'<ul class="lt-runs">{"".join(self._row(run, shown) for run in runs)}</ul>'

    def _row(self, run: Run, shown: Sequence[str]) -> str:
        name = html.escape(run.name)
        done = run.last.step if run.last else 0
        current = bool(shown) and run.name == shown[0]
        colour = f"lt-c{shown.index(run.name) % COLOURS}" if run.name in shown else ""
        words = [self.say(f"lt_stage_{run.stage}") if run.stage in _STAGES else "–", self._steps(run)]
        if run.loss is not None:
            words.append(self.say("lt_runs_loss_is", loss=f"{run.loss:.3g}"))
        share = 100 * min(1.0, done / run.total_steps) if run.total_steps else 0
        overlay = (
            ""
            if current
            else (
                f'<button type="button" class="lt-overlay" data-overlay="{name}" '
                f'aria-pressed="{str(run.name in shown).lower()}" '
                f'title="{self.say("lt_runs_overlay", name=run.name)}" '
                f'aria-label="{self.say("lt_runs_overlay", name=run.name)}">'
                f'<svg viewBox="0 0 16 16" aria-hidden="true"><path d="{_TREND}"/></svg></button>'
            )
        )
        return (
            f'<li class="lt-run {colour}"{" data-current" if current else ""}>'
            f'<button type="button" class="lt-pick" data-run="{name}" aria-pressed="{str(current).lower()}">'
            f'<b>{name}</b><span class="lt-state lt-{run.state}">{self.say(f"lt_state_{run.state}")}</span>'
            f"<small>{' · '.join(f'<span>{word}</span>' for word in words)}</small>"
            f'<span class="lt-progress"><span style="width:{share:.1f}%"></span></span></button>'
            f"{overlay}</li>"
        )

    def _steps(self, run: Run) -> str:
        done = f"{run.last.step if run.last else 0:,}"
        if run.total_steps is None:
            return self.say("lt_runs_steps_only", done=done)
        return self.say("lt_runs_steps", done=done, total=f"{run.total_steps:,}")

    def detail(self, run: Run, others: Sequence[Run], smoothing: float, path: Path) -> str:
        """One run; the losses of `others` are drawn with its own.

        Args:
            smoothing: weight of what was before in the moving average, 0 to 1.
            path: its directory, for commands.
        """
        problems = "".join(
            f'<p class="lt-problem" role="status">{self.say(f"lt_problem_{kind}", file=file)}</p>'
            for kind, file in run.problems
        )
        return (
            f'<article class="lt-detail"><header><h2>{html.escape(run.name)}</h2>'
            f'<span class="lt-state lt-{run.state}">{self.say(f"lt_state_{run.state}")}</span>'
            f"<p>{self._steps(run)}</p></header>{problems}{self._tiles(run)}"
            f"{self._losses([run, *others], smoothing)}{self._small_charts(run)}"
            f"{scores_section(self.words, run, path)}{answers_section(self.words, run)}</article>"
        )

    def _tiles(self, run: Run) -> str:
        if run.last is None:
            return ""
        speed, last = run.speed(), run.last
        tiles = [("loss", f"{run.loss:.4g}")]
        if last.lr is not None:
            tiles.append(("lr", _short(last.lr)))
        if speed.samples is not None:
            tiles.append(
                ("samples", f"{speed.samples:,.3g}" if speed.samples < 1000 else f"{speed.samples:,.0f}")
            )
        if speed.tokens is not None:
            tiles.append(("tokens", f"{speed.tokens:,.0f}"))
        if last.memory_gib is not None:
            tiles.append(("memory", f"{last.memory_gib:.1f} GiB"))
        if speed.waited is not None:
            tiles.append(("waited", f"{speed.waited:.1%}"))
        if run.state == "running" and (left := self._left(run)):
            tiles.append(("left", left))
        cells = (f"<div><dt>{self.say(f'lt_tile_{key}')}</dt><dd>{value}</dd></div>" for key, value in tiles)
        return f'<dl class="lt-tiles">{"".join(cells)}</dl>'

    def _left(self, run: Run) -> str:
        """How long the steps that are left take, by the last ones; empty where that is not known."""
        timed = [step.seconds for step in run.steps[-50:] if step.seconds]
        if not timed or run.total_steps is None or run.last is None:
            return ""
        seconds = sum(timed) / len(timed) * max(0, run.total_steps - run.last.step)
        if seconds < 90:
            return self.say("lt_seconds", n=f"{seconds:.0f}")
        if seconds < 5400:
            return self.say("lt_minutes", n=f"{seconds / 60:.0f}")
        return self.say("lt_hours", n=f"{seconds / 3600:.1f}")

    def _losses(self, runs: Sequence[Run], smoothing: float) -> str:
        lines = []
        for number, run in enumerate(runs):
            steps = [step.step for step in run.steps]
            losses = [step.loss for step in run.steps]
            colour, alone = number % COLOURS, len(runs) == 1
            raw = self.words.plain("lt_chart_raw") if alone else ""
            label = self.words.plain("lt_chart_smooth") if alone else run.name
            lines.append(Line(raw, list(zip(steps, losses, strict=True)), colour, faint=True))
            lines.append(Line(label, list(zip(steps, smooth(losses, smoothing), strict=True)), colour))
        return self._chart("loss", lines, unit="lt_chart_loss_unit")

    def _small_charts(self, run: Run) -> str:
        lr = [(step.step, step.lr) for step in run.steps if step.lr is not None]
        speed = [(s.step, s.tokens / s.seconds) for s in run.steps if s.tokens is not None and s.seconds]
        memory = [(step.step, step.memory_gib) for step in run.steps if step.memory_gib is not None]
        charts = [
            self._chart("lr", [Line(self.words.plain("lt_chart_lr"), lr)], write=_short),
            self._chart(
                "speed",
                [Line(self.words.plain("lt_chart_speed"), speed)],
                unit="lt_chart_speed_unit",
                write=lambda y: f"{y:,.0f}",
            ),
            self._chart(
                "memory",
                [Line(self.words.plain("lt_chart_memory"), memory)],
                unit="lt_chart_memory_unit",
                write=lambda y: f"{y:.3g}",
            ),
        ]
        return f'<div class="lt-charts">{"".join(charts)}</div>'

    def _chart(self, name: str, lines: Sequence[Line], unit: str = "", **options: object) -> str:
        small = name != "loss"
        return Chart(
            self.words.plain(f"lt_chart_{name}"),
            lines,
            self.words.plain("lt_step"),
            self.words.plain(unit) if unit else "",
            from_zero=small,
            name=f"lt-chart-{name}",
            **options,  # type: ignore[arg-type]
        ).html()


def _short(number: float) -> str:
    """A number far below 1 in few letters: 8e-4."""
    digits, _, power = f"{number:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}" if number else "0"
