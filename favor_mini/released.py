"""The weights that FAVOR's authors released, in this package's names.

The facts are from their repository, github.com/BriansIDP/AudioVisualLLM (Apache 2.0, commit
52ab7d1): names and shapes from `model/openllama.py` and `model/Qformer.py`, the settings from
`inference.py`. Their file holds what was trained: connector and LoRA. No code is theirs.
"""

import pickle
import re
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaConfig

from .card import LEARNED, WHOLE, write_card
from .config import FavorConfig
from .learned import check_tensors, learned_weights, write_learned
from .model import FavorForConditionalGeneration
from .processor import FavorProcessor

# What their code does, as settings of ours. The mask is the reverse of the paper's text.
SETTINGS = {"attention": "block_anticausal", "question_conditioning": True}
# What their code does and no setting of ours does. The weights are not affected.
DIFFERENCES = (
    "Their causal attention also attends to padded frames, ours does not: the queries of a last "
    "window that is not full differ.",
    "Their LayerNorm of the inputs has eps 1e-5, ours 1e-12: a relative difference of about 5e-6 "
    "at variance 1.",
    "Their code pads every sound to 30 s of silence and keeps the padding, ours cuts it off: a "
    "shorter clip has fewer windows here.",
    "Their code samples frames with bicubic interpolation, and generates with 5 beams and a "
    "repetition penalty of 1.5; pass num_beams and repetition_penalty to `generate`.")

BLOCKS = {"causal_attention": "encoder_causal_attention", "self_attention": "attention",
          "cross_attention": "crossattention"}
RULES = (  # regular expressions over our names, and their names
    (r"^audio_projection\.", "speech_pre_qformer_proj."),
    (r"^projection\.", "llama_proj."),
    (r"^language_model\.", "llama_model.base_model.model."),
    (r"^qformer\.input_norm\.", "ln_video."),
    (r"^qformer\.positions$", "video_frame_position_embedding.weight"),
    (r"^qformer\.queries$", "video_query_tokens"),
    (r"^qformer\.query_norm\.", "video_Qformer.bert.embeddings.LayerNorm."),
    (r"^qformer\.layers\.", "video_Qformer.bert.encoder.layer."),
    (r"\.feed_forward\.intermediate\.", ".intermediate_query.dense."),
    (r"\.feed_forward\.output\.", ".output_query.dense."),
    (r"\.feed_forward\.norm\.", ".output_query.LayerNorm."),
    *(rule for ours, theirs in BLOCKS.items() for rule in (
        (rf"\.{ours}\.(query|key|value)\.", rf".{theirs}.self.\1."),
        (rf"\.{ours}\.output\.", f".{theirs}.output.dense."),
        (rf"\.{ours}\.norm\.", f".{theirs}.output.LayerNorm."))))
# One module under several names. Where the values differ, it is another model: one Q-Former each.
SHARED = (("speech_Qformer.", "video_Qformer."), ("joint_Qformer.", "video_Qformer."),
          ("speech_query_tokens", "video_query_tokens"),
          ("joint_query_tokens", "video_query_tokens"),
          ("llama_proj_speech.", "llama_proj."), ("llama_proj_joint.", "llama_proj."),
          ("ln_speech.", "ln_video."), ("ln_joint.", "ln_video."),
          ("joint_frame_position_embedding.", "video_frame_position_embedding."))
BUFFERS = (".position_ids", ".inv_freq")  # computed, not learned
VICUNA = {4096: {}, 5120: {"intermediate_size": 13824, "num_hidden_layers": 40,  # 7B and 13B
                           "num_attention_heads": 40, "num_key_value_heads": 40}}


def released_name(ours: str) -> str:
    """The authors' name of one of our tensors."""
    for pattern, theirs in RULES:
        ours = re.sub(pattern, theirs, ours)
    return ours


