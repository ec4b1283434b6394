"""Build the tokenizer of the embedded backbone: every micro word is one token, any UTF-8 text is safe.

Byte-level BPE in the manner of GPT-2 and Llama 3. With `ignore_merges` a pre-token that stands in the
vocabulary is taken whole; all other text falls back to merges learned from common English words, and in
the end to bytes.

    python scripts/build_micro_tokenizer.py --out pedro_bench/backbones/micro_weights
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import Final

from micro_pretraining import pretraining_text
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pedro_bench.data import micro
from pedro_bench.data.micro import exercises, lexicon

BOS: Final = "<|begin|>"
EOS: Final = "<|end|>"
PAD: Final = "<|pad|>"
_TRAINED_MERGES: Final = 500

# Words of the prompts that tasks write around micro rows.
_PROMPTS: Final = """
Review: The
Sentiment (positive or negative): positive negative
Question: Is
Answer yes or no: yes no
Premise: The
Hypothesis: The
Does the premise imply the hypothesis? Answer yes or no: yes no
Sentence: The
Does the sentence answer the question? Answer yes or no: yes no
What was the cause? effect?
First choice: one
Second choice: two
The right choice: one
Entities: one
Statement: @placeholder was one
@placeholder stands for: one
Answer with words from the text: one
Instruction: Give
Input: one
Response: one
"""

# Common words that micro texts may need later.
_SPARE: Final = """
either or neither both if then unless only same other since before after until while although however
though even still too also more less most least than as like who whom whose which what when where why
how all some any each every none many much few several here there now soon later always often sometimes
never again once twice maybe perhaps quite almost nearly just very this that these those my your our
their its we you they them us him me think know say see hear tell ask answer give get make let keep find
""" + " ".join(
    "She He They It We You This That There Here But And So Or Not Both Neither Either If When While "
    "Although However Though Since Because After Before Then Now One Two Three Some Many Every No Yes "
    "Never Always Only Both Still Give Find Name Which What Who Where How Why".split()
)

_COMMON: Final = """
the of and to in is that it was for on as with his he be at by had this but not have from are or her
an they which one you were all their there been has would will can when more if no out so said what up
its about into than them could only other new some time these two may then do first any my now such like
our over man me even most made after also did many before must through back years where much your way
well down should because each just those people how too little state good very make world still own see
men work long get here between both life being under never day same another know while last might us
great old year off come since against go came right used take three states himself few house use during
without again place around however home small found mrs thought went say part once general high upon
school every don't does got united left number course war until always away something fact though water
less public put think almost hand enough far took head yet government system better set told nothing night
end why called didn't eyes find going look asked later knew point next program city business give group
toward young days let room side social given present several order national possible rather second face per
among form important often things looked early white case large become john big need four within felt
children along saw best church ever least power development light thing seemed family interest want members
mind country area others done turned although open god service certain kind problem began different door
thus help sense means whole matter world woman women company question answer false true story movie film
character director scene funny comedy drama action performance audience plot script actor
information population century river north south east west island county language player team season league
game music song album band television series episode book novel author science history law court president
king queen army battle empire university college student research theory energy cell body blood heart
health disease doctor money market price bank trade tax street town village road building park sea ship
car train computer data software model machine method result training learning test number value network
"""
_ENDINGS: Final = """
ing tion ed er est ly ness ment able ible less ful ous ive al ity ies es ist ism ship hood ward wise ance
ence ant ent ary ory ize ise ify ated ation ations ating un re in im dis pre pro con com ex sub inter over
under trans anti auto multi semi non mis out up down th sh ch ph wh st str tr br cr dr fr gr pr bl cl fl gl
pl sl sp sk sm sn sw ck ng nk nd nt rd rk rm rn rt ss tt ll ff oo ee ea ai ou ow oi oy au ay ey igh ough
"""


def micro_texts() -> list[str]:
    """Write texts in which every word of the micro world occurs, in every form that it takes."""
    rng = Random("tokenizer")
    plain = plain_words()
    texts = [_PROMPTS, " " + " ".join(plain), " " + " ".join(_SPARE.split())]
    for index in range(40_000):
        document = pretraining_text.document(rng, progress=(index % 5) / 4, plain_words=plain)
        texts.append("".join(piece.text for piece in document))
    for task in micro.TASKS:
        for rows in micro.generate(task).values():
            for row in rows:
                values = [v for key, v in row.items() if key not in ("id", "answers", "label")]
                for value in values:
                    for text in value if isinstance(value, list) else [value]:
                        texts += [text, f" {text}"]
    return texts


def plain_words() -> tuple[str, ...]:
    """All words that stand in copied lists."""
    return pretraining_text.plain_words()


def build() -> PreTrainedTokenizerFast:
    """Train the merges, add the micro words and wrap the result."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    words: dict[str, int] = {}
    for text in micro_texts():
        for word, _ in split.pre_tokenize_str(text):
            words[word] = words.get(word, 0) + 1
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = split
    english = (_COMMON + _ENDINGS).split()
    corpus = [f" {w} {w} {w.capitalize()}\n{w}" for w in english]
    corpus += [f" {w}" for w in (*lexicon.NAMES, *exercises.words_of_lists())]
    learner.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=256 + _TRAINED_MERGES,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    state = json.loads(learner.to_str())["model"]
    vocabulary = {token: index for index, token in enumerate((BOS, EOS, PAD))}
    learned = sorted(state["vocab"], key=state["vocab"].__getitem__)
    for token in (*learned, *sorted(words)):
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(pair) for pair in state["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    begin = (BOS, vocabulary[BOS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[begin]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def main() -> None:
    """Build and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = build()
    tokenizer.save_pretrained(arguments.out)
    print(f"{len(tokenizer)} tokens in {arguments.out}")


if __name__ == "__main__":
    main()
