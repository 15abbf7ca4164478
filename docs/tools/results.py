"""Write `docs/results.md` from the measurements in `docs/results/` and `favor_mini/lab/`, and the
picture of the four mechanisms.

    python -m docs.tools.results                            # write the page
    python -m docs.tools.results --measured build/results   # first store new measurements
"""

import argparse
import json
import textwrap
from collections import defaultdict
from pathlib import Path

import pandas as pd

from favor_mini.aveb.benchmark import CONSTANT, GUESS, Results
from favor_mini.aveb.predict import MODELS
from favor_mini.aveb.run import FORMS
from favor_mini.evaluation.intervals import wilson
from favor_mini.evaluation.scores import Row, Score, scores
from favor_mini.figures.gym import four_mechanisms
from favor_mini.figures.style import save
from favor_mini.lab.claims import claims
from favor_mini.lab.experiments import EXPERIMENTS, shipped_results
from favor_mini.lab.gym.studies import STUDIES, shipped_study
from favor_mini.lab.offsets import Offsets
from favor_mini.lab.signatures import Signatures
from favor_mini.lab.statistics import Comparison, correction
from favor_mini.storage import atomic_write
from favor_mini.world.questions import FAMILY_GROUPS

DOCS = Path(__file__).parents[1]
PAGE, DATA = DOCS / "results.md", DOCS / "results"
DELAYS = ("0", "1", "2")  # seconds
COMMANDS = "\n".join([
    *(f"favor-mini evaluate --data samples --audio-delay {delay} "
      f"--json build/results/samples_{delay}.jsonl" for delay in DELAYS),
    "favor-mini evaluate --out build/results/tasks",
    "favor-mini bench --json build/results/bench.json",
    "python -m docs.tools.results --measured build/results"])
EXPLAINED = (
    "Trained at mini size, for minutes. A result is about this mechanism on the mini world: it can "
    "show that a claim need not hold in general, or that an effect exists here. It cannot confirm "
    "a claim about a model that is a thousand times larger. Differences are in points of accuracy, "
    "paired by seed and question, from the first arm.")


STUDIED = (
    "A connector and a small reader learn from answers alone (`favor-mini gym`): about streams of "
    "symbols, or, where the name begins with `film`, about encoded films of the mini world. Mean "
    "accuracy is averaged over the steps of a training. Differences are in points, paired by seed, "
    "from the first arm; `cosine` is the mean over the pairs of queries of a window, at the end. "
    "Each prediction was written before the trainings. Verdicts are corrected for the number of "
    "intervals of a study. `favor-mini gym NAME --run` repeats one.")


def store(measured: Path) -> None:
    """Reduce what the commands wrote in a folder, as far as it is there, to the files of `DATA`.

    Raises:
        FileNotFoundError: nothing of it is there, or only a part of the samples.
    """
    answered = {delay: measured / f"samples_{delay}.jsonl" for delay in DELAYS}
    table, bench = measured / "tasks" / "results.json", measured / "bench.json"
    there = [file.is_file() for file in (*answered.values(), table, bench)]
    if not any(there) or 0 < sum(there[:len(DELAYS)]) < len(DELAYS):
        raise FileNotFoundError(f"found in {measured} {sum(there)} of {len(there)} files, expected "
                                f"tasks, bench or all of {[*map(str, answered.values())]}. "
                                "Fix: run the commands in docs/results.md")
    if all(file.is_file() for file in answered.values()):
        _write("samples", {delay: _by_clip(file) for delay, file in answered.items()})
    if table.is_file():
        Results.load(table).save(DATA / "tasks.json")
    if bench.is_file():
        _write("bench", {"rows": json.loads(bench.read_text(encoding="utf-8"))})


def _by_clip(file: Path) -> list:
    """[clip, family, mean chance, "1" or "0" for each right or wrong answer]."""
    found = defaultdict(list)
    for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        found[row["clip"], row["family"]].append(row)
    return [[*key, round(sum(r["chance"] for r in rows) / len(rows), 4),
             "".join("01"[r["correct"]] for r in rows)] for key, rows in found.items()]


def _write(name: str, parts: dict[str, list]) -> None:
    """JSON with a line for each entry of each list."""
    lists = (f"{json.dumps(key)}: [\n" + ",\n".join(map(json.dumps, rows)) + "\n]"
             for key, rows in parts.items())
    with atomic_write(DATA / f"{name}.json") as unfinished:
        unfinished.write_text("{" + ",\n".join(lists) + "}\n", encoding="utf-8")