def read_released(file) -> dict[str, Tensor]:
    """The tensors of a released file. It is read without running any code that it may hold.

    Raises:
        OSError: there is no such file.
        ValueError: the file holds something other than tensors by name.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(f"{file} cannot be read as weights: {str(error).splitlines()[0]} Expected "
                         "a file of tensors that torch.save wrote, such as pytorch_model_1_101.pt. "
                         "Fix: download it again") from error
    if not isinstance(state, dict) or not state or not all(map(torch.is_tensor, state.values())):
        raise ValueError(f"{file} holds {type(state).__name__}, expected a dictionary of tensors "
                         "by name. Fix: name the file of the weights, as pytorch_model_1_101.pt")
    return state


def released_config(state: dict[str, Tensor]) -> FavorConfig:
    """The config of the released model: the paper's sizes, with Vicuna 7B or 13B.

    Raises:
        ValueError: the projection into the language model is missing, or fits neither of them.
    """
    width = len(state["llama_proj.weight"]) if "llama_proj.weight" in state else None
    if width not in VICUNA:
        raise ValueError(f"found llama_proj.weight of {width} rows, expected 4096 (Vicuna 7B) or "
                         "5120 (13B). Fix: choose a file that the authors of FAVOR released")
    language = LlamaConfig(**{**FavorConfig.paper().language_config.to_dict(),
                              "head_dim": 128, "hidden_size": width, **VICUNA[width]})
    config = FavorConfig.paper(**SETTINGS)
    config.language_config = language
    return config


def convert(state: dict[str, Tensor], config: FavorConfig) -> dict[str, Tensor]:
    """Released tensors by our names, float32, as `learned_weights` has them.

    Args:
        state: what `read_released` returned.
        config: of the model that they are for, such as `released_config(state)`. Of their table of
            4096 positions, the K * P of one window are used.

    Raises:
        ValueError: tensors are missing, left over or of another shape; each is named as in the
            file. Or the model has separate Q-Formers for sound and pictures.
    """
    state = _without_copies(state)
    with torch.device("meta"):  # names and shapes, no memory
        ours = learned_weights(FavorForConditionalGeneration(config))
    names = {name: released_name(name) for name in ours}
    expected = {names[name]: tensor.shape for name, tensor in ours.items()}
    queries, positions = names["qformer.queries"], names["qformer.positions"]
    if queries in state and state[queries].ndim == 3:
        state[queries] = state[queries][0]  # [1, N, width] to [N, width]
    if positions in state:
        state[positions] = state[positions][: expected[positions][0]]  # [4096, D] to [K * P, D]
    check_tensors(state, expected, "the released file")
    return {name: state[theirs].float() for name, theirs in names.items()}


def _without_copies(state: dict[str, Tensor]) -> dict[str, Tensor]:
    kept = {name: t for name, t in state.items() if not name.endswith(BUFFERS)}
    for copy, original in SHARED:
        for name in [name for name in kept if name.startswith(copy)]:
            same = kept.get(original + name.removeprefix(copy))
            if same is None or not torch.equal(kept.pop(name), same):
                raise ValueError(
                    f"{name} differs from {original}: this file has separate Q-Formers for sound "
                    "and pictures, ours has one for both. Fix: choose a file of the FAVOR model, "
                    "which has one (alignmode 2, without speech_qformer)")
    return kept


def convert_file(file, out, *, audio: str | None = None, vision: str | None = None,
                 language: str | None = None, **settings) -> Path:
    """Convert a released file into a folder of this package, with a card; returns the folder.

    With the three frozen parts, it holds a whole model with its processor. Without them, it holds
    connector and LoRA (`learned.safetensors`) for `load_learned`.

    Args:
        out: a folder that is new or empty.
        audio, vision, language: names or folders, as in `from_parts`: Whisper large-v2,
            InstructBLIP, and the Vicuna of the file's size.
        settings: other arguments of `from_parts`, such as `dtype`.

    Raises:
        OSError: there is no such file or part, or the folder cannot be written.
        ValueError: `out` is not empty, one or two of the parts are given, or `convert` refuses.
    """
    parts, out = {"audio": audio, "vision": vision, "language": language}, Path(out)
    missing = [name for name, part in parts.items() if part is None]
    if 0 < len(missing) < len(parts):
        raise ValueError(f"--{' and --'.join(missing)} missing. Fix: give --audio, --vision and "
                         "--language for a whole model, or none for connector and LoRA alone")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty. Fix: choose a new folder")
    state = read_released(file)
    if missing:
        config = released_config(state)
        write_learned(convert(state, config), config, None, out)
        config.save_pretrained(out)
    else:
        model = FavorForConditionalGeneration.from_parts(**parts, **{**SETTINGS, **settings})
        converted = convert(state, model.config)
        model.load_state_dict(converted, strict=False)
        processor = FavorProcessor.from_parts(model.config, **parts)
        model.save_pretrained(out)
        processor.save_pretrained(out)
    text = (f"Connector and LoRA from `{Path(file).name}`, which the authors of FAVOR (arXiv "
            "2310.05863) trained. What their code does and this package does not:\n\n"
            + "\n".join(f"- {difference}" for difference in DIFFERENCES))
    write_card(out, "FAVOR, the authors' weights", text, LEARNED if missing else WHOLE)
    return out
