"""The shipped checkpoint is as accurate as its card says, on held-out mp4 files."""

import numpy as np
import pytest

from favor_mini import checkpoint_path, read_clip
from favor_mini.data.files import only
from favor_mini.evaluation.answering import encode_clips, evaluate
from favor_mini.evaluation.scores import scores
from favor_mini.media.clip import delay_sound
from favor_mini.world.questions import FAMILIES, FAMILY_GROUPS, single_modality_chance
from favor_mini.world.samples import read_samples

pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not (checkpoint_path() / "model.safetensors").exists(), reason="no checkpoint")]
PER_FAMILY = 8


@pytest.fixture(scope="module")
def shipped():
    from favor_mini.evaluation.checkpoint import load_checkpoint

    return load_checkpoint(checkpoint_path())


@pytest.fixture(scope="module")
def samples():
    """Every second clip: half of them decide as clearly as all."""
    return [sample for sample in read_samples() if sample.kind == "clip"][::2]


@pytest.fixture(scope="module")
def clips(samples):
    return {sample.name: read_clip(sample.path) for sample in samples}


@pytest.fixture(scope="module")
def asked(samples):
    """At most eight questions of each family, spread over the clips by a fixed rule."""
    chosen = []
    for family in FAMILIES:
        found = [(s.name, q) for s in samples for q in s.questions if q.family == family]
        places = np.linspace(0, len(found) - 1, min(PER_FAMILY, len(found))).astype(int)
        chosen += [found[i] for i in places]
    return chosen


@pytest.fixture(scope="module")
def score(shipped, samples, asked):
    """Clips -> accuracy by family and group."""
    scenes = {sample.name: sample.scene for sample in samples}

    def found(clips):
        encoded = encode_clips(*shipped, clips)
        rows = evaluate(*shipped, encoded, asked, single_modality_chance(scenes))
        return {s.name: s for s in scores(rows, FAMILY_GROUPS)}

    return found


@pytest.fixture(scope="module")
def whole(score, clips):
    return score(clips)


def test_only_tensors_and_text_are_shipped():
    kinds = {path.suffix for path in checkpoint_path().rglob("*") if path.is_file()}
    assert kinds <= {".safetensors", ".json", ".md", ".jinja"}
    assert sum(path.stat().st_size for path in checkpoint_path().rglob("*")) < 30e6


@pytest.mark.parametrize("missing", ["video", "audio"])
def test_questions_about_one_stream_are_answered_far_above_chance(whole, missing):
    found = [whole[family] for family, needs in FAMILIES.items() if missing not in needs]
    count = sum(s.count for s in found)
    accuracy, chance = (sum(getattr(s, name) * s.count for s in found) / count
                        for name in ("accuracy", "chance"))
    assert accuracy > 0.8 > chance + 0.3, (accuracy, chance)


def test_questions_about_both_streams_are_answered_above_single_modality_chance(whole):
    assert whole["both modalities"].low > whole["both modalities"].chance


def test_a_sound_delay_costs_accuracy_only_where_sound_is_needed(score, clips, whole):
    late = score({name: delay_sound(clip, 2.0) for name, clip in clips.items()})
    assert late["both modalities"].accuracy < whole["both modalities"].accuracy - 0.3
    # "cause" can be answered by the sound of the hit, too, so a delay may mislead there.
    seen = [f for f, needs in FAMILIES.items() if "audio" not in needs and f != "cause"]
    before, after = (np.average([found[f].accuracy for f in seen],
                                weights=[found[f].count for f in seen]) for found in (whole, late))
    assert abs(after - before) < 0.06, (before, after)


@pytest.mark.parametrize("kept", ["video", "audio"])
def test_one_stream_alone_does_not_answer_what_needs_both(score, clips, kept):
    alone = score({name: only(clip, (kept,)) for name, clip in clips.items()})
    assert alone["both modalities"].low < alone["both modalities"].chance
