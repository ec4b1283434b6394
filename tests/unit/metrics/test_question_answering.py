import pytest

from pedro_bench.errors import DataError
from pedro_bench.metrics.question_answering import (
    exact_match,
    f1_em,
    longest_common_subsequence,
    normalise,
    rouge_l,
    token_f1,
    words,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's, hat!", "cats hat"),
        ("an apple a day", "apple day"),
        ("Athena", "athena"),
        ("U.S.", "us"),
        ("the", ""),
        ("Köln–Bonn", "köln–bonn"),  # only ASCII punctuation is dropped, as in the official script
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected


def test_exact_match_after_normalisation():
    assert exact_match("the Xiang Army.", "Xiang army") == 1.0
    assert exact_match("Xiang", "Xiang Army") == 0.0


def test_token_f1_by_hand():
    # 2 shared words; precision 2/3, recall 2/4: F1 = 2 * (1/3) / (7/6) = 4/7
    assert token_f1("red blue green", "red blue x y") == pytest.approx(4 / 7)
    # a repeated word counts as often as it stands in both
    assert token_f1("red red", "red") == pytest.approx(2 / 3)
    assert token_f1("", "red") == 0.0


def test_best_gold_counts_for_each_measure():
    scores = f1_em(
        ["in October 1973", "1973"], [["October 1973", "1973"], ["October 1973", "1973"]]
    )
    assert scores["em"] == 50.0
    assert scores["f1"] == pytest.approx(100 * (0.8 + 1.0) / 2)
    assert scores["f1_em"] == pytest.approx((scores["f1"] + 50.0) / 2)


def test_lengths_must_agree():
    with pytest.raises(DataError, match=r"got 2 predictions for 1 examples"):
        f1_em(["a", "b"], [["a"]])


def test_words_are_runs_of_letters_and_digits():
    assert words("It's 3 o'clock_now, Ée!") == ["it", "s", "3", "o", "clock", "now", "ée"]


@pytest.mark.parametrize(
    ("first", "second", "length"),
    [("abcbdab", "bdcaba", 4), ("abc", "abc", 3), ("abc", "cba", 1), ("", "abc", 0)],
)
def test_longest_common_subsequence(first, second, length):
    assert longest_common_subsequence(list(first), list(second)) == length


def test_rouge_l_by_hand():
    # subsequence "police the gunman": P = 3/4, R = 3/4 (Lin 2004, section 3)
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(0.5)


def test_texts_without_words():
    assert rouge_l("", "") == 1.0
    assert rouge_l("...", "word") == 0.0
