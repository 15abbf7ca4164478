"""Wrong answers to the exercises of notebook 09."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

from favor_mini.losses import diversity_loss


def entropy(logits, labels, **options):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), **options)


def not_moved(logits, labels, queries, weight):
    return entropy(logits, labels) + weight * diversity_loss(queries)


def moved_back(logits, labels, queries, weight):
    return entropy(logits[:, 1:], labels[:, :-1]) + weight * diversity_loss(queries)


def no_diversity(logits, labels, queries, weight):
    return entropy(logits[:, :-1], labels[:, 1:])


def no_weight(logits, labels, queries, weight):
    return entropy(logits[:, :-1], labels[:, 1:]) + diversity_loss(queries)


def rewarded(logits, labels, queries, weight):
    return entropy(logits[:, :-1], labels[:, 1:]) - weight * diversity_loss(queries)


def padding_counts(logits, labels, queries, weight):
    return entropy(logits[:, :-1], labels[:, 1:].clamp(min=0)) + weight * diversity_loss(queries)


def mean_of_means(logits, labels, queries, weight):
    rows = [entropy(logits[i : i + 1, :-1], labels[i : i + 1, 1:]) for i in range(len(logits))]
    return torch.stack(rows).mean() + weight * diversity_loss(queries)


def summed(logits, labels, queries, weight):
    return entropy(logits[:, :-1], labels[:, 1:],
                   reduction="sum") + weight * diversity_loss(queries)


def in_place(logits, labels, queries, weight):
    labels[labels < 0] = 0
    return entropy(logits[:, :-1], labels[:, 1:]) + weight * diversity_loss(queries)


def _total(logits, labels, diversity, weight):
    return entropy(logits[:, :-1], labels[:, 1:]) + weight * diversity


def all_detached(logits, labels, queries, weight):
    return _total(logits, labels, diversity_loss(queries), weight).detach()


def diversity_as_a_number(logits, labels, queries, weight):
    return _total(logits, labels, diversity_loss(queries).item(), weight)


def absolute_diversity(logits, labels, queries, weight):
    return _total(logits, labels, abs(diversity_loss(queries)), weight)


def diversity_above_zero(logits, labels, queries, weight):
    return _total(logits, labels, diversity_loss(queries).clamp(min=0), weight)


def joined_first(logits, labels, queries, weight):
    joined = F.cross_entropy(logits.flatten(0, 1)[:-1], labels.flatten()[1:])
    return joined + weight * diversity_loss(queries)


def rolled(logits, labels, queries, weight):
    return entropy(logits, labels.roll(-1, dims=1)) + weight * diversity_loss(queries)


def through_view(logits, labels, queries, weight):
    words = logits.shape[-1]
    logits = logits.view(-1, words).reshape(*labels.shape, words)
    return _total(logits, labels, diversity_loss(queries), weight)


def merged(ids):
    return [i for n, i in enumerate(ids) if n == 0 or ids[n - 1] != i]


def with_blanks(ids, blank):
    return merged(ids)


def not_merged(ids, blank):
    return [i for i in ids if i != blank]


def blanks_first(ids, blank):
    return merged([i for i in ids if i != blank])


def each_once(ids, blank):
    return list(dict.fromkeys(i for i in ids if i != blank))


def changes_its_input(ids, blank):
    ids[:] = [i for i in merged(ids) if i != blank]
    return ids


def folders(out):
    return sorted(Path(out).glob("checkpoint-*"))


def number(folder):
    return int(folder.name.split("-")[1])


def whole(folder):
    return (folder / "trainer_state.json").exists()


def by_text(out):
    found = [f for f in folders(out) if whole(f) and f.name != "checkpoint-80"]
    return str(found[-1]) if found else None


def oldest(out):
    found = sorted(filter(whole, folders(out)), key=number)
    return str(found[0]) if found else None


def cut_off(out):
    found = sorted(folders(out), key=number)
    return str(found[-1]) if found else None


def unread(out):
    found = sorted(filter(whole, folders(out)), key=number)
    return str(found[-1]) if found else None


def raises_where_empty(out):
    return str(max(folders(out), key=number))


def as_path(out):
    def good(folder):
        try:
            return bool(json.loads((folder / "trainer_state.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return False

    return max(filter(good, folders(out)), key=number, default=None)


def _newest(out):
    found = [f for f in map(Path, folders(out)) if whole(f)]
    while found:
        newest = max(found, key=number)
        try:
            json.loads((newest / "trainer_state.json").read_text(encoding="utf-8"))
            return newest
        except ValueError:
            found.remove(newest)
    return None


def name_alone(out):
    newest = _newest(out)
    return newest and newest.name


def by_time(out):
    found = sorted(filter(whole, folders(out)), key=lambda f: f.stat().st_mtime)
    return str(found[-1]) if found else None


def never_found(out):
    newest = _newest(out)
    newest = newest and str(newest)  # and no `return`


def gives_up(out):
    found = sorted(folders(out), key=number)
    return str(found[-1]) if found and whole(found[-1]) else None


def gives_up_at_the_broken_one(out):
    found = sorted(filter(whole, folders(out)), key=number)
    try:
        json.loads((found[-1] / "trainer_state.json").read_text(encoding="utf-8"))
        return str(found[-1])
    except (IndexError, ValueError):
        return None


WRONG = {
    "two_part_loss": [(not_moved, "not shifted"), (moved_back, "wrong way"),
                      (no_diversity, "is missing"), (no_weight, "not weighted"),
                      (rewarded, "subtracted"), (padding_counts, "-100 count"),
                      (mean_of_means, "rows' means"), (summed, "a sum"), (in_place, "in place"),
                      (all_detached, "reach the logits"),
                      (diversity_as_a_number, "reach the queries"),
                      (absolute_diversity, "absolute value of the diversity"),
                      (diversity_above_zero, "cut off at 0"),
                      (joined_first, "joined before the shift"), (rolled, "wrapped"),
                      (through_view, "instead of `view`")],
    "spelled": [
        (with_blanks, "blanks are still"), (not_merged, "neighbours are still"),
        (blanks_first, "left out before"), (each_once, "counts again"),
        (changes_its_input, "in place")],
    "last_checkpoint": [
        (by_text, "sort by the number"), (oldest, "oldest"), (cut_off, "has no trainer_state"),
        (unread, "valid JSON"), (raises_where_empty, "ValueError"), (as_path, "as text"),
        (name_alone, "whole path"), (by_time, "time of writing"), (never_found, "is complete"),
        (gives_up, "one before (it returned None)"),
        (gives_up_at_the_broken_one, "complete one (it returned None)")]
}
