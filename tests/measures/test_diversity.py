"""The measures of a prompt's answers, held to values by hand, to nltk, and to the definitions written out another way."""

from __future__ import annotations

import gzip
import math
from statistics import mean

import numpy as np
import pytest

from wmkml.measures import diversity
from wmkml.measures.diversity_table import DIVERSITY

FOUR = ["the cat sat on the mat", "the cat sat on a mat", "Dogs bark at night", ""]
DIFFERENT = ["ein Haus am See", "zwei Hunde bellen laut", "drei alte graue Katzen"]
SAME = ["es war einmal ein Turm"] * 3


def size(text: str) -> int:
    return len(gzip.compress(text.encode(), 9))


@pytest.mark.parametrize("name", DIVERSITY)
def test_a_row_can_be_computed(name: str) -> None:
    measure = DIVERSITY[name]
    assert measure.name == name and measure.meaning and measure.source
    value = measure(FOUR)
    assert value is not None and math.isfinite(value)
    assert measure([]) in (None, 0.0)


@pytest.mark.parametrize("name", [name for name, row in DIVERSITY.items() if row.direction != "either"])
def test_it_goes_where_its_row_says_as_answers_grow_alike(name: str) -> None:
    alike, different = DIVERSITY[name](SAME), DIVERSITY[name](DIFFERENT)
    assert alike is not None and different is not None
    assert (alike > different) == (DIVERSITY[name].direction == "rises")


def test_self_bleu_by_hand() -> None:
    # Of "a b c d e" against "a b c d f": 4/5, 3/4, 2/3 and 1/2 of the n-grams, lengths equal; the other way the same.
    assert diversity.self_bleu(["a b c d e", "a b c d f"]) == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    # Nothing shared but words: method 1 puts 0.1 in place of no match; case counts.
    shared = "x a y b z", "p a q b r"
    assert diversity.self_bleu(shared) == pytest.approx((2 / 5 * 0.1 / 4 * 0.1 / 3 * 0.1 / 2) ** 0.25)
    assert diversity.self_bleu(["A B C D", "a b c d"]) == 0.0
    # A shorter answer is punished: all n-grams match, and the brevity penalty is exp(1 − 5/4).
    assert diversity.self_bleu(["a b c d", "a b c d e"]) == pytest.approx(
        (math.exp(1 - 5 / 4) + (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25) / 2
    )


def test_ncd_is_over_ordered_pairs_joined_by_a_space() -> None:
    distances = [
        (size(f"{a} {b}") - min(size(a), size(b))) / max(size(a), size(b))
        for i, a in enumerate(FOUR)
        for j, b in enumerate(FOUR)
        if i != j
    ]
    assert len(distances) == 12
    assert diversity.ncd(FOUR) == pytest.approx(mean(distances))
    assert diversity.ncd(["one"]) is None


def test_jaccard_by_hand() -> None:
    # Pairs: {the cat, cat sat, sat on, on the, the mat} and {the cat, cat sat, sat on, on a, a mat}: 3 of 7.
    # Triples: {the cat sat, cat sat on, sat on the, on the mat}: 2 of 6.  4-grams: 1 of 5.
    two = ["The cat sat on the mat", "the CAT sat on a mat"]
    assert diversity.jaccard_2(two) == pytest.approx(3 / 7)
    assert diversity.jaccard_3(two) == pytest.approx(2 / 6)
    assert diversity.jaccard_4(two) == pytest.approx(1 / 5)
    assert diversity.jaccard_2(FOUR) == pytest.approx(3 / 7 / 6)
    assert diversity.jaccard_2(["", ""]) == 0.0, "two empty sets"
    assert diversity.jaccard_2(["a b", "a b"]) == 1.0


def test_vendi_counts_different_answers() -> None:
    assert diversity.vendi_jaccard_2(SAME) == pytest.approx(1.0)
    assert diversity.vendi_jaccard_2(DIFFERENT) == pytest.approx(3.0)
    assert diversity.vendi_jaccard_2(["", ""]) == pytest.approx(2.0), "the diagonal is 1, the rest 0"
    # Of two answers of similarity s the eigenvalues are (1 ± s)/2.
    s = 3 / 7
    halves = (1 + s) / 2, (1 - s) / 2
    assert diversity.vendi_jaccard_2(FOUR[:2]) == pytest.approx(math.exp(-sum(p * math.log(p) for p in halves)))


def test_vendi_by_ngrams_is_the_mean_cosine_of_their_counts() -> None:
    # "a a b" and "a b b": 1-grams (2, 1)·(1, 2)/5; pairs {aa, ab} and {ab, bb}: 1/2; no triple and no 4-gram shared.
    assert diversity.cosine_matrix(["a a b", "a b b"])[0, 1] == pytest.approx((4 / 5 + 1 / 2) / 4)
    assert diversity.vendi(SAME) == pytest.approx(1.0)
    assert diversity.vendi(DIFFERENT) == pytest.approx(3.0)


def test_hill_numbers_by_hand() -> None:
    # Leinster and Cobbold's own limits: all different gives n and all alike 1, at every order.
    for order in (0.0, 0.5, 1.0, 2.0, math.inf):
        assert diversity.hill_number(np.eye(4), order) == pytest.approx(4.0)
        assert diversity.hill_number(np.ones((4, 4)), order) == pytest.approx(1.0)
    # Two alike and one apart: (Zp) is 2/3, 2/3, 1/3.
    similarity = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert diversity.hill_number(similarity, 0.0) == pytest.approx(2.0)
    assert diversity.hill_number(similarity, 1.0) == pytest.approx((2 / 3) ** (-2 / 3) * (1 / 3) ** (-1 / 3))
    assert diversity.hill_number(similarity, 2.0) == pytest.approx(9 / 5)
    assert diversity.hill_number(similarity, math.inf) == pytest.approx(3 / 2)


def test_compression_gains_leave_one_out() -> None:
    texts = FOUR[:3]
    answer, of_set = [], []
    for index, text in enumerate(texts):
        others = " ".join(texts[:index] + texts[index + 1 :])
        together = f"{others} {text}"
        packed = size(together) / len(together)
        answer.append(size(text) / len(text) - packed)
        of_set.append(size(others) / len(others) - packed)
    assert diversity.compression_gain_answer(texts) == pytest.approx(mean(answer))
    assert diversity.compression_gain_set(texts) == pytest.approx(mean(of_set))
    assert diversity.compression_gain_answer(["", ""]) is None, "an empty answer has no size of its own"


def test_clusters_by_single_linkage() -> None:
    # 2 of 4 pairs shared along the chain, and 1 of 5 from end to end.
    chain = ["a b c d", "b c d e", "c d e f"]
    assert [diversity.jaccard_matrix(chain, 2)[0, index] for index in (1, 2)] == pytest.approx([1 / 2, 1 / 5])
    assert diversity.clusters(chain) == 1.0, "its ends are linked by the middle"
    assert diversity.clusters([chain[0], chain[2]]) == 2.0
    assert diversity.clusters(chain, 0.51) == 3.0
    assert diversity.clusters(["", ""]) == 2.0


def test_dead_answers_are_counted_beside() -> None:
    dead = ["", "  \n", "ja", "eins zwei drei vier"]
    assert diversity.share_empty(dead) == 0.5
    assert diversity.share_too_short(dead) == 0.75
    assert diversity.mean_length(dead) == 5 / 4
    assert diversity.distinct_4(["a b c d e", "a b c d"]) == pytest.approx(2 / 3)
