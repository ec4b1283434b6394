"""BLEU, NIST, METEOR, ROUGE-L and CIDEr against the official programs, and loops written from equations.

The texts are our own. OFFICIAL holds what the E2E challenge's measure_scores.py (tuetschek/e2e-metrics,
commit 1b9c4d8) printed for those in tests/data/captions.json: BLEU and NIST are its mteval-v13a-sig.pl's
(Perl 5.36, XML::Twig 3.52), to four decimals; the others its MS-COCO scorers' with METEOR 1.5 and the PTB
tokenizer of Stanford CoreNLP 3.4.1 (Java 17).
"""

import json
import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, permutations
from pathlib import Path

import pytest

from pedro_bench.metrics import caption_programs, captions
from pedro_bench.metrics.captions import bleu, nist, tokens_13a, words
from pedro_bench.metrics.meteor import align, meteor_exact_stem

FIXED = json.loads((Path(__file__).parents[1] / "data/captions.json").read_text("utf-8"))
OFFICIAL = {
    "meteor": 0.29739281488489816,
    "rouge_l": 0.46142476291363943,
    "cider": 2.2827834108191745,
}
MTEVAL = {0: (0.2335, 3.0791), 1: (0.1607, 1.3248), 2: (0.1295, 0.7177), 3: (0.1020, 0.3040)}
"""Words cut from the end of each output, of which one is kept -> BLEU, NIST."""

OUTPUTS = [
    "The Mill is a cheap pub near the river , rated 3 out of 5 .",
    "Zizzi serves French food for families in the city centre .",
    "A coffee shop called Cotto , which is not cheap .",
    "The the the pub",
]
REFERENCES = [
    [
        "The Mill is a low-priced pub by the river. It is rated 3 out of 5.",
        "A cheap pub, The Mill.",
    ],
    ["Zizzi is a family friendly place with French food in the city centre ."],
    [
        "Cotto is an expensive coffee shop .",
        "Cotto is a coffee shop , and it 's not cheap .",
        "Cotto",
    ],
    ["The pub is the best one in the town"],
]


def split(texts):
    return [words(text) for text in texts]


def caption_rouge_l(outputs, references):
    return captions.caption_rouge_l(split(outputs), list(map(split, references)))


def cider(outputs, references):
    return captions.cider(split(outputs), list(map(split, references)))


def meteor(outputs, references):
    return meteor_exact_stem(split(outputs), list(map(split, references)))


@pytest.mark.parametrize("number", MTEVAL)
def test_bleu_and_nist_are_the_official_scripts(number):
    cut = [
        " ".join(tokens[: max(1, len(tokens) - number)]) if number else text
        for text in FIXED["outputs"]
        for tokens in [text.split()]
    ]
    found = (bleu(cut, FIXED["references"]) / 100, nist(cut, FIXED["references"]))
    assert found == pytest.approx(MTEVAL[number], abs=5.1e-5)


@pytest.mark.parametrize(
    ("outputs", "references", "expected"),
    [
        (["zebra yak", "quux"], [["a b c d e"], ["f g h"]], (0.0853, 0.0)),  # no match at all
        (["a b", "a"], [["a b c"], ["a b", "a"]], (0.7165, 1.2556)),  # no output of four words
        (
            ["0 cats 0 dogs", "x 0 cats y"],
            [["0 cats 0 dogs here", "0 0 cats"], ["x 0 cats", "cats y"]],
            (0.7825, 4.7145),
        ),  # the script takes "0" for no word
    ],
)
def test_bleu_and_nist_are_the_official_scripts_in_corner_cases(outputs, references, expected):
    found = (bleu(outputs, references) / 100, nist(outputs, references))
    assert found == pytest.approx(expected, abs=5.1e-5)


def test_rouge_l_and_cider_are_the_official_scripts():
    outputs, references = FIXED["outputs"], FIXED["references"]
    assert caption_rouge_l(outputs, references) / 100 == pytest.approx(
        OFFICIAL["rouge_l"], rel=1e-9
    )
    assert cider(outputs, references) == pytest.approx(OFFICIAL["cider"], rel=1e-9)


def test_meteor_without_word_lists_is_another_and_lower_number():
    assert meteor(FIXED["outputs"], FIXED["references"]) / 100 < OFFICIAL["meteor"] - 0.03


@pytest.fixture
def programs(monkeypatch):
    monkeypatch.setattr(caption_programs, "PACKAGE", "pycocoevalcap")
    found = caption_programs.programs()
    if found is None:
        pytest.skip("Java or the package pycocoevalcap is not there (extra e2e)")
    return found


