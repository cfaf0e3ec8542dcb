"""Options from files and variables: which value holds, who says so, and what is refused."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import typer.main

from moeplace.cli.config import command_options, read_settings
from moeplace.cli.main import app
from moeplace.errors import InputError

ROOT = typer.main.get_command(app)
OPTIONS = command_options(ROOT)


@pytest.fixture
def shown(moeplace, tiny):
    """Return a function from a file's text to what `config show solve` says about every option."""

    def show(text: str, *before: str, command: str = "solve") -> dict[str, tuple]:
        (tiny / "moeplace.toml").write_text(text)
        done = moeplace(*before, "config", "show", command, "--format", "json")
        assert done.exit_code == 0, done.stderr
        rows = json.loads(done.stdout)["options"]
        return {row["option"]: (row["value"], row["origin"]) for row in rows}

    return show


def test_every_option_of_every_command_is_known():
    """What a file can set are all options of the app but --help."""
    for words, command in ((w, ROOT) for w in OPTIONS):
        for word in words:
            command = command.commands[word]
        names = {p.name for p in command.params if p.param_type_name == "option"}
        assert {option.name for option in OPTIONS[words].values()} == names - {"help"}
    assert ("trace", "import") in OPTIONS
    assert OPTIONS[("solve",)]["seed"].minimum == 0
    assert OPTIONS[("solve",)]["format"].choices == ("table", "json", "csv")
    kinds = {key: OPTIONS[("solve",)][key].kind for key in ("ranks", "time-limit", "output")}
    assert kinds == {"ranks": "whole number", "time-limit": "number", "output": "path"}


def test_line_over_variable_over_file_over_built_in(moeplace, tiny, monkeypatch, problem):
    """A seed is taken from the built-in value, then a file, a variable, the command line."""

    def seed(*more):
        done = moeplace("solve", *problem, "--solver", "lpt", "--format", "json", *more)
        return json.loads(done.stdout)["seed"]

    assert seed() == 0
    (tiny / "moeplace.toml").write_text("[defaults]\nseed = 1\n")
    assert seed() == 1
    (tiny / "moeplace.toml").write_text("[defaults]\nseed = 1\n[solve]\nseed = 2\n")
    assert seed() == 2
    monkeypatch.setenv("MOEPLACE_SOLVE_SEED", "3")
    assert seed() == 3
    assert seed("--seed", "4") == 4


def test_a_whole_problem_from_a_file(moeplace, tiny):
    """Lists, flags and names in a file do what the options do."""
    (tiny / "moeplace.toml").write_text(
        '[defaults]\nmodel = "tiny.yaml"\nhw = "mesh:2x2"\nformat = "json"\nholdout = 0.25\n'
        '[solve]\ntrace = ["trace.npz"]\nsolver = "lpt"\nslots_per_rank = 3\n'
    )
    found = json.loads(moeplace("solve").stdout)
    line = (
        "--no-config solve --model tiny.yaml --hw mesh:2x2 --trace trace.npz --solver lpt "
        "--slots-per-rank 3 --format json --holdout 0.25"
    )
    given = json.loads(moeplace(*line.split()).stdout)
    assert found["problem"] == given["problem"]
    assert found["holdout"]["fraction"] == 0.25


def test_origins(shown, monkeypatch, tiny):
    """`config show` names the line of the file, the variable, or built-in."""
    text = '[defaults]\nmodel = "a"\n\n[solve]\ntrace = ["x", "y z"]\n'
    monkeypatch.setenv("MOEPLACE_SOLVE_RANKS", "8")
    options = shown(text)
    assert options["model"] == ("a", "moeplace.toml:2")
    assert options["trace"] == (["x", "y z"], "moeplace.toml:5")
    assert options["ranks"] == (8, "MOEPLACE_SOLVE_RANKS")
    assert options["solver"] == ("auto", "built-in")
    assert options["hw"] == (None, "built-in")
    monkeypatch.setenv("MOEPLACE_SOLVE_TRACE", "b 'c d'")
    assert shown(text)["trace"] == (["b", "c d"], "MOEPLACE_SOLVE_TRACE")


