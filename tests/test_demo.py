"""The demo from a checkpoint to its report, with a tiny model of random weights."""

import json
import re
import shutil

import pytest
from conftest import scramble, tiny_config, tiny_processor

pytest.importorskip("seaborn")

from favor_mini import checkpoint_path
from favor_mini.apps import demo
from favor_mini.apps.report import _template, compared
from favor_mini.apps.settings import DemoSettings
from favor_mini.evaluation.scores import Row
from favor_mini.world.questions import FAMILIES
from favor_mini.world.samples import read_samples

SMALL = {"settings": DemoSettings(steps=3, clips=3, batch=2), "per_family": 1, "progress": False}


@pytest.fixture(scope="module")
def samples():
    return read_samples()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from favor_mini import FavorForConditionalGeneration

    folder, config = tmp_path_factory.mktemp("checkpoint"), tiny_config(frame_rate=2.0)
    config.vision_config.image_size = 32  # the smallest picture that a scene is drawn in
    scramble(FavorForConditionalGeneration(config), std=0.1).save_pretrained(folder)
    tiny_processor(config).save_pretrained(folder)
    return folder


def test_the_dozen_is_fixed_by_a_rule(samples):
    clips = [s for s in samples if s.kind == "clip"]
    chosen = demo.one_per_family(clips)
    assert [q.family for _, q in chosen] == list(demo.DOZEN) and len(chosen) == 12
    assert len({name for name, _ in chosen}) == 12  # each about another clip
    assert chosen == demo.one_per_family(clips)
    assert demo.one_per_family(clips[:1])  # fewer clips than questions


def test_the_models_are_scored_on_every_kind_of_question(samples):
    clips = [s for s in samples if s.kind == "clip"]
    asked = demo.held_out(clips, 10)
    counts = {family: sum(q.family == family for _, q in asked) for family in FAMILIES}
    assert max(counts.values()) == 10 and min(counts.values()) >= 5 and 150 < len(asked) <= 210
    assert len(set(asked)) == len(asked)
    by_name = {s.name: s.questions for s in clips}
    assert all(q in by_name[name] for name, q in asked)
    # Spread over the clips.
    assert len({name for name, q in asked if q.family == "shown_when"}) == 10
    assert asked == demo.held_out(clips, 10)


def test_other_settings_or_weights_never_share_a_run(tmp_path):
    for name, content in (("a", b"1"), ("b", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
        shutil.copy(checkpoint_path() / "config.json", tmp_path / name)
    settings = DemoSettings()
    folders = {demo.run_folder(tmp_path, s, tmp_path / c) for c in "ab" for s in (
        settings, DemoSettings(seed=1), DemoSettings(steps=10), DemoSettings(minutes=2),
        DemoSettings(clips=10),
        DemoSettings(batch=8), DemoSettings(lr=1e-4), DemoSettings(recipe="aligned"))}
    assert len(folders) == 16
    config = json.loads((tmp_path / "a" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "b" / "model.safetensors").write_bytes(b"1")
    (tmp_path / "b" / "config.json").write_text(json.dumps({**config, "attention": "full"}))
    other = demo.run_folder(tmp_path, settings, tmp_path / "b")
    assert other not in folders, "the same weights under another config"
    same = [demo.run_folder(tmp_path, s, tmp_path / "a") for s in (settings, DemoSettings())]
    assert same[0] == same[1]


def test_steps_are_shared_out_and_a_measured_plan_is_kept(tmp_path, monkeypatch):
    def planned_for(**settings):
        return demo.plan(None, None, [], DemoSettings(**settings), tmp_path / "x")

    assert planned_for(steps=10) == {"name": 8, "align": 1, "ask": 1}
    assert planned_for(steps=3) == {"name": 1, "align": 1, "ask": 1}
    assert planned_for(steps=10, recipe="aligned") == {"align": 8, "ask": 2}
    seconds = {"name": 0.5, "align": 1.0, "ask": 2.0}
    monkeypatch.setattr(demo, "seconds_per_step", lambda stage, *_: seconds[stage])
    planned = demo.plan(None, None, [], DemoSettings(minutes=10), tmp_path / "run" / "steps.json")
    # 95 % of 600 s, 0.7 s a step on average.
    assert planned == {"name": 652, "align": 81, "ask": 81}
    # A slower moment changes nothing.
    monkeypatch.setattr(demo, "seconds_per_step", lambda *_: 100.0)
    assert demo.plan(None, None, [], DemoSettings(minutes=10),
                     tmp_path / "run" / "steps.json") == planned


@pytest.mark.parametrize("wrong", [{"minutes": 0}, {"steps": 2}, {"clips": 0}, {"batch": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DemoSettings(**wrong)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        demo.run_demo(tmp_path, checkpoint=tmp_path / "nowhere")


def test_score_table_compares_models_row_by_row():
    def answers(*predicted):
        return [Row("c", family, "q", "bell", said, 0.25)
                for family, said in zip(("colour", "said"), predicted, strict=True)]

    head, lines, families = compared({"before": answers("x", "x"), "after": answers("bell", "x")})
    assert head == ["questions", "count", "chance", "before", "after"] and families == 2
    assert lines[0] == ["colour", "1", "25%", "0%", "100%"]
    assert lines[-1] == ["all", "2", "25%", "0%", "50%"]


def test_tables_escape_what_models_write():
    template = _template().environment.from_string("<td>{{ text }}</td>")
    assert template.render(text="<b>&") == "<td>&lt;b&gt;&amp;</td>"


@pytest.mark.slow
def test_the_demo_runs_from_checkpoint_to_report_and_again(tmp_path, checkpoint, samples, capsys):
    some = samples[:3]
    demo.run_demo(tmp_path, checkpoint=checkpoint, samples=some, **SMALL)
    told = capsys.readouterr().out
    first = (tmp_path / "report.html").read_text(encoding="utf-8")
    dozen = demo.one_per_family(some)
    for name, question in dozen:
        assert question.text in told and question.answer in told and name in told
    assert told.count("[right]") + told.count("[WRONG") == len(dozen)
    assert "1 steps of stage name, 1 steps of stage align, 1 steps of stage ask" in told
    assert "report.html" in told
    facts = ["block_causal", "3 output queries", "favor-mini demo --out", "--steps 3",
             "peak memory"]
    for text in [*(f"{q.text}</td>" for _, q in dozen), *facts]:
        assert text in first, text

    # Self-contained: everything within, nothing fetched, nothing run, and each picture described.
    assert not re.search(r"https?://|<script|<link|@import|url\(",
                         re.sub(r"base64,[A-Za-z0-9+/=]*", "", first))
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]{1,60})', first))
    pictures = re.findall(r"<img [^>]{1,40}", first)
    assert len(pictures) == 7 and all(re.match(r'<img alt="[^"]', image) for image in pictures)
    assert first.count("<video controls") == 1 and "data:video/mp4;base64," in first

    demo.run_demo(tmp_path, checkpoint=checkpoint, samples=some, **SMALL)  # finds its training done
    assert "Resuming the training in" in capsys.readouterr().out
    again = (tmp_path / "report.html").read_text(encoding="utf-8")
    scores = [re.findall(r"<td[^>]*>all</td>.*?</tr>", page) for page in (first, again)]
    assert scores[0] == scores[1] and len(scores[0]) == 1
    assert not [p for p in tmp_path.rglob("*.part")]
