"""Prompt files: what counts as a prompt; a broken file is reported with its line, and the other files are still read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wmkml.config import load_settings
from wmkml.corpora import (
    PROMPT_HEADERS,
    PromptFile,
    check_datasets,
    is_adult,
    list_datasets,
    read_dataset,
    read_prompts,
)
from wmkml.owner.main import dataset_problems

Read = Callable[[str | bytes], PromptFile]

SHIPPED = Path(__file__).parent.parent.parent / "Datasets"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """A function that writes bytes or text to a file and reads its prompts."""

    def write_and_read(content: str | bytes) -> PromptFile:
        path = tmp_path / "prompts.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_prompts(path)

    return write_and_read


def texts(file: PromptFile) -> list[str]:
    return [prompt.text for prompt in file.prompts]


def problem_lines(file: PromptFile) -> list[tuple[int, str]]:
    return [(problem.line, problem.severity) for problem in file.problems]


# What ships


def test_the_shipped_sets_are_large_enough_and_without_a_problem() -> None:
    names = list_datasets(SHIPPED)
    assert len(names) >= 4
    assert check_datasets(SHIPPED) == []
    for name in names:
        assert len(read_dataset(SHIPPED, name).prompts) >= 40, name
    assert any(name.endswith("_de") for name in names) and any(name.endswith("_en") for name in names)


def test_no_prompt_is_shipped_twice() -> None:
    every = [prompt.casefold() for name in list_datasets(SHIPPED) for prompt in read_dataset(SHIPPED, name).prompts]
    assert len(every) == len(set(every))


def test_the_readme_names_every_shipped_set_and_every_header() -> None:
    readme = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert [name for name in (*list_datasets(SHIPPED), *PROMPT_HEADERS) if f"`{name}`" not in readme] == []


# What a prompt is


def test_without_a_header_every_cell_is_a_prompt(read: Read) -> None:
    file = read("Was ist Liebe?,Was ist Zeit?\nWas ist Brot?\n")
    assert texts(file) == ["Was ist Liebe?", "Was ist Zeit?", "Was ist Brot?"]
    assert [prompt.line for prompt in file.prompts] == [1, 1, 2]
    assert file.problems == () and not file.broken


@pytest.mark.parametrize("header", [*PROMPT_HEADERS, "Prompt", "FRAGE", ' "Question" '])
def test_a_header_makes_one_column_the_prompts(read: Read, header: str) -> None:
    file = read(f"id,{header.strip()},note\n1,Was ist Liebe?,schwer\n2,Was ist Brot?,leicht\n")
    assert texts(file) == ["Was ist Liebe?", "Was ist Brot?"] and file.problems == ()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_under_a_header_columns_may_be_divided_otherwise(read: Read, delimiter: str) -> None:
    file = read(f"nr{delimiter}frage\n1{delimiter}Was ist Liebe?\n")
    assert texts(file) == ["Was ist Liebe?"] and file.problems == ()


def test_of_several_headers_the_first_listed_wins(read: Read) -> None:
    assert texts(read("text,prompt\nnicht dies,Aber dies.\n")) == ["Aber dies."]


def test_the_header_may_follow_empty_rows(read: Read) -> None:
    assert texts(read("\n\nprompt\nWas ist Liebe?\n")) == ["Was ist Liebe?"]


def test_a_byte_order_mark_is_no_part_of_the_header(read: Read) -> None:
    file = read(b"\xef\xbb\xbfprompt\r\nWas h\xc3\xb6rst du?\r\n")
    assert texts(file) == ["Was hörst du?"] and file.problems == ()


def test_quoted_commas_and_doubled_quotation_marks_are_text(read: Read) -> None:
    file = read('"Wenn es regnet, was tust du?"\n"Was heißt ""Heimat""?"\n')
    assert texts(file) == ["Wenn es regnet, was tust du?", 'Was heißt "Heimat"?'] and file.problems == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_end_of_a_line_counts_as_one(read: Read, end: str) -> None:
    file = read(end.join(["Eins.", "Zwei.", "[INST] Drei."]))
    assert [prompt.line for prompt in file.prompts] == [1, 2] and problem_lines(file) == [(3, "error")]


# What is left out and reported


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_another_encoding_is_an_error_at_its_line(read: Read, mark: bytes, end: bytes) -> None:
    file = read(mark + end.join([b"Gut.", "Schön.".encode(), b"Gr\xfc\xdfe", b"Ende"]))
    assert problem_lines(file) == [(3, "error")] and texts(file) == []
    assert "0xfc" in file.problems[0].text and "UTF-8" in file.problems[0].text
    assert str(file.problems[0]).startswith(f"{file.path}, line 3: error: ")


@pytest.mark.parametrize(("encoding", "name"), [("utf-16", "UTF-16"), ("latin-1", "Latin-1"), ("cp1252", "Latin-1")])
def test_other_encodings_are_read_with_a_warning(read: Read, encoding: str, name: str) -> None:
    file = read("Grüße?\n".encode(encoding))
    assert texts(file) == ["Grüße?"]
    assert problem_lines(file) == [(1, "warning")] and f"read as {name}" in file.problems[0].text


def test_an_encoding_that_is_not_read_is_named(read: Read) -> None:
    file = read("Привет, как дела?\n".encode("cp1251"))
    assert problem_lines(file) == [(1, "error")] and "another script" in file.problems[0].text


def test_binary_data_is_an_error_at_its_line(read: Read) -> None:
    assert problem_lines(read(b"Gut.\n\x00\x01\x02\n")) == [(2, "error")]


@pytest.mark.parametrize("content", ['Eins.\n"Zwei.\nDrei.\n', 'Eins.\n"Zwei.\nDrei.\n"Vier, fünf."\n'])
def test_a_quotation_mark_that_is_not_closed_is_an_error_where_it_opens(read: Read, content: str) -> None:
    file = read(content)
    assert problem_lines(file) == [(2, "error")] and texts(file) == []


def test_an_open_quotation_mark_is_found_after_loose_ones_too(read: Read) -> None:
    assert problem_lines(read('"Ja" sagte er.\nZwei.\n"Drei.\n')) == [(3, "error")]


def test_text_after_a_closing_quotation_mark_is_a_warning_at_its_line(read: Read) -> None:
    file = read('Eins.\n"Ja" sagte er.\nDrei.\n')
    assert texts(file) == ["Eins.", "Ja sagte er.", "Drei."] and problem_lines(file) == [(2, "warning")]


def test_a_prompt_over_several_lines_is_a_warning_where_it_begins(read: Read) -> None:
    file = read('Eins.\n"Zwei\nund drei."\nVier.\n')
    assert texts(file) == ["Eins.", "Zwei\nund drei.", "Vier."]
    assert problem_lines(file) == [(2, "warning")] and file.prompts[2].line == 4


@pytest.mark.parametrize("content", ["", "\n\n", "prompt\n", "\ufeff"])
def test_a_file_without_a_prompt_is_an_error(read: Read, content: str) -> None:
    file = read(content)
    assert file.broken
    assert [problem.line for problem in file.problems if "no prompt" in problem.text] == [0]


def test_empty_rows_are_warnings_at_their_lines(read: Read) -> None:
    file = read("Eins.\n\nZwei.\n , \n")
    assert texts(file) == ["Eins.", "Zwei."] and problem_lines(file) == [(2, "warning"), (4, "warning")]


def test_a_repeated_prompt_is_a_warning_that_names_both_lines(read: Read) -> None:
    file = read("Was ist Brot?\nWas ist Zeit?\nwas  ist Brot?\n")
    assert problem_lines(file) == [(3, "warning")] and "line 1" in file.problems[0].text
    assert len(file.prompts) == 3


@pytest.mark.parametrize(
    "markup",
    ["[INST]", "[/INST]", "<s>", "</s>", "<|im_start|>", "<|eot_id|>", "<<SYS>>", "<start_of_turn>", "<bos>", "[inst]"],
)
def test_chat_markup_leaves_its_row_out_and_names_its_line(read: Read, markup: str) -> None:
    file = read(f"Eins.\n{markup} Zwei.\nDrei.\n")
    assert texts(file) == ["Eins.", "Drei."] and problem_lines(file) == [(2, "error")] and file.broken
    assert markup in file.problems[0].text


def test_angle_brackets_that_are_no_markup_are_text(read: Read) -> None:
    assert read("Ist 3 < 5?\nWas heißt [sic]?\nWas ist <3?\n").problems == ()


@pytest.mark.parametrize(
    "row",
    [
        "Wenn es regnet, was tust du?",
        "Sag mir, Peter, wie geht es?",
        "Hallo, Welt",
        "Kostet das 3,50 Euro?",
        "Brot,und Wein?",
    ],
)
def test_a_sentence_split_by_a_comma_is_a_warning_at_its_line(read: Read, row: str) -> None:
    file = read(f"Eins.\nZwei.\n{row}\n")
    assert problem_lines(file) == [(3, "warning")] and "comma" in file.problems[0].text
    assert len(file.prompts) > 3  # every cell still counts as a prompt


@pytest.mark.parametrize("row", ["Was ist A?,Was ist B?", "Was ist A?, Was ist B?", "Liebe,Zeit,Brot", "Eins.,,Zwei."])
def test_several_prompts_in_a_row_are_no_split_sentence(read: Read, row: str) -> None:
    assert read(f"{row}\n").problems == ()


def test_under_a_header_more_cells_than_headers_are_a_warning(read: Read) -> None:
    file = read("prompt\nEins.\nWenn es regnet, was tust du?\n")
    assert problem_lines(file) == [(3, "warning")] and "2 cells under 1 headers" in file.problems[0].text


@pytest.mark.parametrize("garbled", ["GrÃ¼ÃŸe", "Gr\ufffd\ufffde"])
def test_characters_lost_in_a_conversion_are_a_warning(read: Read, garbled: str) -> None:
    assert problem_lines(read(f"Eins.\n{garbled}\n")) == [(2, "warning")]


def test_no_problem_quotes_a_prompt(read: Read) -> None:
    canary = "Zitronenfalter"
    file = read(f'{canary}\n{canary}\n[INST] {canary}\n"{canary}" {canary}\nWenn {canary}, was {canary}?\n')
    assert file.problems and not any(canary in str(problem) for problem in file.problems)


# Folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A good set of two files, a broken one, an empty folder, and things that are no sets."""
    for name, content in {
        "gut/eins.csv": b"Was ist Brot?\n",
        "gut/zwei.CSV": b"Was ist Zeit?\n",
        "schlecht/a.csv": "Schön.\n".encode() + b"Gr\xfc\xdfe\n",
        "schlecht/b.csv": b"Heil.\n",
        "leer/notes.pdf": b"x",
        "leer/README.md": b"About it.",
        ".versteckt/a.csv": b"x",
    }.items():
        path = tmp_path / "Datasets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.csv").write_text("Geheim.\n")
    return tmp_path / "Datasets"