def test_words_of_the_ptb_tokenizer_in_any_locale(programs, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    texts = [*FIXED["outputs"], *(text for given in FIXED["references"] for text in given)]
    brackets = str.maketrans({"(": "-lrb-", ")": "-rrb-"})
    expected = [[word.translate(brackets) for word in words(text)] for text in texts]
    assert programs.words(texts) == expected
    odd = ["a\u2028b\x85c", "", " ", "d\re\x0bf", "\ud83d g"]
    assert programs.words(odd)[:4] == [["a", "b", "c"], [], [], ["d", "e", "f"]]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_meteor_is_the_official_programs_also_from_two_threads_at_once(programs):
    def scored(_):
        given = programs.words(FIXED["outputs"])
        each = iter(programs.words([text for texts in FIXED["references"] for text in texts]))
        wanted = [[next(each) for _ in texts] for texts in FIXED["references"]]
        assert captions.cider(given, wanted) == pytest.approx(OFFICIAL["cider"], rel=1e-9)
        return caption_programs.meteor_15(programs, given, wanted) / 100

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(scored, range(2))) == pytest.approx([OFFICIAL["meteor"]] * 2, rel=1e-9)


def grams(tokens, order):
    return [tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)]


def clipped(output, references, order):
    given = Counter(grams(output, order))
    return {
        gram: min(count, max(grams(one, order).count(gram) for one in references))
        for gram, count in given.items()
    }


def tokenised():
    return [
        (tokens_13a(output), [tokens_13a(one) for one in wanted])
        for output, wanted in zip(OUTPUTS, REFERENCES, strict=True)
    ]


def test_tokens_of_mteval():
    text = "It's £3.50, 4-star (low-priced); A &amp; B."
    expected = "it's £3.50 , 4 - star ( low-priced ) ; a & b ."
    assert tokens_13a(text) == expected.split()


def test_bleu():
    logs = []
    for order in range(1, 5):
        matches = sum(sum(clipped(out, refs, order).values()) for out, refs in tokenised())
        number = sum(len(grams(out, order)) for out, _ in tokenised())
        logs.append(math.log(matches / number))
    length = sum(len(out) for out, _ in tokenised())
    wanted = sum(
        min((abs(len(one) - len(out)), len(one)) for one in refs)[1] for out, refs in tokenised()
    )
    expected = 100 * math.exp(min(0, 1 - wanted / length) + sum(logs) / 4)
    assert bleu(OUTPUTS, REFERENCES) == pytest.approx(expected)


def test_bleu_smoothing_halves_for_every_order_without_a_match():
    # 3 tokens: unigrams 2/3, bigrams 1/2, trigrams 0 -> 1/2 of 1; there is no 4-gram to smooth
    given, wanted = ["a b x d"], [["a b c d"]]
    expected = 100 * math.exp(
        (math.log(3 / 4) + math.log(1 / 3) + math.log(0.5 / 2) + math.log(0.25 / 1)) / 4
    )
    assert bleu(given, wanted) == pytest.approx(expected)


def test_nist():
    everything = [one for _, refs in tokenised() for one in refs]
    total = 0.0
    for order in range(1, 6):
        gained = 0.0
        for out, refs in tokenised():
            for gram, count in clipped(out, refs, order).items():
                if count:
                    whole = sum(grams(one, order).count(gram) for one in everything)
                    before = (
                        sum(grams(one, order - 1).count(gram[:-1]) for one in everything)
                        if order > 1
                        else sum(map(len, everything))
                    )
                    gained += count * math.log2(before / whole)
        total += gained / sum(len(grams(out, order)) for out, _ in tokenised())
    length = sum(len(out) for out, _ in tokenised())
    number = sum(len(refs) for _, refs in tokenised())
    wanted = len(OUTPUTS) * sum(map(len, everything)) / number
    beta = -math.log(0.5) / math.log(1.5) ** 2
    penalty = math.exp(-beta * math.log(min(1, length / wanted)) ** 2)
    assert nist(OUTPUTS, REFERENCES) == pytest.approx(penalty * total)


def test_nist_length_penalty_is_a_half_at_two_thirds():
    whole = nist(["a b c"], [["a b c"]])
    assert whole == pytest.approx(math.log2(3))  # five orders, of which bigrams and longer add 0
    assert nist(["a b"], [["a b c"]]) == pytest.approx(0.5 * math.log2(3))


def longest(first, second):
    return max(
        size
        for size in range(len(first) + 1)
        for kept in combinations(first, size)
        if contains(second, kept)
    )


def contains(text, kept):
    rest = iter(text)
    return all(word in rest for word in kept)