def test_defaults_are_for_whom_they_fit(shown):
    """A command whose option means something else keeps its own value."""
    text = '[defaults]\nredundant = "auto"\nformat = "json"\n'
    assert shown(text)["redundant"] == ("auto", "moeplace.toml:2")
    assert shown(text, command="replay")["redundant"] == (0, "built-in")
    report = shown(text, command="report")
    assert report["format"] == (OPTIONS[("report",)]["format"].default, "built-in")


def test_the_folder_wins_over_the_user(shown, tiny):
    """moeplace.toml of the working folder wins over the user's file; --config over both."""
    (tiny / "home" / "moeplace").mkdir(parents=True)
    home = tiny / "home" / "moeplace" / "config.toml"
    home.write_text("[solve]\nseed = 5\nranks = 4\n")
    (tiny / "other.toml").write_text("[solve]\nseed = 6\n")
    mine = "[solve]\nseed = 7\n"
    options = shown(mine)
    assert options["seed"] == (7, "moeplace.toml:2")
    assert options["ranks"] == (4, f"{home}:3")
    options = shown(mine, "--config", "other.toml")
    assert options["seed"] == (6, "other.toml:2")
    assert options["ranks"] == (None, "built-in")
    assert shown(mine, "--no-config")["seed"] == (0, "built-in")


def test_show_lists_what_is_set(moeplace, tiny):
    """Without a command the table has only what is set, and says how much is not."""
    (tiny / "moeplace.toml").write_text("[trace.split]\nseed = 9\n")
    done = moeplace("config", "show")
    assert re.search(r"trace split +--seed +9 +moeplace.toml:2", done.stdout)
    count = sum(len(known) for known in OPTIONS.values())
    assert f"{count - 1} options of {len(OPTIONS)} commands are as built in" in done.stdout
    assert moeplace("config", "show", "slove").stderr.count("solve") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[solve]\nseed = 1\nsede = 2\n", "moeplace.toml:3: [solve] unknown option 'sede'"),
        ("[solve]\nsede = 2\n", "did you mean 'seed'?"),
        ("[slove]\nseed = 2\n", "moeplace.toml:1: unknown section 'slove'; did you mean 'solve'?"),
        ("[trace.imprt]\n", "unknown section 'trace.imprt'; did you mean 'trace.import'?"),
        ("[defaults]\nsedd = 2\n", "moeplace.toml:2: [defaults] unknown option 'sedd'"),
        ("seed = 2\n", "moeplace.toml:1: key 'seed' stands outside of a section"),
        ("[trace]\nseed = 2\n", "moeplace.toml:2: [trace] seed: trace is a group of commands"),
        ('[solve]\nseed = "a"\n', "moeplace.toml:2: [solve] seed is 'a'; use a whole number"),
        ("[solve]\nseed = 1.5\n", "seed is 1.5; use a whole number"),
        ("[solve]\nseed = -1\n", "seed is -1; use at least 0"),
        ("[solve]\nseed = true\n", "seed is true; use a whole number"),
        ('[solve]\nquiet = "yes"\n', "quiet is 'yes'; use true or false"),
        ('[solve]\nformat = "xml"\n', "format is 'xml'; use one of table, json, csv"),
        ("[solve]\nmodel = {}\n", "model is {}; use text"),
        ("[solve]\nmodel = [1]\n", "model is [1]; use text"),
        ("[solve]\ntrace = [true]\n", "trace is true; use text"),
        ('[defaults]\nseed = "x"\n', "moeplace.toml:2: [defaults] seed is 'x'; use a whole"),
        ('[defaults]\nformat = "svg"\n', "[defaults] format is 'svg'; use one of table, json"),
        ("[solve\n", "moeplace.toml: not TOML"),
        ("[solve]\nseed = 1\nseed = 2\n", "at line 3"),
    ],
)
def test_what_is_refused(moeplace, tiny, text, said):
    """Unknown sections and options, wrong types and broken files leave with 3 and one line."""
    (tiny / "moeplace.toml").write_text(text)
    done = moeplace("model", "list")
    assert done.exit_code == 3
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_broken_file_does_not_hinder_help(moeplace, tiny):
    """--help works whatever files say, and --no-config leaves them out."""
    (tiny / "moeplace.toml").write_text("[solve\n")
    assert moeplace("model", "list").exit_code == 3
    assert moeplace("--no-config", "model", "list").exit_code == 0
    assert moeplace("model", "list", "--help").exit_code == 0
    assert moeplace("--help").exit_code == 0


