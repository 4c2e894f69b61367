"""What a table says of a paper is read off its BibTeX record, whoever wrote that."""

import pytest

from fedjax_sparse.config import bibliography
from fedjax_sparse.config.bibliography import Paper
from fedjax_sparse.config.entry import Entry, Hyperparameters


def entry(*references):
    return Entry("mine", "what it does", "mine:factory", Hyperparameters, "Mine", references)


@pytest.mark.parametrize("key", bibliography.records())
def test_every_record_states_all_and_its_year_is_that_of_its_key(key):
    said = bibliography.paper(entry(key))
    assert all(said)
    assert str(said.year) in key
    assert not set("{}\\\n") & set(f"{said.author}{said.title}")


def test_the_first_reference_is_the_paper_and_accents_are_kept():
    assert bibliography.paper(entry("richtarik2021ef21", "li2020fedprox")) == Paper(
        "Richtárik",
        2021,
        "EF21: A New, Simpler, Theoretically Better, and Practically Faster Error Feedback",
        "https://arxiv.org/abs/2106.05203",
    )


def test_records_from_outside_may_be_one_line_and_say_less():
    record = "@misc{mine, author = {Ada {\\v{C}}apek and B. Y}, title = {A {Deep} Title}, year = 2030}"
    assert bibliography.paper(entry(record)) == Paper("Čapek", 2030, "A Deep Title", None)
    assert bibliography.paper(entry("@misc{mine}")) == Paper(None, None, None, None)
    assert bibliography.paper(entry()) == Paper(None, None, None, None)
