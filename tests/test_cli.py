"""The command line: what it prints, what it says when something is wrong, and its exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from prefine.cli.app import app, complete_resume, guarded
from prefine.errors import EXIT_IN_USE, EXIT_INTERRUPTED
from prefine.rundir import Counts, RunDir, run_stage
from prefine.schema import Comparison, Example, Score, make_group

RECIPE = """\
name: toy
model: {path: MODEL}
data: {path: rows.jsonl, test_fraction: 0.3}
train: {objective: {name: dpo}, learning_rate: 1e-3, batch_size: 4, logging_steps: 1}
"""


@pytest.fixture
def prefine(capfd):
    """Runs a command in this process; gives its exit code, what it printed, and what it said on standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = guarded(lambda: app(list(arguments), standalone_mode=False), debug="--debug" in arguments)
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def toy(tmp_path, monkeypatch, tiny_model_dir) -> Path:
    """A folder with a recipe and 20 pairs, made the current one."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"question {i}", "chosen": f"good answer {i}", "rejected": f"bad {i}"} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", str(tiny_model_dir)))
    return tmp_path


def make_run(folder: Path) -> Path:
    """A run with one labelled group and one pair, and a recipe."""
    group = make_group([{"role": "user", "content": "why?\x1b[2J"}], ["because", "no"])
    a, b = group.candidates
    a.scores, b.scores = [Score("judge", 0.75)], [Score("judge", None, status="failed")]
    a.n_tokens, a.finish_reason, a.labels = 3, "stop", {"desirable": True}
    group.comparisons = [Comparison(a.id, b.id, "a", "human")]
    pair = Example("e1", group.id, group.messages, [a.completion, b.completion], [a.id, b.id], [0.75, 0.5])

    def writing(rows):
        def work(stage):
            stage.write_part(rows)
            counts = Counts(1)
            counts.rows_out = 1
            return counts, {}

        return work

    with RunDir(folder) as run:
        for stage, rows in (("label", [group]), ("pair", [pair])):
            run_stage(run.stage(stage, "x", "k" * 64), {}, {}, writing(rows))
    (folder / "recipe.yaml").write_text("name: r\nmodel: {path: tiny-student}\ndata: {path: prefine.tiny_world:rows}\n")
    return folder


def test_help_names_every_command_and_the_exit_codes(prefine):
    code, out, _ = prefine("--help")
    assert code == 0
    commands = [
        "run",
        "generate",
        "label",
        "pair",
        "train",
        "evaluate",
        "report",
        "list",
        "show",
        "data",
        "doctor",
        "demo",
    ]
    for command in commands:
        assert re.search(rf"^\W*{command}\s", out, re.MULTILINE), command
        assert prefine(command, "--help")[0] == 0
    text = " ".join(out.split())
    assert all(f"{n} " in text for n in (0, 1, 73, 75)) and "same command goes on" in text
    assert prefine()[1] == out


def test_version(prefine):
    assert prefine("--version") == (0, "prefine 0.1.0\n", "")


@pytest.mark.parametrize("kind", ["objectives", "labelers", "pairers", "generators", "metrics", "formats", "exporters"])
def test_lists(prefine, kind):
    from prefine.registry import KINDS

    code, out, _ = prefine("list", kind)
    assert code == 0
    found = json.loads(prefine("list", kind, "--json")[1])[kind]
    assert [d["name"] for d in found] == list(KINDS[kind].entries())
    for item in found:
        assert item["what"] in out and item["name"] in out


def test_the_list_of_objectives_has_formula_paper_defaults_and_needs(prefine):
    out = prefine("list", "objectives")[1]
    dpo = out[out.index("  dpo") : out.index("  pad")]
    for label in ("formula: ", "paper: ", "defaults: ", "settings: beta: float = 0.1", "needs: pairs; the start model"):
        assert label in dpo
    assert "ranked lists; scores" in out


def test_the_table_on_a_terminal_has_the_same_content(prefine, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = prefine("list", "objectives")[1]
    assert "dpo" in out and "formula" in out and "arXiv:2305.18290" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lst"], "no such command 'lst'"),
        (["list", "objektives"], "there is no kind of component 'objektives'; did you mean 'objectives'?"),
        (["run"], "missing argument"),
        (["run", "nothing.yaml"], "there is no recipe nothing.yaml"),
        (["run", "r.yaml", "--train.seed=1"], "settings are written without dashes: train.seed=..."),
        (["run", "r.yaml", "train.lr=1"], "r.yaml (override): train.lr: unknown key"),
        (["run", "r.yaml", "--resume", "maybe"], "'maybe' is not one of"),
        (["label", "r.yaml"], "r.yaml: the recipe has no section 'label' (its stages: train)"),
        (["show", "rows.json"], "there is no run or file rows.json; did you mean 'rows.jsonl'?"),
        (["show", "rows.jsonl", "--tokens"], "--model tiny-student"),
        (["data", "check", "row.jsonl"], "row.jsonl: no such file; did you mean"),
    ],
)
def test_mistakes_are_one_message_and_exit_with_1(prefine, toy, arguments, message):
    code, out, err = prefine(*arguments)
    assert code == 1
    assert message in " ".join(err.split())
    assert err.startswith("error: ") and "Traceback" not in err
    assert out == ""


def test_a_single_stage_asks_for_the_one_before_it(prefine, toy):
    more = ["generate={}", "label={labelers: [{name: programmatic, function: builtins:len}]}", "pair={}"]
    for stage, earlier in (("label", "generate"), ("pair", "generate"), ("train", "generate")):
        code, _, err = prefine(stage, "r.yaml", *more)
        assert code == 1
        assert f"prefine {earlier}" in err, "names the command that makes what is missing"


@pytest.mark.timeout(120)
def test_a_run_and_its_stages_one_by_one(prefine, toy):
    code, out, err = prefine("run", "r.yaml", "name=whole")
    assert (code, out) == (0, "done: runs/whole\n")
    assert "training: 4/4 steps" in err
    assert len(RunDir(toy / "runs" / "whole").results("train")) == 1
    code, out, err = prefine("run", "r.yaml", "name=whole")
    assert code == 0 and "training" not in err, "what is done is skipped"
    code, out, _ = prefine("show", "runs/whole", "-n", "1", "--tokens")
    assert code == 0 and "response 1  chosen" in out
    assert (
        "][<|im_end|>]" in out and "|assistant|" not in out.replace("|a|s|s|i|s|t|a|n|t|", "|assistant|").split("[")[-1]
    )


def test_checking_a_recipe_without_running_it(prefine, toy):
    code, out, _ = prefine("run", "r.yaml", "train.seed=3", "--dry-run")
    assert code == 0 and not (toy / "runs").exists()
    assert "# r.yaml: data, train" in out and "  seed: 3\n" in out and "    beta: 0.1\n" in out


def test_bfloat16_that_is_emulated_is_told_before_it_is_used(prefine, toy, monkeypatch):
    said = "bf16: this CPU has no bfloat16 instructions, so products are emulated"
    monkeypatch.setattr("prefine.models.bfloat16.cpu_bf16", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert f"# train: {said}" in prefine("run", "r.yaml", "train.bf16=true", "--dry-run")[1]
    assert said not in prefine("run", "r.yaml", "--dry-run")[1]
    code, _, err = prefine("run", "r.yaml", "name=half", "train.bf16=true", "train.max_steps=1")
    assert code == 0 and err.index(said) < err.index("training:") and err.count(said) == 1
    assert said not in prefine("run", "r.yaml", "name=whole", "train.max_steps=1")[2]
    assert "bfloat16 only emulated" in prefine("doctor")[1]


def test_a_directory_in_use(prefine, toy):
    with RunDir(toy / "runs" / "toy"):
        code, _, err = prefine("run", "r.yaml")
    assert code == EXIT_IN_USE and "is in use by pid" in err


SLOW = """
import time
def rows():
    yield {"prompt": "a", "chosen": "b", "rejected": "c"}
    print("reading", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_with_75(toy, sent):
    (toy / "slow_source.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-m", "prefine", "run", "r.yaml", "data.path=slow_source:rows"],
        cwd=toy,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and so would everything that it starts.
        preexec_fn=lambda: signal.signal(sent, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n", process.communicate()[1]
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == EXIT_INTERRUPTED
    assert err.splitlines()[-1].startswith("error: interrupted") and "Traceback" not in err


def test_what_nobody_foresaw_is_one_message_and_a_log(prefine, monkeypatch):
    def fails():
        return 1 / 0

    monkeypatch.setattr("prefine.cli.doctor.examine", fails)
    code, _, err = prefine("doctor")
    assert code == 1
    assert err.startswith("error: ZeroDivisionError: division by zero\n") and "Traceback" not in err
    log = re.search(r"Details are in (\S+);", err)
    assert log and "in fails" in Path(log[1]).read_text()
    Path(log[1]).unlink()
    assert "Traceback" in prefine("doctor", "--debug")[2]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "the memory is not enough; lower train.max_tokens"),
        (OSError(28, "No space left on device", "runs/x"), "the disk is full (runs/x); make room"),
    ],
)
def test_known_misfortunes_name_the_fix(capsys, error, message):
    def command():
        raise error

    assert guarded(command) == 1
    assert message in capsys.readouterr().err