def test_variables_are_checked(moeplace, monkeypatch):
    """A variable with a value of another type is named; unknown variables are not ours."""
    monkeypatch.setenv("MOEPLACE_NOBODY", "x")
    monkeypatch.setenv("MOEPLACE_SOLVE_QUIET", "perhaps")
    done = moeplace("model", "list")
    assert (done.exit_code, done.stderr) == (
        3,
        "error: MOEPLACE_SOLVE_QUIET is 'perhaps'; use true or false\n",
    )
    monkeypatch.setenv("MOEPLACE_SOLVE_QUIET", "off")
    assert moeplace("model", "list").exit_code == 0


def test_a_missing_file(moeplace):
    """--config FILE has to exist."""
    done = moeplace("--config", "none.toml", "model", "list")
    assert (done.exit_code, done.stderr) == (3, "error: none.toml: No such file or directory\n")


def test_required_options_and_negative_flags(moeplace, tiny, shown):
    """A file gives what a command requires, and turns flags off."""
    (tiny / "moeplace.toml").write_text('[hw.estimate]\nmodel = "nowhere"\n[wafer]\nmodel = "no"\n')
    done = moeplace("wafer")
    assert done.exit_code == 3
    assert "'no'" in done.stderr
    assert shown("[replay]\nregret = false\n", command="replay")["regret"][0] is False
    assert shown("[sweep]\nredundant = [0, 25]\n", command="sweep")["redundant"][0] == "0,25"


def test_init_writes_what_holds(moeplace, tiny):
    """The file parses as it is, and with every line uncommented all options are as built in."""
    assert moeplace("init").exit_code == 0
    text = (tiny / "moeplace.toml").read_text()
    assert all(not section for section in flat(tomllib.loads(text)))
    open_ = re.sub(r"^#(?=\S)", "", text, flags=re.MULTILINE)
    path = tiny / "open.toml"
    path.write_text(open_)
    settings = read_settings(ROOT, path, environment={})
    for words, known in OPTIONS.items():
        for option in known.values():
            setting = settings.of(words, option.name)
            if option.default is None:
                assert setting is None
                assert re.search(rf"^# {option.key} \(", text, re.MULTILINE)
            else:
                assert setting is not None, (words, option.key)
                assert setting.value == option.default, (words, option.key)


def flat(content):
    """Yield the scalar content of all tables."""
    for value in content.values():
        if isinstance(value, dict):
            yield from flat(value)
        else:
            yield value


def test_init_keeps_a_file(moeplace, tiny):
    """A file that exists is kept unless --force is given; other names have to end in .toml."""
    (tiny / "mine.toml").write_text("[solve]\n")
    done = moeplace("init", "mine.toml")
    assert done.exit_code == 3
    assert "--force" in done.stderr
    assert (tiny / "mine.toml").read_text() == "[solve]\n"
    assert moeplace("init", "mine.toml", "--force").exit_code == 0
    assert "[defaults]" in (tiny / "mine.toml").read_text()
    assert moeplace("init", "mine.txt").exit_code == 2


def test_lines_are_found_by_reading(tmp_path):
    """Quoted keys and dotted keys are placed too; where nothing is found the file is named."""
    path = tmp_path / "a.toml"
    path.write_text('solve.seed = 1\n[trace."split"]\n"seed" = "x"\n')
    with pytest.raises(InputError, match=r"a\.toml:3: \[trace\.split\] seed is 'x'"):
        read_settings(ROOT, path, environment={})
    path.write_text('solve = { seed = "x" }\n')
    with pytest.raises(InputError, match=r"a\.toml: \[solve\] seed"):
        read_settings(ROOT, path, environment={})
