import sys

import pytest
from typer.testing import CliRunner

from prefine.cli.app import app
from prefine.errors import PrefineError
from prefine.evaluate.comet import environment as env
from prefine.evaluate.comet.environment import PACKAGES, VERSION, command, environment, set_up
from prefine.evaluate.places import cache_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFINE_COMET_ENV", raising=False)
    monkeypatch.setenv("PREFINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def steps():
    """What would be run; making the environment leaves what `venv` leaves."""
    done = []

    def run(arguments):
        done.append(arguments)
        if arguments[1:3] == ["-m", "venv"]:
            place = env.Path(arguments[3])
            (place / "bin").mkdir(parents=True)
            (place / "pyvenv.cfg").touch()
            (place / "bin" / "comet-score").touch()

    run.done = done
    return run


def test_where_things_are_kept(tmp_path, monkeypatch):
    assert cache_folder("a", "b") == tmp_path / "cache" / "a" / "b"
    monkeypatch.delenv("PREFINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(cache_folder("a")) == "/xdg/prefine/a"
    assert str(environment()) == f"/xdg/prefine/comet-{VERSION}"
    monkeypatch.setenv("PREFINE_COMET_ENV", "/own")
    assert str(environment()) == "/own" and str(environment("/given")) == "/given"


def test_the_steps_and_their_order(tmp_path, steps):
    place = set_up(run=steps)
    python = str(place / "bin" / "python")
    assert steps.done == [
        [sys.executable, "-m", "venv", str(place)],
        [python, "-m", "pip", "install", "--quiet", *PACKAGES],
        [str(place / "bin" / "comet-score"), "--help"],
    ]
    assert place == tmp_path / "cache" / f"comet-{VERSION}" and command() == place / "bin" / "comet-score"
    assert set_up(run=steps) == place and len(steps.done) == 3
    set_up(run=steps, force=True)
    assert len(steps.done) == 6


def test_what_was_interrupted_is_made_anew(tmp_path, steps):
    def fails(arguments):
        steps(arguments)
        if "pip" in arguments:
            raise PrefineError("no network")

    with pytest.raises(PrefineError, match="no network"):
        set_up(str(tmp_path / "e"), run=fails)
    left = tmp_path / "e" / "left"
    left.touch()
    set_up(str(tmp_path / "e"), run=steps)
    assert not left.exists() and len(steps.done) == 5


def test_folders_that_are_something_else_are_left_alone(tmp_path, steps):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(PrefineError, match="is not an environment"):
        set_up(str(tmp_path / "mine"), run=steps, force=True)
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    with pytest.raises(PrefineError, match="is inside the repository"):
        set_up(str(tmp_path / "repository" / "deep" / "env"), run=steps)
    assert steps.done == [] and (tmp_path / "mine" / "file").exists()


def test_python_must_be_there_and_not_too_new(steps, monkeypatch):
    with pytest.raises(PrefineError, match="there is no Python 'python0"):
        set_up(python="python0.1", run=steps)
    monkeypatch.setattr(env, "NEWEST_PYTHON", (3, 0))
    with pytest.raises(PrefineError, match="COMET needs Python 3"):
        set_up(run=steps)


def test_without_it_the_message_names_the_command(tmp_path):
    with pytest.raises(PrefineError, match=r"run: prefine comet setup$"):
        command()
    with pytest.raises(PrefineError, match=f"setup --environment {tmp_path}/e$"):
        command(f"{tmp_path}/e")


def test_a_failing_step_shows_its_end():
    with pytest.raises(PrefineError, match=r"(?s)setting up COMET failed at: .*the last line$"):
        env._run([sys.executable, "-c", "print('the last line'); raise SystemExit(3)"])


def test_from_the_command_line(tmp_path, steps, monkeypatch):
    monkeypatch.setattr(env, "_run", steps)
    done = CliRunner().invoke(app, ["comet", "setup", "--environment", str(tmp_path / "e")])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "e" / "bin" / "comet-score")