def test_rouge_l():
    expected = []
    for output, references in zip(OUTPUTS, REFERENCES, strict=True):
        given = words(output)
        shared = [(longest(given, words(one)), len(words(one))) for one in references]
        p = max(size for size, _ in shared) / len(given)
        r = max(size / length for size, length in shared)
        expected.append((1 + 1.44) * p * r / (r + 1.44 * p))
    assert caption_rouge_l(OUTPUTS, REFERENCES) == pytest.approx(100 * sum(expected) / 4)


def test_cider():
    number = len(REFERENCES)
    held = Counter()
    for references in REFERENCES:
        held.update({g for one in references for n in range(1, 5) for g in grams(words(one), n)})

    def vector(text, order):
        counts = Counter(grams(words(text), order))
        return {g: c * math.log(number / max(1, held[g])) for g, c in counts.items()}

    total = 0.0
    for output, references in zip(OUTPUTS, REFERENCES, strict=True):
        for one in references:
            gap = len(grams(words(output), 2)) - len(grams(words(one), 2))
            for order in range(1, 5):
                v, w = vector(output, order), vector(one, order)
                norm = math.sqrt(sum(x * x for x in v.values()) * sum(x * x for x in w.values()))
                if norm:
                    dot = sum(min(v[g], w[g]) * w[g] for g in v if g in w)
                    total += math.exp(-gap * gap / 72) * dot / norm / 4 / len(references)
    assert cider(OUTPUTS, REFERENCES) == pytest.approx(10 * total / number)


def best_alignment(given, wanted, match):
    """Try every alignment: most weight, then fewest chunks."""
    best = None
    slots = [*range(len(wanted)), *[None] * len(given)]
    for places in set(permutations(slots, len(given))):
        pairs = [(i, j) for i, j in enumerate(places) if j is not None]
        weights = [match(given[i], wanted[j]) for i, j in pairs]
        if 0 in weights:
            continue
        chunks = sum((i - 1, j - 1) not in pairs for i, j in pairs)
        rank = (-sum(weights), chunks)
        best = rank if best is None else min(best, rank)
    return best


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("the pub the", "the old pub the"),
        ("serves serving food", "it serves good food"),
        ("a b a c", "c a b a"),
        ("rated rating", "rating rated"),
    ],
)
def test_meteor_alignment(given, wanted):
    def match(one, other):
        return 1.0 if one == other else 0.5 * (one[:4] == other[:4] and len(one) > 4)

    found = align(given.split(), wanted.split())
    expected = best_alignment(given.split(), wanted.split(), match)
    assert (-(found.exact + 0.5 * found.stem), found.chunks) == expected


def test_meteor_by_hand():
    # "serving cheap food here" / "it serves cheap food": 2 exact, 1 stem, 1 chunk
    p = r = (2 + 0.6) / 4
    f = 1 / (0.15 / p + 0.85 / r)
    expected = f * (1 - 0.6 * (1 / 3) ** 0.2)
    assert meteor(["serving cheap food here"], [["it serves cheap food"]]) == pytest.approx(
        100 * expected
    )


def test_meteor_sums_the_statistics_of_the_best_references():
    both = meteor(["a cat", "a dog ran"], [["a cat", "cats"], ["the dog runs", "x"]])
    # first: equal, 2 words, no chunk; second: dog exact, ran no match with runs: 1 exact, 1 chunk
    p = r = 3 / 5
    assert both == pytest.approx(100 * p * (1 - 0.6 * (1 / 3) ** 0.2))
    assert r == p


def test_a_reference_scores_the_maximum():
    golds = [references[0] for references in REFERENCES]
    for measure in (bleu, meteor, caption_rouge_l):
        assert measure(golds, REFERENCES) == pytest.approx(100.0)
    alone = [[gold] for gold in golds]
    assert cider(golds, alone) == pytest.approx(10.0)


def test_nothing_said_scores_nothing():
    for measure in (bleu, nist, meteor, caption_rouge_l, cider):
        assert measure([""] * 4, REFERENCES) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's £3.50, isn't it?", "it 's # 3.50 is n't it"),
        ("5of5 for 20GBP at 7pm, £20 -25.", "5of5 for 20gbp at 7 pm # 20 -25"),
        (
            "St. John's hors d'oeuvre and/or the center., cannot",
            "st. john 's hors d'oeuvre and/or the center. can not",
        ),
        ("A family-friendly pub - rated 5 out of 5!", "a family-friendly pub rated 5 out of 5"),
        ('"Zizzi" (cheap)', "zizzi cheap"),
        ("family - friendly .", "family friendly"),
    ],
)
def test_words_of_captions(text, expected):
    assert [word for word in words(text) if word not in '"()'] == expected.split()
