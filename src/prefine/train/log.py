"""metrics.jsonl always; trackers only when asked."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefine.durable import write_bytes
from prefine.errors import PrefineError, missing_extra


class MetricsLog:
    """One JSON object per logged step. A non-finite value is written as text ("nan", "inf"), never hidden."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`, so that a resumed run's log is that of an uninterrupted one."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (json.JSONDecodeError, KeyError):
                continue
        write_bytes(self.path, "".join(line + "\n" for line in kept).encode())

    def write(self, row: dict[str, Any]) -> None:
        plain = {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        with self.path.open("a") as f:
            f.write(json.dumps(plain) + "\n")
            f.flush()


def require_trackers(names: Sequence[str]) -> None:
    """Raise the error that names the extra when a tracker's package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise missing_extra(name, "track")


class Trackers:
    """TensorBoard, Weights & Biases or trackio, through Accelerate. Nothing is started unless the recipe names one."""

    def __init__(
        self, accelerator: Any, names: list[str], project: str, folder: Path, settings: dict[str, Any]
    ) -> None:
        self.accelerator, self.names = accelerator, names
        if not names:
            return
        from accelerate.tracking import filter_trackers

        require_trackers(names)
        accelerator.project_configuration.logging_dir = str(folder / "trackers")
        accelerator.log_with = filter_trackers(list(names), str(folder / "trackers"))
        os.environ.setdefault("WANDB_DIR", str(folder))
        try:
            accelerator.init_trackers(project, {k: str(v) for k, v in settings.items()})
        except (OSError, ValueError, RuntimeError) as error:
            raise PrefineError(f"train.report_to: {names} could not be started: {error}") from error

    def log(self, row: dict[str, Any]) -> None:
        if self.names:
            self.accelerator.log({k: v for k, v in row.items() if isinstance(v, (int, float))}, step=row["step"])

    def close(self) -> None:
        if self.names:
            self.accelerator.end_training()
