"""New voices and new forms of questions: one change, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from favor_mini.lab import novel
from favor_mini.world.questions import REWORDINGS, ask, reword
from favor_mini.world.scene import SPLITS, draw_scene, stream
from favor_mini.world.speech import HELD_OUT, draw_voice
from favor_mini.world.tokenizer import build_tokenizer

SCENES = [draw_scene(SPLITS["test"].start + i) for i in range(40)]


@pytest.mark.parametrize("new", [True, False])
def test_only_the_voices_change(new):
    for scene in SCENES:
        other = novel.spoken_by(scene, new, np.random.default_rng(0))
        for before, after in zip(scene.moments, other.moments, strict=True):
            if before.heard and before.heard.kind == "word":
                # as in `sounds.make_event`
                voice = draw_voice(stream("audible event", after.heard.seed), "test")
                assert (voice in HELD_OUT) == new
                assert replace(after, heard=replace(after.heard, seed=before.heard.seed)) == before
            else:
                assert after == before


@pytest.mark.parametrize("text, expected", [
    ("what was heard while the red star was shown?",
     "while the red star was shown, what was heard?"),
    ("what was shown next after the bell was heard?",
     "after the bell was heard, what was shown next?"),
    ("what was heard last before moon was said?", "before moon was said, what was heard last?"),
    ("what colour was the star?", None), ("which was heard first, bell or drum?", None)])
def test_the_clause_comes_first(text, expected):
    assert novel.clause_first(text) == expected


def test_no_training_question_has_that_form_and_every_word_is_known():
    rng, known = np.random.default_rng(0), build_tokenizer()
    texts = {reword(q.text, rng) for scene in SCENES for q in ask(scene)}
    texts |= {w for _, others in REWORDINGS for w in others}
    assert not [text for text in texts if text.split()[0] in ("while", "when", "after", "before")]
    turned = [t for scene in SCENES for q in ask(scene) if (t := novel.clause_first(q.text))]
    assert len(turned) > 100
    assert all(known.unk_token_id not in known(text).input_ids for text in turned)


@pytest.mark.slow
def test_the_arms_are_paired():
    voices = novel.new_voices(scenes=2, progress=False)
    forms = novel.new_forms(scenes=2, progress=False)
    assert voices.arms == ["voices known from training", "voices never heard"]
    assert len(forms.arms) == 3
    assert voices.right.shape[1] == forms.right.shape[1] == novel.DRAWS
    usual = forms.right[forms.arms.index("usual words")]
    assert (usual == usual[0]).all()  # this arm has nothing random