def _read(name: str):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def page() -> str:
    """The text of the page."""
    parts = [
        "# Results",
        text("This page is written by `python -m docs.tools.results` from the files in "
             "`docs/results/` and `favor_mini/lab/results/`. To measure again, run"),
        f"```sh\n{COMMANDS}\n```",
        text("and, for the experiments, `favor-mini experiment NAME --run`. All intervals are 95 % "
             "confidence intervals. Answers about one clip are correlated, so clips are the "
             "independent units: an accuracy has Wilson's interval at its effective sample size, "
             "other scores have a bootstrap over clips (`favor_mini/evaluation/intervals.py`)."),
        _samples(), _delays(), _tasks(), _claims(), "## Studies in the gym", text(STUDIED),
        *(_study(study) for study in STUDIES if shipped_study(study.name)),
        "## Experiments", text(EXPLAINED),
        *map(_experiment, EXPERIMENTS), _bench()]
    return "\n\n".join(parts) + "\n"


def table(head: str, rows) -> str:
    """A Markdown table. head: the columns, separated by "|"; the first is aligned to the left."""
    columns = head.split("|")
    lines = [head, "|".join([":--", *["--:"] * (len(columns) - 1)]), *map("|".join, rows)]
    return "\n".join(f"| {line.replace('|', ' | ')} |" for line in lines)


def sample_scores(delay: str = "0") -> list[Score]:
    """The scores on the sample clips with the sound delayed."""
    rows = [Row(clip, family, "", "right", "right" if bit == "1" else "wrong", chance)
            for clip, family, chance, bits in _read("samples")[delay] for bit in bits]
    return scores(rows, FAMILY_GROUPS)


def text(*sentences: str) -> str:
    return textwrap.fill(" ".join(sentences), 100, break_long_words=False, break_on_hyphens=False)


def _samples() -> str:
    found, rows = sample_scores(), []
    for s in found:
        bold = "" if s.kind == "family" else "**"
        low, high = wilson(s.accuracy * s.count, s.count)
        rows.append((f"{bold}{s.name}{bold}", f"{s.count}", f"{s.accuracy:.1%}",
                     f"{s.low:.1%} to {s.high:.1%}", f"{low:.1%} to {high:.1%}", f"{s.chance:.1%}"))
    clips = len({row[0] for row in _read("samples")["0"]})
    return "\n\n".join([
        "## The shipped checkpoint on the sample clips",
        text(f"All {found[-1].count} questions about the {clips} held-out sample files. Chance is "
             "one in the number of possible answers or, where both streams are needed, the best "
             "accuracy with one of them alone. Counts and order can be guessed better than that by "
             "someone who knows the mini world: see the [data card](../data_samples/README.md). "
             "The second interval treats all questions as independent, as earlier versions did. It "
             "is too narrow where answers about one clip are correlated."),
        table("questions|count|accuracy|95 % interval|interval over questions|chance", rows)])


def _delays() -> str:
    found = {delay: {s.name: s for s in sample_scores(delay)} for delay in DELAYS}
    rows = [(name, *(f"{s.accuracy:.1%} ({s.low:.1%} to {s.high:.1%})"
                     for s in (found[delay][name] for delay in DELAYS)))
            for name, score in found["0"].items() if score.kind != "family"]
    return "\n\n".join([
        "## The same with delayed sound",
        text("A moment of the mini world lasts about 2 s. With a delay of 1 s, half of the sounds "
             "come with the picture of the next moment. The last sounds are cut off."),
        table("questions|" + "|".join(f"{delay} s" for delay in DELAYS), rows)])


def _tasks() -> str:
    found = Results.load(DATA / "tasks.json").table
    columns, rows = (*MODELS[1:], CONSTANT, GUESS), []
    for (task, title, metric), part in found.groupby(["task", "title", "metric"], sort=False):
        form, row = FORMS.get(metric, "{:.1%}").format, part.set_index("model")
        best, margin = row.loc[MODELS[0]], row.margin.min()
        rows.append((
            f"`{task}`: {title}", metric, f"{best['count']}",
            f"{form(best.value)} ({form(best.low)} to {form(best.high)})",
            *(form(row.value[name]) if name in row.index else "" for name in columns),
            form(margin) if margin > 0 else "not significant"))
    before = "; ".join(f"`{name}` {shown}" for name, shown in _read("previous")["tasks"].items())
    return "\n\n".join([
        "## The eleven tasks",
        text("The tasks of the paper's benchmark, AVEB, on scenes of their own "
             "(`data_samples/aveb`). Baselines: the same model untrained; the model without any "
             "clip (text only); the best constant answer; and the best single-modality guesser, "
             "who knows the mini world but perceives one stream where both are needed. The margin "
             "is the lower bound of the paired 95 % interval of the difference to a baseline, the "
             "smallest over all baselines."),
        table("task|metric|questions|favor-mini (95 % interval)|" + "|".join(columns)
              + "|margin over the best baseline (lower bound)", rows),
        text("CIDEr-D goes from 0 to 10. A caption equal to the first of its references has "
             "between 6 and 8. The paper's metric for audio captions is SPIDEr, which needs Java: "
             "`--metric SPIDEr`, with `--file`."),
        text("In an earlier version, intervals were over questions, and candidates were ranked "
             f"by the log probability of the whole answer: {before}.")])