def test_a_set_is_a_folder_with_csv_files(root: Path) -> None:
    assert list_datasets(root) == ["gut", "schlecht"]
    assert read_dataset(root, "gut").prompts == ["Was ist Brot?", "Was ist Zeit?"]
    assert list_datasets(root / "nowhere") == []


def test_a_broken_file_is_named_and_the_others_still_work(root: Path) -> None:
    dataset = read_dataset(root, "schlecht")
    assert dataset.broken and dataset.prompts == ["Heil."]
    assert [(p.path.name, p.line, p.severity) for p in dataset.problems] == [("a.csv", 2, "error")]
    assert check_datasets(root) == dataset.problems and check_datasets(root, ["gut"]) == []


def test_a_set_that_is_missing_says_which_there_are(root: Path) -> None:
    (problem,) = check_datasets(root, ["gutt"])
    assert problem.severity == "error" and "gut, schlecht" in problem.text


def test_a_folder_without_a_file_that_is_read_is_an_error(root: Path) -> None:
    (problem,) = check_datasets(root, ["leer"])
    assert problem.severity == "error" and "no file that is read" in problem.text


@pytest.mark.parametrize(
    "name", ["../secret", "..", ".", "", "gut/../../secret", "/etc", ".versteckt", "a\x00b", "..\\x"]
)
def test_a_name_never_leads_out_of_the_root(root: Path, name: str) -> None:
    dataset = read_dataset(root, name)
    assert dataset.broken and dataset.prompts == [] and len(dataset.problems) == 1


