"""A new config of files that somebody points at: what they are called, and what is refused."""

import pytest
import yaml

from dids import cli
from dids.config import load_config
from dids.config.given_files import given_sources, given_tasks
from dids.config.template import config_text
from dids.errors import InputError


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "data/web.jsonl.gz", "data/chats.v2.parquet", "books/a.txt", "books/b.txt",
        "sums/validation.jsonl.gz", "sums/test-2.jsonl", "sums/readme.md",
        "many/val.jsonl", "many/dev.jsonl", "many/test.jsonl", "odd=name.jsonl",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_sources_are_called_as_their_files_are_or_as_is_said():
    said = ["data/*", "books", "b=books/b.txt", "mail=data/*", "hf:openai/gsm8k:main"]
    assert given_sources([*said, "odd=name.jsonl"]) == {
        "chats.v2": "data/chats.v2.parquet",
        "web": "data/web.jsonl.gz",
        "books": "books",
        "b": "books/b.txt",
        "mail": "data/*",
        "gsm8k": "hf:openai/gsm8k:main",
        "odd=name": "odd=name.jsonl",
    }


def test_tasks_are_two_files_or_one_or_a_folder_of_them():
    folder = ("sums/validation.jsonl.gz", "sums/test-2.jsonl")
    said = ["sums", "again=sums", "qa=books/a.txt,hf:org/qa:test", "books/b.txt", "hf:org/one"]
    assert given_tasks([*said, "one-file=data/web.jsonl.gz"]) == {
        "sums": folder,
        "again": folder,
        "qa": ("books/a.txt", "hf:org/qa:test"),
        "b": ("books/b.txt", None),
        "one": ("hf:org/one", None),
        "one-file": ("data/web.jsonl.gz", None),
    }


def test_a_glob_leaves_out_what_is_a_tasks(files):
    assert given_sources(["books/*"], ["books/a.txt"]) == {"b": "books/b.txt"}
    assert given_sources(["books/*"], [str(files / "books" / "b.txt")]) == {"a": "books/a.txt"}
    with pytest.raises(InputError, match="every file of it is a task's"):
        given_sources(["books/b*"], ["books/b.txt"])
    # What was asked for by name, or as a whole, is no slip.
    assert given_sources(["mine=books/*", "books"], ["books/a.txt"]) == {
        "mine": "books/*",
        "books": "books",
    }


@pytest.mark.parametrize(
    ("given", "said", "expected"),
    [
        (given_sources, ["no.jsonl"], "--data 'no.jsonl': there is no file or folder no.jsonl"),
        (given_sources, ["no/*"], "no file matches no/*"),
        (given_sources, ["a/b=books"], "'a/b': a name has no slash"),
        (given_sources, ["books", "books=data"], "two sources would be called 'books'"),
        (given_tasks, ["books/a.txt,books/b.txt"], "it has no name; say --task NAME="),
        (given_tasks, ["a=books/a.txt,"], "it needs two paths, --task a=VALIDATION,TEST"),
        (given_tasks, ["a=books/a.txt,no.txt"], "there is no file or folder no.txt"),
        (given_tasks, ["a=no.txt"], "there is no file or folder no.txt"),
        (given_tasks, ["books"], "books has 0 files called validation"),
        (given_tasks, ["many"], "many has 2 files called validation"),
        (given_tasks, ["sums", "sums=sums"], "there is a task 'sums' already"),
    ],
)
def test_what_cannot_be_is_one_sentence(given, said, expected):
    with pytest.raises(InputError) as error:
        given(said)
    assert expected in str(error.value)


HARD = ["on", "12", "a: b", "# no comment", "{x}", "schöne Daten", "'quoted'", "*star", "x " * 90]


def test_a_glob_may_have_an_equals_sign_in_it(tmp_path):
    folder = tmp_path / "lang=en"
    folder.mkdir()
    (folder / "a.jsonl").write_text("{}", encoding="utf-8")
    assert given_sources([f"{folder}/*.jsonl"]) == {"a": f"{folder}/a.jsonl"}


def test_any_name_and_path_is_read_back_as_it_was():
    sources = {name.strip(): f"data/{name.strip()}.jsonl" for name in HARD}
    tasks = {name.strip(): (f"{name.strip()}/v", f"{name.strip()}/t") for name in HARD}
    raw = yaml.safe_load(config_text(sources, tasks, "org/model: 1"))
    assert raw["data"]["sources"] == sources
    assert raw["tasks"] == {
        name: {"validation": validation, "test": test} for name, (validation, test) in tasks.items()
    }
    assert raw["model"] == {"name": "org/model: 1"}
    halved = yaml.safe_load(config_text(sources, {name: (f"{name}/v", None) for name in tasks}))
    assert halved["tasks"] == {name: f"{name}/v" for name in tasks}


def test_what_init_writes_of_files_is_a_config(files, monkeypatch, capsys):
    arguments = ["--data", "data/*", "--task", "sums", "--model", "org/base"]
    monkeypatch.setattr("sys.argv", ["dids", "init", "mine.yaml", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    assert "change what you like, then: dids run mine.yaml" in capsys.readouterr().out
    config = load_config(files / "mine.yaml")
    assert list(config.data.sources) == ["chats.v2", "web"]
    assert config.tasks["sums"].test == (str(files / "sums/test-2.jsonl"),)
    assert config.tokenizer.name == config.model.name == "org/base"
    assert config.training["learning_rate"] == 2.0e-5


def test_a_file_called_like_a_variable_is_itself(files, monkeypatch):
    (files / "${odd}.txt").write_text("a")
    monkeypatch.setattr("sys.argv", ["dids", "init", "mine.yaml", "--data", "${odd}.txt"])
    with pytest.raises(SystemExit):
        cli.main()
    sources = load_config(files / "mine.yaml").data.sources
    assert sources["${odd}"].path == (str(files / "${odd}.txt"),)


def test_a_task_of_one_file_is_a_config_too(files, monkeypatch):
    monkeypatch.setattr("sys.argv", ["dids", "init", "mine.yaml", "--task", "qa=books/a.txt"])
    with pytest.raises(SystemExit):
        cli.main()
    assert (
        "qa: books/a.txt   # half of it is kept for the test" in (files / "mine.yaml").read_text()
    )
    task = load_config(files / "mine.yaml").tasks["qa"]
    assert (task.validation, task.test) == ((str(files / "books/a.txt"),), None)


def test_what_init_is_not_given_stays_an_example(files, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["dids", "init", "mine.yaml", "--data", "books"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "change tasks and model, then" in capsys.readouterr().out
    config = load_config(files / "mine.yaml")
    assert list(config.data.sources) == ["books"]
    assert list(config.tasks) == ["summaries"]