def _claims() -> str:
    found = claims()
    return "\n\n".join([
        "## The paper's claims",
        text("The paper removes one part at a time, at full size. Here each removal was compared "
             "in the gym, where a connector and a small reader learn from answers alone: with "
             "symbols, and with encoded films of the mini world. And it was compared in the whole "
             "model, with the shortcut *named* (a label for each query), which may do part of the "
             "mechanism's work. *Shown* and *contradicted*: a difference is significant after "
             "correction. The sections below have every number. "
             f"{found.comparisons.sum()} comparisons were made for this table."),
        table("part|what the paper says|gym|films, answers alone|whole model, labels|verdict", [
            (r.part, r.paper, r.gym, r.films, r.world, f"**{r.verdict}**")
            for r in found.itertuples()])])


def _study(study) -> str:
    found = shipped_study(study.name)
    columns = [*study.knobs, "arm", "task", "chance", "steps to 90 %", "reached", "final", "mean",
               "parameters", "MFLOP", "cosine"]
    rows = [(", ".join(f"{k} {getattr(r, k)}" for k in study.knobs) or r.questions, r.arm,
             f"{r.difference:+.1f}", f"{r.low:+.1f} to {r.high:+.1f}", r.verdict)
            for r in found.differences.itertuples()]
    cell = "cell" if study.knobs else "questions"
    return "\n\n".join([
        f"### {study.name}",
        *(text(f"**{title}.**", study.section(title)) for title in ("Question", "Paper", "Setting",
                                                                    "Prediction", "Finding")),
        table("|".join(columns), [tuple(str(row[c]) for c in columns)
                                  for row in found.summary.to_dict("records")]),
        table(f"{cell}|arm|difference in points|95 % interval|verdict", rows)])


def _experiment(experiment) -> str:
    parts = [f"### {experiment.name}", text("**Question.**", experiment.question),
             text("**Paper.**", experiment.paper), text("**Finding.**", experiment.finding)]
    results = shipped_results(experiment.name)
    if isinstance(results, Offsets):
        parts.append(table("questions|delay (s)|count|accuracy|95 % interval|chance", [
            (r["questions"], f"{r['shift']:+g}", f"{r['count']}", f"{r['accuracy']:.1%}",
             f"{r['low']:.1%} to {r['high']:.1%}", f"{r['chance']:.1%}")
            for r in results.table.to_dict("records")]))
    elif results is not None:
        parts += [_accuracies(results), _differences(results.differences(), "questions")]
    if isinstance(results, Signatures):
        signs = results.signs.pivot(index="arm", columns="sign", values="per hundred")
        parts += [table("arm, per hundred true words or names|" + "|".join(signs.columns)
                        + "|mean cosine of the queries",
                        [(arm, *(f"{v:.1f}" for v in signs.loc[arm]), f"{cosine:+.2f}")
                         for arm, cosine in results.cosines.items()]),
                  _differences(results.signs.dropna(), "sign")]
    return "\n\n".join(parts)


def _accuracies(results: Comparison) -> str:
    found = results.table[results.table.questions.isin(results.groups)]
    wide = found.pivot_table(index="arm", columns="questions", values="accuracy", sort=False)
    return table(f"accuracy, mean of {len(results.seeds)} seed(s)|" + "|".join(wide.columns),
                 [(arm, *("" if pd.isna(v) else f"{v:.1%}" for v in row))
                  for arm, row in zip(wide.index, wide.to_numpy(), strict=True)])


def _differences(found: pd.DataFrame, by: str) -> str:
    rows = [(r["arm"], r[by], f"{r['difference']:+.1f}", f"{r['low']:+.1f} to {r['high']:+.1f}",
             r["verdict"]) for r in found.to_dict("records")]
    columns = f"arm|{by}|difference in points|95 % interval|verdict"
    return table(columns, rows) + "\n\n" + text(correction(found))


def _bench() -> str:
    rows = [(r["name"], *("" if r[key] is None else f"{r[key]:.3f}"
                          for key in ("median", "least", "most")), r["unit"], f"{r['repeats']}")
            for r in _read("bench")["rows"]]
    return "\n\n".join([
        "## Speed",
        text("`favor-mini bench` on two CPU cores (x86_64): the causal Q-Former at the paper's "
             "sizes compared with a plain loop over windows, reading a video, asking a question, "
             "importing the package. The unit s/s is seconds of video per second."),
        table("what|median|least|most|unit|repeats", rows)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.tools.results", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, metavar="DIR",
                        help="first store the measurements in DIR")
    if measured := parser.parse_args().measured:
        store(measured)
    with atomic_write(PAGE) as unfinished:
        unfinished.write_text(page(), encoding="utf-8")
    save(four_mechanisms(), DOCS / "mechanisms.png", dpi=90)  # README shows it


if __name__ == "__main__":
    main()
