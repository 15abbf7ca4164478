"""Mini-AVEB's shipped test sets, and the table of the eleven tasks."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from docs.tools import test_sets
from docs.tools.samples import build
from favor_mini import data_path
from favor_mini.apps import cli
from favor_mini.aveb import predict
from favor_mini.aveb.benchmark import (
    CONSTANT,
    GUESS,
    Results,
    best_constant,
    compare_models,
    run_benchmark,
)
from favor_mini.aveb.files import read_items
from favor_mini.aveb.predict import MODELS
from favor_mini.aveb.run import clusters, per_row, score
from favor_mini.data.files import find_media, only, read_media
from favor_mini.evaluation.intervals import cluster_bootstrap, wilson
from favor_mini.evaluation.metrics import cider
from favor_mini.figures.aveb import save_benchmark
from favor_mini.world.samples import TASK_SEED, aveb_file, read_samples
from favor_mini.world.tasks import TASKS


@pytest.mark.parametrize("task", list(TASKS))
def test_every_test_set_can_be_read_and_its_media_exist(task):
    items, broken = read_items(aveb_file(task))
    assert not broken and len(items) >= 18
    found = [len(find_media(item, data_path())) for item in items]
    assert found == [len(item.media) for item in items]
    assert all(bool(item.candidates) == (task == "video_qa") for item in items)
    clip = only(read_media(find_media(items[0], data_path()), image_size=64), TASKS[task].streams)
    assert set(clip.missing) == {"audio", "video"} - set(TASKS[task].streams)


def test_no_media_file_is_unused():
    items = [item for task in TASKS for item in read_items(aveb_file(task))[0]]
    named = {name for item in items for name in item.media if name.startswith("aveb/")}
    there = {p.relative_to(data_path()).as_posix() for p in data_path("aveb").rglob("*")
             if p.is_file() and p.suffix != ".json"}
    assert there == named


def test_rows_are_those_of_the_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(test_sets, "write_medium", lambda scene, path: path.parent.mkdir(
        parents=True, exist_ok=True))
    made, media = test_sets.make(tmp_path)
    for task, rows in made.items():
        assert rows == json.loads(aveb_file(task).read_text(encoding="utf-8"))
    assert len(media) == 612 and all(data_path(*name.split("/")).is_file() for name in media)


@pytest.mark.parametrize("name", ["avm/avm_03.png", "avm/avm_03.ogg", "avsr/avsr_01.mp4"])
def test_a_media_file_is_reproduced_byte_for_byte(tmp_path, name):
    first = (data_path() / "samples.jsonl").read_text(encoding="utf-8").splitlines()[0]
    if build() != json.loads(first)["made_with"]:
        pytest.skip("other encoders than those that wrote the samples")
    task, file = name.split("/")
    scene = TASKS[task].draw(TASK_SEED + int(file.split("_")[1][:2]))
    test_sets.write_medium(scene, tmp_path / file)
    assert (tmp_path / file).read_bytes() == data_path("aveb", task, file).read_bytes()


def test_answers_about_films_agree_with_their_scripts():
    known = {(f"clips/{s.name}.mp4", q.text): q.answer
             for s in read_samples() if s.kind == "clip" for q in s.questions}
    for task in ("video_qa", "avqa"):
        for item in read_items(aveb_file(task))[0]:
            assert known[item.media[0], item.question] in item.answers


@pytest.mark.parametrize("task", ["ac", "ic"])
def test_a_caption_equal_to_its_first_reference_scores_between_6_and_8(task):
    """The results page and the figure say so: 10 is out of reach where references differ."""
    pytest.importorskip("pycocoevalcap")
    answers = [item.answers for item in read_items(aveb_file(task))[0]]
    assert 6 < np.mean(cider([texts[0] for texts in answers], answers)) < 8


def rows_of(answers, right=None, media=None):
    """Rows with these answers and any prediction; by default wrong, each about its own media."""
    media, right = media or range(len(answers)), right or [False] * len(answers)
    return [{"answers": (a,), "predicted": "?", "right": r, "media": [str(m)]}
            for a, r, m in zip(answers, right, media, strict=True)]


def test_the_best_constant_scores_best():
    constant = best_constant("accuracy", rows_of("left left right top".split()))
    assert [row["predicted"] for row in constant] == ["left"] * 4
    assert sum(row["right"] for row in constant) == 2
    pytest.importorskip("jiwer")
    rows = rows_of(("moon king", "moon", "fish moon"))  # "moon" lacks two words of five
    assert {row["predicted"] for row in best_constant("word error rate", rows)} == {"moon"}


def test_models_are_compared_question_by_question():
    ours, near, far = (rows_of("a" * 40, [i < hits for i in range(40)]) for hits in (30, 25, 0))
    table = {r["model"]: r for r in compare_models(
        "avm", "accuracy", {MODELS[0]: ours, "near": near, "far": far})}
    assert np.isnan(table[MODELS[0]]["margin"]) and table[MODELS[0]]["value"] == 0.75
    assert 0 < table["near"]["margin"] < 0.125 < 0.5 < table["far"]["margin"] < 0.75
    one, other = (cluster_bootstrap(per_row("accuracy", rows)[0], clusters(rows))
                  for rows in (ours, near))
    assert (one - other).min() >= 0  # paired: `near` is right on a subset of the same questions


def test_the_margin_has_an_interval_where_all_answers_are_right():
    ours = rows_of("a" * 19, [True] * 19)
    other = rows_of("a" * 19, [i < 3 for i in range(19)])
    guess = [{**row, "right": 0.05} for row in ours]
    table = {r["model"]: r for r in compare_models(
        "ocr", "accuracy", {MODELS[0]: ours, "other": other, GUESS: guess})}
    # Newcombe 1998, method 10: Wilson's bounds are 0.832 for 19 of 19 and 0.376 for 3 of 19.
    expected = 16 / 19 - np.hypot(1 - 0.8318, 0.3757 - 3 / 19)
    assert table["other"]["margin"] == pytest.approx(expected, abs=1e-3)
    assert table[GUESS]["margin"] == pytest.approx(0.8318 - 0.05, abs=1e-3)


@pytest.mark.parametrize("hits, media, count", [("11100", "aaaaa", 1), ("1010", "aabb", 2)])
def test_without_variance_between_media_each_counts_once(hits, media, count):
    rows = rows_of(hits, [h == "1" for h in hits], media)
    value = hits.count("1") / len(hits)
    assert score("accuracy", rows) == pytest.approx((value, *wilson(value * count, count)))


def test_the_table_names_baselines_and_margin(tmp_path):
    ours = rows_of("a" * 40, [i < 30 for i in range(40)])
    worse = {name: rows_of("a" * 40, [i < 10 for i in range(40)]) for name in MODELS[1:]}
    rows = compare_models("avm", "accuracy", {MODELS[0]: ours, **worse, CONSTANT: ours})
    rows += compare_models("isqa", "accuracy", {MODELS[0]: ours, **worse})
    head, first, second, legend = str(Results(pd.DataFrame(rows))).splitlines()
    assert "favor-mini (95 % interval)" in head and head.endswith("margin")
    assert first.startswith("avm") and first.endswith("not significant") and "75.0%" in first
    assert second.startswith("isqa") and second.endswith("%") and "best baseline" in legend
    assert max(map(len, (head, first, second))) < 120


@pytest.mark.slow
def test_one_task_end_to_end_and_again_from_its_predictions(tmp_path, monkeypatch):
    results = run_benchmark(out=tmp_path, tasks=["avm"], progress=False)
    rows = results.table.set_index("model")
    assert list(rows.index) == [*MODELS, CONSTANT, GUESS]
    assert set(rows["count"]) == {80} and rows.value[GUESS] == 0.5
    assert rows.value[MODELS[0]] > 0.8 and rows.margin[list(rows.index[1:])].min() > 0
    lines = (tmp_path / "avm.favor-mini.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    right = Counter(json.loads(line)["right"] for line in lines)
    assert right[True] == round(80 * rows.value[MODELS[0]])
    monkeypatch.setattr(predict.Predictor, "_answer", None)
    assert str(run_benchmark(out=tmp_path, tasks=["avm"], progress=False)) == str(results)
    assert str(Results.load(tmp_path / "results.json")) == str(results)
    save_benchmark(results, tmp_path / "figures" / "avm.png")
    assert (tmp_path / "figures" / "avm.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_task_lists_the_known_ones(tmp_path, capsys):
    assert cli.main(["evaluate", "--task", "qa"]) == 1
    assert "no task 'qa'. Fix: choose from asr, ac" in capsys.readouterr().err
