"""The metrics file and the trackers."""

import importlib.util
import json

import pytest
from accelerate import Accelerator

from prefine.errors import PrefineError
from prefine.train.log import MetricsLog, Trackers


def test_rows_are_json_and_not_a_number_is_shown(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"step": 1, "loss": 0.5})
    log.write({"step": 2, "loss": float("nan"), "grad_norm": float("inf")})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": "nan", "grad_norm": "inf"}]


def test_rewinding_forgets_later_steps_and_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.rewind(0)
    assert not path.exists()
    for step in (1, 2, 3):
        log.write({"step": step})
    with path.open("a") as f:
        f.write('{"step": 4, "lo')
    log.rewind(2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_installed_names_the_extra(tmp_path):
    with pytest.raises(PrefineError, match=r"wandb.*pip install 'prefine\[track\]'"):
        Trackers(Accelerator(cpu=True), ["wandb"], "project", tmp_path, {})


def test_nothing_is_tracked_unless_asked(tmp_path):
    accelerator = Accelerator(cpu=True)
    trackers = Trackers(accelerator, [], "project", tmp_path, {})
    trackers.log({"step": 1, "loss": 0.5})
    trackers.close()
    assert accelerator.trackers == [] and list(tmp_path.iterdir()) == []