def test_a_reader_that_stops_reading_is_no_error():
    command = f"{sys.executable} -m prefine list formats | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout == "formats:\n" and done.stderr == ""


def test_doctor(prefine):
    code, out, _ = prefine("doctor")
    assert code == 0 and "memory" in out and "extras" in out
    found = json.loads(prefine("doctor", "--json")[1])
    assert set(found) == {"versions", "devices", "memory_gb", "disk_gb", "threads", "extras", "problems"}
    assert found["devices"][-1]["device"] == "cpu"
    assert {"qlora", "track"} <= set(found["extras"])


def test_doctor_says_how_to_get_what_is_missing(prefine, monkeypatch):
    monkeypatch.setattr("prefine.cli.doctor._installed", lambda package: None)
    assert "missing bitsandbytes: pip install 'prefine[qlora]'" in prefine("doctor")[1]


def test_show_a_run(prefine, tmp_path):
    run = str(make_run(tmp_path / "run"))
    code, out, _ = prefine("show", run)
    assert code == 0 and "(rows of: pair, label)" in out
    assert "response 1  chosen  score 0.75\n    because" in out and "response 2  rejected  score 0.5\n    no" in out
    out = prefine("show", run, "--stage", "label")[1]
    assert "response 1  judge 0.75, desirable: true, 3 tokens, ended by stop" in out
    assert "response 2  judge none (failed)" in out and "human prefers 1 over 2" in out
    assert "user: why?\\x1b[2J" in out and "\x1b" not in out, "text cannot steer the terminal"