def test_a_prompt_in_two_files_of_a_set_is_a_warning(root: Path) -> None:
    (root / "gut" / "zwei.CSV").write_text("Eins.\nWas ist Brot?\n")
    (problem,) = check_datasets(root, ["gut"])
    assert (problem.path.name, problem.line, problem.severity) == ("zwei.CSV", 2, "warning")
    assert "eins.csv, line 1" in problem.text


def test_a_file_that_cannot_be_read_is_an_error(root: Path) -> None:
    (root / "gut" / "drei.csv").mkdir()
    (problem,) = check_datasets(root, ["gut"])
    assert problem.path.name == "drei.csv" and problem.severity == "error"
    assert len(read_dataset(root, "gut").prompts) == 2


@pytest.mark.process
def test_reading_sets_loads_no_heavy_library() -> None:
    code = "import sys, wmkml.corpora; print(sorted({'torch', 'transformers', 'vllm', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"


# --- sets that are not for everybody -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "adult"),
    [("adult: true\n", True), ("# about\nadult:  True  # why\n", True), ("adult: false\n", False), ("", False)],
)
def test_a_set_is_marked_by_a_file_beside_its_prompts(tmp_path: Path, mark: str, adult: bool) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set.csv").write_text("Was ist das?\n")
    assert not is_adult(tmp_path, "set")
    (tmp_path / "set" / "dataset.yaml").write_text(mark)
    assert is_adult(tmp_path, "set") == adult
    assert read_dataset(tmp_path, "set").prompts == ["Was ist das?"]  # the mark is no prompt file


def test_the_start_refuses_a_marked_set_unless_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set.csv").write_text("Was ist das?\n")
    (tmp_path / "set" / "dataset.yaml").write_text("adult: true\n")
    named = {"finetuning.dataset_array": [["set"]]}
    [problem] = dataset_problems(load_settings(None, overrides=named), tmp_path)
    assert "dataset_array: 'set' is marked" in problem
    allowed = named | {"general.allow_adult_datasets": True}
    assert dataset_problems(load_settings(None, overrides=allowed), tmp_path) == []
    assert dataset_problems(load_settings(None), tmp_path) == []
