def test_training_uses_the_first_gold_and_scoring_all(make_task):
    task = make_task("squad")
    row = {"context": "Built in May 1820.", "question": "When?", "answers": ["May 1820", "1820"]}
    example = task.example(row)
    assert example.answer == "May 1820"
    assert example.extractive
    assert task.score(["1820"], [example])["em"] == 100.0


def test_extraction_takes_the_first_line_as_it_is(make_task):
    task = make_task("squad")
    example = task.example({"context": "c", "question": "q", "answers": ["c"]})
    assert task.extract("  the Mill, of course \nQuestion: who?", example) == "the Mill, of course"