def test_show_by_id_and_as_json(prefine, tmp_path):
    run = str(make_run(tmp_path / "run"))
    row = json.loads(prefine("show", run, "--json")[1])
    assert row["responses"][0][0]["content"] == "because"
    assert json.loads(prefine("show", run, "--id", row["group_id"][:8], "--json")[1]) == row
    code, _, err = prefine("show", run, "--id", "zzz")
    assert code == 1 and "no row has an id that begins with 'zzz'" in err
    assert "it has: pair, label" in prefine("show", run, "--stage", "generate")[2]
    assert "no stage 'lable' with rows; did you mean 'label'?" in prefine("show", run, "--stage", "lable")[2]


def test_show_a_part_and_a_file(prefine, toy):
    run = make_run(toy / "run")
    part = next((run / "pair").rglob("part-*.parquet"))
    assert "because" in prefine("show", str(part))[1]
    assert "because" in prefine("show", str(part.parent))[1]
    out = prefine("show", "rows.jsonl", "-n", "2")[1]
    assert out.count("prompt ") == 2 and "good answer 0" in out


def test_tokens_of_a_file(prefine, toy, tiny_model_dir):
    out = prefine("show", "rows.jsonl", "-n", "1", "--tokens", "--model", str(tiny_model_dir))[1]
    assert "response 2 tokens: 6, trained on: 6\n    [b][a][d][ ][0][<|im_end|>]" in out
    assert "prompt tokens: 29\n    <|im_start|>|u|s|e|r|\\n|" in out


def test_checking_data(prefine, toy):
    code, out, _ = prefine("data", "check", "rows.jsonl")
    assert code == 0 and "20 rows, 20 used" in out
    with (toy / "rows.jsonl").open("a") as f:
        f.write('{"prompt": "a", "chosen": "same", "rejected": "same"}\n' * 3)
    code, out, _ = prefine("data", "check", "rows.jsonl")
    assert code == 1 and "too many (at most 5.0%)" in out
    code, out, _ = prefine("data", "check", "rows.jsonl", "--max-bad-fraction", "0.5", "--json")
    assert code == 0 and json.loads(out)[0]["rows"] == 23


def test_the_demo_gets_its_options(prefine, monkeypatch, tmp_path):
    given = {}
    stub = types.ModuleType("prefine.demo")
    stub.run = lambda **arguments: given.update(arguments) or RunDir(tmp_path)  # type: ignore[attr-defined]
    (tmp_path / "results.json").write_text('{"runs": []}')
    monkeypatch.setitem(sys.modules, "prefine.demo", stub)
    assert prefine("demo", "--seeds", "3", "--output", str(tmp_path / "d"))[0] == 0
    assert given["seeds"] == 3 and given["output"] == tmp_path / "d"


def test_resume_may_stand_alone():
    assert complete_resume(["run", "r.yaml", "--resume"]) == ["run", "r.yaml", "--resume=always"]
    assert complete_resume(["run", "--resume", "r.yaml", "seed=1"]) == ["run", "--resume=always", "r.yaml", "seed=1"]
    for given in (["run", "r.yaml", "--resume", "never"], ["run", "r.yaml", "--resume=auto"], ["run", "r.yaml"]):
        assert complete_resume(given) == given
